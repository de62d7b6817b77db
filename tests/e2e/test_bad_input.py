"""Bad input gets a clear error, in upstream's words where it has them, and changes nothing."""

import json
import os
import socket
import sqlite3
import subprocess
from pathlib import Path

import pytest
from tests.e2e.cluster import NOBODY, Cluster, cluster
from tests.e2e.interpreter import interpreter_for


def kubeglass(data: Path, *argv: str, **options) -> subprocess.CompletedProcess[str]:
    interpreter = interpreter_for(options.get("user"))
    environment = {**os.environ, **interpreter.environment, "KUBEGLASS_HOME": str(data)}
    return subprocess.run(
        [str(interpreter.python), "-m", "kubeglass", *argv],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


class TestCommandLine:
    """What the shell sees."""

    def test_unknown_flag(self, tmp_path):
        """An unknown flag is named, exit status 2, nothing is made."""
        result = kubeglass(tmp_path / "x", "up", "--nodez", "2")
        assert result.returncode == 2
        assert "--nodez" in result.stderr
        assert not (tmp_path / "x").exists()

    def test_bad_value(self, tmp_path):
        """A value of the wrong kind is refused with what is wanted."""
        result = kubeglass(tmp_path / "x", "up", "--nodes", "none")
        assert result.returncode == 2
        assert "must be a number from 1, got 'none'" in result.stderr

    def test_component_flag_of_a_component(self, tmp_path):
        """A component refuses an unknown flag in upstream's form."""
        result = kubeglass(tmp_path, "scheduler", "--no-such-flag")
        assert result.returncode == 1
        assert "Error: unrecognized arguments: --no-such-flag" in result.stderr

    def test_port_in_use(self, tmp_path):
        """A taken port is named with its holder, and nothing is left running."""
        with socket.socket() as holder:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", 6443))
            holder.listen()
            result = kubeglass(tmp_path / "x", "up", "--detach")
        assert result.returncode == 1
        assert "apiserver cannot listen on 127.0.0.1:6443: the port is in use by pid" in result.stderr
        assert not list((tmp_path / "x").glob("run/*.pid"))

    def test_unreadable_data_dir(self, tmp_path):
        """A data dir one may not write is refused with its path and the reason."""
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o700)
        os.chmod(tmp_path, 0o755)
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        if not user:
            locked.chmod(0o000)
        result = kubeglass(locked / "data", "up", "--detach", cwd="/", **user)
        assert result.returncode == 1
        assert f"cannot use data dir {locked / 'data'}: Permission denied" in result.stderr

    def test_no_cluster(self, tmp_path):
        """Commands about a cluster say how to make one."""
        result = kubeglass(tmp_path, "status")
        assert result.returncode == 1
        assert "there is no cluster in" in result.stderr
        assert "kubeglass up" in result.stderr


def test_a_corrupt_store_is_refused():
    """A damaged database stops the boot with a message that names it; its bytes stay as they are."""
    with cluster() as running:
        running.kubectl("create", "configmap", "kept", "--from-literal=a=1")
        running.kubeglass("down")
        store = running.data / "store" / "kubeglass.db"
        for side in store.parent.glob("kubeglass.db-*"):
            side.unlink()
        good = store.read_bytes()
        store.write_bytes(b"not a database at all" * 100)
        refused = running.kubeglass("up", "--detach", check=False)
        assert refused.returncode == 1
        assert str(store) in refused.stderr
        assert store.read_bytes() == b"not a database at all" * 100
        assert not any(component["pid"] for component in running.status()["components"].values())
        store.write_bytes(good)
        with sqlite3.connect(store) as database:
            assert database.execute("pragma integrity_check").fetchone() == ("ok",)
        running.kubeglass("up", "--detach")
        assert running.get("configmap", "kept")["data"] == {"a": "1"}


POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "typo"},
    "spec": {"containers": [{"name": "a", "image": "pause"}], "contaners": []},
}


def refused(one_node: Cluster, *argv: str, input: str | None = None) -> str:
    result = one_node.command("kubectl", *argv, input=input)
    assert result.returncode != 0
    return result.stderr


def create(validation: str) -> tuple[str, ...]:
    return "create", "-f", "-", f"--validate={validation}", "--dry-run=server"


class TestApi:
    """What kubectl sees."""

    def test_malformed_json(self, one_node):
        """Broken JSON is 400 and creates nothing."""
        answer = one_node.curl(
            "/api/v1/namespaces/default/pods", "-H", "Content-Type: application/json", "-d", '{"kind": "Pod", '
        )
        status = json.loads(answer)
        assert (status["code"], status["reason"]) == (400, "BadRequest")

    @pytest.mark.parametrize("validation", ["strict", "warn", "ignore"])
    def test_unknown_field(self, one_node, validation):
        """fieldValidation Strict refuses, Warn warns, Ignore is silent."""
        result = one_node.command("kubectl", *create(validation), input=json.dumps(POD))
        text = 'unknown field "spec.contaners"'
        assert (result.returncode == 0) == (validation != "strict")
        assert (text in result.stderr) == (validation != "ignore")

    def test_too_large(self, one_node):
        """A body over the limit is 413."""
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"}, "data": {"a": "x" * 4_000_000}}
        error = refused(one_node, "create", "-f", "-", input=json.dumps(body))
        assert "Request entity too large: limit is 3145728" in error
        assert "big" not in one_node.kubectl("get", "configmaps")

    def test_bad_selector(self, one_node):
        """A selector that does not parse is refused in upstream's words."""
        error = refused(one_node, "get", "pods", "-l", "a in (")
        assert "unable to parse requirement" in error
        error = refused(one_node, "get", "pods", "--field-selector", "no.such=1")
        assert "field label not supported: no.such" in error

    def test_unknown_kind(self, one_node):
        """A kind nobody serves is unknown to kubectl and 404 on the wire."""
        assert 'the server doesn\'t have a resource type "unicorns"' in refused(one_node, "get", "unicorns")
        assert "the server could not find the requested resource" in refused(
            one_node, "get", "--raw", "/apis/example.com/v1/unicorns"
        )

    def test_invalid_object(self, one_node):
        """An object that breaks a rule is 422 with the field and upstream's sentence."""
        error = refused(one_node, "create", "configmap", "Upper_Case")
        assert 'is invalid: metadata.name: Invalid value: "Upper_Case": a lowercase RFC 1123 subdomain' in error
