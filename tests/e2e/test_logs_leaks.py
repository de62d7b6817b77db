"""Secrets planted all over a real cluster at `-v=10` leave it nowhere: logs, spans, metrics, Events, audit, errors.

Every kind of secret of tests/logging/canaries.py, in every place a client can put one. What is planted is searched
for byte by byte in everything the cluster shows or keeps, except the objects themselves.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import signal
import ssl
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.e2e.cluster import Cluster, cluster, eventually
from tests.logging.canaries import KINDS, Canary, b64, word

POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "rules": [{"level": "RequestResponse"}],
}


class Api:
    """One administrator's connection to the API server."""

    def __init__(self, cluster: Cluster) -> None:
        pki = cluster.data / "pki"
        self._context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._anonymous = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._context.load_cert_chain(str(pki / "admin.crt"), str(pki / "admin.key"))
        self._server = urllib.parse.urlsplit(cluster.status()["components"]["apiserver"]["url"])

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        *,
        anonymous: bool = False,
    ) -> tuple[int, str]:
        """Status and text of the answer."""
        context = self._anonymous if anonymous else self._context
        connection = http.client.HTTPSConnection(str(self._server.hostname), self._server.port, context=context)
        sent = {"Content-Type": "application/json", **(headers or {})}
        content = body if isinstance(body, str | None) else json.dumps(body)
        try:
            connection.request(method, path, content, sent)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@dataclass
class Planted:
    """What must not be found, by where it was put, and what must."""

    cluster: Cluster
    secrets: list[tuple[str, str]] = field(default_factory=list)
    innocent: list[str] = field(default_factory=list)
    answers: list[tuple[str, str]] = field(default_factory=list)
    """Errors that clients were answered."""

    def hide(self, place: str, *values: str) -> None:
        self.secrets += [(place, value) for value in values]


@pytest.fixture(scope="module", params=["text", "json"])
def planted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    """A cluster that says all it can, full of secrets."""
    folder = tmp_path_factory.mktemp("audit")
    (folder / "policy.yaml").write_text(json.dumps(POLICY))
    audit = [
        f"apiserver=--audit-policy-file={folder / 'policy.yaml'}",
        f"apiserver=--audit-log-path={folder / 'audit.log'}",
    ]
    flags = [part for flag in audit for part in ("--component-flag", flag)]
    with cluster("-v", "10", "--log-otlp", f"--logging-format={request.param}", *flags) as running:
        (running.data / "logs" / "audit.log").symlink_to(folder / "audit.log")
        found = Planted(running)
        chance = random.Random(f"leaks {request.param}")
        api = Api(running)
        plant_secrets(found, api, chance)
        plant_objects(found, api, chance)
        plant_errors(found, api, chance)
        plant_credentials(found, api, chance)
        plant_pod(found, chance)
        list_anew(running)
        yield found


def plant_secrets(found: Planted, api: Api, chance: random.Random) -> None:
    """Secrets written by every verb and client: their data has no shape, only its place gives it away."""

    def secret(name: str, **more: Any) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, **more}

    def fresh(place: str) -> str:
        value = word(chance, 20)
        found.hide(place, value, b64(value))
        return value

    manifests = [
        secret(f"applied-{number}", stringData={"one": fresh("apply")}, data={"two": b64(fresh("apply"))})
        for number in range(12)
    ]
    kubectl, path = found.cluster.kubectl, "/api/v1/namespaces/default/secrets"
    kubectl("apply", "-f", "-", input="\n---\n".join(map(json.dumps, manifests)))
    kubectl("create", "secret", "generic", "created", f"--from-literal=x={fresh('create')}")
    kubectl("create", "secret", "docker-registry", "registry", "--docker-server=r.example", "--docker-username=u",
            f"--docker-password={fresh('docker-registry')}")  # fmt: skip
    kubectl("replace", "-f", "-", input=json.dumps(secret("created", stringData={"x": fresh("replace")})))
    kubectl("apply", "--server-side", "-f", "-", input=json.dumps(secret("ssa", stringData={"x": fresh("ssa")})))
    for kind, patch in (
        ("merge", {"stringData": {"x": fresh("merge patch")}}),
        ("strategic", {"data": {"x": b64(fresh("strategic patch"))}}),
        ("json", [{"op": "add", "path": "/data/y", "value": b64(fresh("json patch"))}]),
    ):
        kubectl("patch", "secret", "created", "--type", kind, "-p", json.dumps(patch))
    yaml = f"apiVersion: v1\nkind: Secret\nmetadata:\n  name: yaml\nstringData:\n  x: {fresh('yaml')}\n"
    assert api.send("POST", path, yaml, {"Content-Type": "application/yaml"})[0] == 201
    broken = f"kind: Secret\napiVersion: v1\nstringData:\n  x: {fresh('broken yaml')}\n y: [\n"
    found.answers.append(("broken yaml", api.send("POST", path, broken, {"Content-Type": "application/yaml"})[1]))
    broken_json = json.dumps(secret("x", stringData={"x": fresh("broken json")}))[:-1]
    found.answers.append(("broken json", api.send("POST", path, broken_json)[1]))
    wrong = secret("wrong", data={"x": fresh("no base64") + "!"}, stringData={"y": fresh("no base64")})
    found.answers.append(("no base64", api.send("POST", path, wrong)[1]))
    typed = secret("wrong", stringData={"x": [fresh("wrong type")]})
    found.answers.append(("wrong type", api.send("POST", path, typed)[1]))
    kubectl("get", "secrets", "-o", "yaml")


def plant_objects(found: Planted, api: Api, chance: random.Random) -> None:
    """Secrets in objects that are none: ConfigMaps, annotations, labels of the wrong kind."""
    path = "/api/v1/namespaces/default/configmaps"
    for number, canary in enumerate(every_kind(chance)):
        found.hide(f"ConfigMap, {canary.kind}", *canary.hidden)
        key = canary.key.rpartition("/")[2] or "text"
        meta = {"name": f"c{number}", "annotations": {"example.com/note": canary.looks}}
        obj = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": meta, "data": {key: canary.value}}
        assert api.send("POST", path, obj)[0] == 201
    greeting = f"hello {uuid.UUID(int=chance.getrandbits(128))}"
    found.innocent.append(greeting)
    data = {"greeting": greeting, "secretName": "db", "tokenExpirationSeconds": "3600"}
    obj = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "innocent"}, "data": data}
    assert api.send("POST", path, obj)[0] == 201


def plant_errors(found: Planted, api: Api, chance: random.Random) -> None:
    """Secrets where they are wrong, so that errors and logs speak of them."""
    path = "/api/v1/namespaces/default/configmaps"
    for canary in every_kind(chance):
        found.hide(f"label, {canary.kind}", *canary.hidden)
        meta = {"name": "wrong", "labels": {"a": canary.looks}}
        body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": meta}
        found.answers.append((f"label, {canary.kind}", api.send("POST", path, body)[1]))
    for canary in every_kind(chance):
        if "\n" not in canary.looks and "BEGIN" not in canary.looks:
            found.hide(f"URL, {canary.kind}", *canary.hidden)
            query = urllib.parse.quote(canary.looks)
            found.answers.append((f"URL, {canary.kind}", api.send("GET", f"/api/v1/nope?labelSelector={query}")[1]))
    hook = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "hook"},
        "webhooks": [{
            "name": "hook.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "failurePolicy": "Fail", "timeoutSeconds": 1,
            "rules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["limitranges"]}
            ],
        }],
    }  # fmt: skip
    token = word(chance, 24)
    found.hide("webhook URL", token)
    hook["webhooks"][0]["clientConfig"] = {"url": f"https://127.0.0.1:1/check?access_token={token}"}  # type: ignore[index]
    hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    assert api.send("POST", hooks, hook)[0] == 201
    limits = {"kind": "LimitRange", "apiVersion": "v1", "metadata": {"name": "x"}, "spec": {"limits": []}}
    found.answers.append(("webhook URL", api.send("POST", "/api/v1/namespaces/default/limitranges", limits)[1]))
    assert api.send("DELETE", f"{hooks}/hook")[0] == 200


def plant_credentials(found: Planted, api: Api, chance: random.Random) -> None:
    """Secrets in headers, in reviews, and tokens that the cluster itself gives out."""
    for canary in every_kind(chance):
        if "\n" in canary.looks:
            continue
        found.hide(f"header, {canary.kind}", *canary.hidden)
        headers = {"User-Agent": canary.looks, "Cookie": canary.looks, "X-Detail": canary.looks}
        api.send("GET", "/version", None, headers)
    for scheme in ("Bearer", "Basic", "Negotiate"):
        value = b64(f"user:{word(chance, 18)}")
        found.hide(f"{scheme} header", value)
        status, text = api.send("GET", "/api", None, {"Authorization": f"{scheme} {value}"}, anonymous=True)
        found.answers.append((f"{scheme} header", text))
        assert status in (401, 403, 200)
    spoken = base64.urlsafe_b64encode(word(chance, 30).encode()).decode().rstrip("=")
    found.hide("WebSocket protocol", spoken)
    protocol = {"Sec-WebSocket-Protocol": f"base64url.bearer.authorization.k8s.io.{spoken}, v5.channel.k8s.io"}
    api.send("GET", "/api", None, protocol, anonymous=True)
    for _ in range(3):
        token = found.cluster.kubectl("create", "token", "default").strip()
        found.hide("issued token", token, token.split(".")[1], token.split(".")[2])
        review = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": token}}
        assert '"authenticated":true' in api.send("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)[1]
        api.send("GET", "/api/v1/pods", None, {"Authorization": f"Bearer {token}"}, anonymous=True)
    metrics_token = (found.cluster.data / "prometheus.token").read_text().strip()
    found.hide("static token", metrics_token)
    found.cluster.curl("/metrics", "-o", "/dev/null", token=True)


def plant_pod(found: Planted, chance: random.Random) -> None:
    """Secrets in a Pod: environment, arguments, what a probe prints when it fails, arguments of `kubectl exec`."""
    env, argument, probed, image = (word(chance, 18) for _ in range(4))
    found.hide("Pod env", env)
    found.hide("Pod argument", argument)
    found.hide("probe output", probed)
    found.hide("image", image)
    level = str(uuid.UUID(int=chance.getrandbits(128)))
    found.innocent.append(level)
    container = {
        "name": "main",
        "image": "busybox:1.36",
        "command": ["sh", "-c", "sleep 1000", "--token", argument],
        "env": [{"name": "DB_PASSWORD", "value": env}, {"name": "LOG_LEVEL", "value": level}],
        "readinessProbe": {
            "exec": {"command": ["sh", "-c", f"echo cannot log in with password={probed}; exit 1"]},
            "periodSeconds": 1,
        },
    }
    bad = {"name": "bad", "image": f"https://robot:{image}@registry.example/x:1"}
    for name, containers in (("planted", [container]), ("unpullable", [bad])):
        pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name}, "spec": {"containers": containers}}
        pod["spec"]["terminationGracePeriodSeconds"] = 0  # type: ignore[index]
        found.cluster.kubectl("apply", "-f", "-", input=json.dumps(pod), check=name == "planted")
    kubectl = found.cluster.kubectl

    def running() -> bool:
        return bool(found.cluster.get("pod", "planted")["status"].get("phase") == "Running")

    eventually(running, "the Pod runs")
    for number in range(4):
        secret = word(chance, 16)
        found.hide("exec argument", secret)
        kubectl("exec", "planted", "--", *(
            ("env", f"PGPASSWORD={secret}", "true"), ("true", "--password", secret), ("true", f"--token={secret}"),
            ("sh", "-c", f"false --api-key={secret}"),
        )[number], check=False)  # fmt: skip
    eventually(lambda: "Unhealthy" in kubectl("get", "events"), "the failing probe is an Event")


def list_anew(cluster: Cluster) -> None:
    """Components that begin anew list everything there is, and log the answers at this verbosity."""
    for name in ("state-metrics", "controller-manager", "kubelet/node-1"):
        os.kill(cluster.pid(name), signal.SIGTERM)
    eventually(lambda: not cluster.status()["ready"], "the components have ended")
    cluster.kubeglass("up", "--detach")


def every_kind(chance: random.Random) -> list[Canary]:
    return [kind(chance) for kind in KINDS]


def leaks(found: Planted, shown: bytes) -> list[str]:
    """Where the secrets came from that stand in `shown`, each with how it is shown there."""
    leaked = {}
    for place, secret in found.secrets:
        at = shown.find(secret.encode())
        if at >= 0:
            leaked.setdefault(place, f"{place}: {shown[max(0, at - 120) : at + 60]!r}")
    return sorted(leaked.values())


def test_logs_and_audit(planted: Planted) -> None:
    """No log line and no audit record holds a secret; what is innocent is readable."""
    files = sorted((planted.cluster.data / "logs").iterdir())
    shown = {path.name: path.read_bytes() for path in files}
    assert {name for name in shown if name.endswith(".log")} >= {"apiserver.log", "kubelet-node-1.log", "audit.log"}
    assert {name: found for name, content in shown.items() if (found := leaks(planted, content))} == {}
    everything = b"".join(shown.values())
    assert [text for text in planted.innocent if text.encode() not in everything] == []
    assert b"[redacted:secret-data]" in shown["audit.log"]


def test_errors(planted: Planted) -> None:
    """Errors do not echo the secrets they were sent."""
    assert [place for place, text in planted.answers if leaks(planted, text.encode())] == []


def test_events(planted: Planted) -> None:
    """Events say what happened without the secrets it happened with."""
    events = planted.cluster.kubectl("get", "events", "-A", "-o", "json")
    assert leaks(planted, events.encode()) == []
    assert "cannot log in with password=[redacted:password]" in events


def test_spans_and_shipped_logs(planted: Planted) -> None:
    """Neither the collector's file nor its API shows a secret in a span or in a shipped log record."""
    query = planted.cluster.status()["collector"]["query"]

    def fetch(path: str) -> bytes:
        with urllib.request.urlopen(f"{query}{path}", timeout=30) as answer:
            content: bytes = answer.read()
            return content

    def shipped() -> bool:
        folder = planted.cluster.data / "collector"
        return b"Request Body" in b"".join(path.read_bytes() for path in folder.iterdir())

    eventually(shipped, "wire records were shipped")
    stored = b"".join(path.read_bytes() for path in (planted.cluster.data / "collector").iterdir())
    assert leaks(planted, stored) == []
    traces = b""
    for service in json.loads(fetch("/api/services"))["data"]:
        traces += fetch(f"/api/traces?service={service}&limit=300&lookback=1h")
    assert leaks(planted, traces) == []
    assert b"http.target" in traces
    logged = {
        span["traceID"]: span
        for service in ("apiserver",)
        for trace in json.loads(fetch(f"/api/traces?service={service}&limit=30"))["data"]
        for span in trace["spans"]
    }
    records = b"".join(fetch(f"/api/traces/{trace}/logs") for trace in logged)
    assert b"audit-ID" in records
    assert leaks(planted, records) == []


def test_pages(planted: Planted) -> None:
    """Metrics and the pages of every component are free of secrets, and count what was replaced."""
    shown = b""
    for component in planted.cluster.status()["components"].values():
        for url in component["metrics"]:
            shown += planted.cluster.curl(url)
    assert leaks(planted, shown) == []
    assert b'kubeglass_log_redactions_total{rule="secret-data"}' in shown
    pages = b"".join(planted.cluster.curl(path) for path in ("/flagz", "/statusz", "/readyz?verbose"))
    assert leaks(planted, pages) == []
