"""`kubeglass apf`: its words, against a real server where it needs one."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import threading
from collections.abc import Iterator
from contextlib import redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from kubeglass.components.api.flowcontrol import LEVELS, SCHEMAS
from kubeglass.components.apiserver.flowcontrol.controller import FlowController, Rejected
from kubeglass.components.apiserver.flowcontrol.dumps import Dumps
from kubeglass.components.apiserver.flowcontrol.metrics import FlowControlMetrics
from kubeglass.components.apiserver.flowcontrol.records import Caller
from kubeglass.components.apiserver.flowcontrol.schemas import RequestDigest
from kubeglass.components.cli import apf
from kubeglass.components.cli.apf_explain import standard_groups
from kubeglass.components.cli.lookup import CommandError
from kubeglass.telemetry.metrics.registry import Registry

SCENARIOS = Path(__file__).parents[2] / "scenarios" / "apf"


def _busy_controller() -> FlowController:
    """A server on which an elephant was rejected and a mouse was not."""
    controller = FlowController(600, FlowControlMetrics(Registry()))
    controller.configure(SCHEMAS, LEVELS)

    async def traffic() -> None:
        groups = ("system:authenticated",)
        elephant = RequestDigest("elephant", groups, True, "list", "", "v1", "pods", "", "default")
        mouse = RequestDigest("mouse", groups, True, "get", "", "v1", "pods", "", "default", "p")
        async with controller.ticket(mouse, {}, Caller("127.0.0.1:2", "mouse/1")):
            pass
        controller.regulator.levels["global-default"].queues.set_limit(0, controller.now())
        caller = Caller("127.0.0.1:1", "elephant/1")
        for _ in range(5):
            with pytest.raises(Rejected):
                await controller.enter(controller.ticket(elephant, {}, caller, received=0, deadline=1))

    asyncio.run(traffic())
    return controller


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A kubeconfig of an HTTP server that serves the real pages."""
    pages = Dumps(_busy_controller()).pages

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            page = pages.get(url.path)
            content_type, body = page(dict(parse_qsl(url.query))) if page else ("text/plain", "404 page not found")
            self.send_response(200 if page else 404)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    file = tmp_path_factory.mktemp("apf") / "kubeconfig"
    file.write_text(
        f"""{{"contexts": [{{"name": "c", "context": {{"cluster": "c", "user": "u"}}}}], "current-context": "c",
        "clusters": [{{"name": "c", "cluster": {{"server": "http://127.0.0.1:{server.server_port}"}}}}],
        "users": [{{"name": "u", "user": {{}}}}]}}"""
    )
    yield file
    server.shutdown()
    thread.join()
    server.server_close()


def _apf(*argv: str | Path) -> str:
    parser = argparse.ArgumentParser()
    apf.add_parser(parser.add_subparsers())
    flags = parser.parse_args(["apf", *map(str, argv)])
    output = io.TextIOWrapper(io.BytesIO(), write_through=True)
    with redirect_stdout(output):
        assert flags.run(flags) == 0
    assert isinstance(output.buffer, io.BytesIO)
    return output.buffer.getvalue().decode()


def test_top(kubeconfig: Path) -> None:
    """Top names the busiest level and the culprit first."""
    text = _apf("top", "--once", "--kubeconfig", kubeconfig)
    talkers = text[text.index("talkers") :].splitlines()
    assert talkers[2].split()[0] == "elephant"
    assert "elephant/1" in talkers[2]
    assert "global-default" in text


@pytest.mark.parametrize("what", list(apf.DUMPS))
def test_dump(kubeconfig: Path, what: str) -> None:
    """A dump is printed as the server wrote it."""
    assert _apf("dump", what, "--kubeconfig", kubeconfig).startswith("PriorityLevelName, ")


def test_explain(kubeconfig: Path) -> None:
    """Explain lists what was tried, and why it did not match, down to the queue."""
    question = (
        "--as",
        "system:serviceaccount:default:x",
        "--verb",
        "list",
        "--resource",
        "deployments.apps",
        "-n",
        "a",
    )
    text = _apf("explain", *question, "--kubeconfig", kubeconfig)
    assert "✗     1  exempt → exempt\n          rule 0: no subject matches: Group system:masters" in text
    assert "✓  9000  service-accounts → workload-low" in text
    assert "Priority level:  workload-low (Queue)" in text
    found = json.loads(_apf("explain", *question, "-o", "json", "--kubeconfig", kubeconfig))
    assert (found["flowSchema"], len(found["hand"])) == ("service-accounts", 6)


def test_explain_wants_one_kind_of_request(kubeconfig: Path) -> None:
    """A question without resource and path is refused with words."""
    with pytest.raises(CommandError, match="either --resource"):
        _apf("explain", "--as", "alice", "--kubeconfig", kubeconfig)


def test_a_server_without_flow_control(tmp_path: Path, kubeconfig: Path) -> None:
    """A server that does not answer is named."""
    file = tmp_path / "dead"
    file.write_text(kubeconfig.read_text().replace("127.0.0.1:", "127.0.0.1:1#"))
    with pytest.raises(CommandError, match="cannot reach"):
        _apf("dump", "levels", "--kubeconfig", file)


def test_record_and_what_if(tmp_path: Path, kubeconfig: Path) -> None:
    """Recorded traffic is replayed against changed objects, before and after."""
    recording, manifest = tmp_path / "recording", tmp_path / "objects.yaml"
    assert _apf("record", "-o", recording, "--kubeconfig", kubeconfig).startswith("6 requests written to ")
    manifest.write_text(
        "{kind: FlowSchema, metadata: {name: vip}, spec: {priorityLevelConfiguration: {name: system}, "
        "matchingPrecedence: 9, rules: [{subjects: [{kind: User, user: {name: elephant}}], resourceRules: "
        '[{verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: ["*"]}]}]}}\n'
    )
    text = _apf("what-if", "-f", manifest, "--recording", recording)
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line}
    assert rows["recorded"][1:4] == ["6", "1", "5"]
    assert rows["elephant"][1:3] == ["global-default", "system"]


@pytest.mark.parametrize("content", ["", "nonsense", "{}"])
def test_bad_recording(tmp_path: Path, content: str) -> None:
    """A file that is no recording is named."""
    recording, manifest = tmp_path / "recording", tmp_path / "objects.yaml"
    recording.write_text(content)
    manifest.write_text("")
    with pytest.raises(CommandError, match="recording"):
        _apf("what-if", "-f", manifest, "--recording", recording)


def test_simulate(tmp_path: Path) -> None:
    """A scenario prints what each flow got, and draws it."""
    pytest.importorskip("matplotlib")
    picture = tmp_path / "seats.svg"
    text = _apf("simulate", SCENARIOS / "jail.yaml", "--plot", picture)
    assert "fairness index: 1.0000" in text
    assert "concurrency-limit" in text
    assert picture.stat().st_size > 1000


def test_a_bad_scenario(tmp_path: Path) -> None:
    """A scenario with a mistake says where."""
    file = tmp_path / "scenario.yaml"
    file.write_text("flows: [{name: x, user: y, sets: 3}]\n")
    with pytest.raises(CommandError, match="sets"):
        _apf("simulate", file)


def test_standard_groups() -> None:
    """Users get the groups that authentication would give them."""
    assert standard_groups("system:serviceaccount:a:b")[1] == "system:serviceaccounts:a"
    assert standard_groups("system:anonymous") == ("system:unauthenticated",)
    assert standard_groups("system:node:n1")[0] == "system:nodes"
    assert standard_groups("alice") == ("system:authenticated",)
