"""An API server in memory, as a client transport, and a kubelet that runs against it with real processes."""

from __future__ import annotations

import asyncio
import io
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from kubeglass.components.kubelet.configuration import KubeletConfig
from kubeglass.components.kubelet.kubelet import Kubelet
from kubeglass.components.kubelet.runtime.images import Catalog
from kubeglass.components.kubelet.runtime.process import ProcessRuntime
from kubeglass.components.kubelet.runtime.shims import stop_all
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.access import Access
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.loopback import host_port
from kubeglass.components.machinery.transport import Reply, Stream
from kubeglass.logging.setup import LoggingOptions, build
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.health import Health
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.setup import build_tracer

Object = dict[str, Any]


def merged(old: Any, new: Any) -> Any:
    """A strategic merge as far as a kubelet needs it: conditions by type, other lists replaced."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    result = dict(old)
    for key, value in new.items():
        if value is None:
            result.pop(key, None)
        elif key == "conditions" and isinstance(old.get(key), list):
            by_type = {row["type"]: row for row in old[key]}
            for row in value:
                by_type[row["type"]] = {
                    k: v for k, v in {**by_type.get(row["type"], {}), **row}.items() if v is not None
                }
            result[key] = list(by_type.values())
        else:
            result[key] = merged(old.get(key), value)
    return result


class FakeApi:
    """Objects by path, with watches. Deleting a bound pod is graceful, as on a real server."""

    host = "fake"

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self._revision = 0
        self._watchers: list[tuple[str, str, asyncio.Queue[bytes]]] = []

    # -- for tests ------------------------------------------------------------------------------------------------

    def apply(self, text: str | Object, node: str = "node-1", namespace: str = "default") -> Object:
        """Create what a manifest describes, bound to a node if it is a pod."""
        documents = [text] if isinstance(text, dict) else list(yaml.safe_load_all(io.StringIO(text)))
        for document in documents:
            kind = document["kind"].lower() + "s"
            document.setdefault("metadata", {}).setdefault("namespace", namespace)
            if kind == "pods":
                document["spec"].setdefault("nodeName", node)
                document["spec"].setdefault("restartPolicy", "Always")
                document["status"] = {"phase": "Pending"}
            self.put(f"/api/v1/namespaces/{namespace}/{kind}/{document['metadata']['name']}", document)
        return documents[-1]

    def pod(self, name: str, namespace: str = "default") -> Object | None:
        return self.objects.get(f"/api/v1/namespaces/{namespace}/pods/{name}")

    def events(self, reason: str = "") -> list[Object]:
        found = [o for p, o in self.objects.items() if "/events/" in p]
        return [event for event in found if not reason or event["reason"] == reason]

    async def until(self, what: Callable[[], Any], seconds: float = 15.0) -> Any:
        """Wait until something is true of the objects; the truth."""
        async with asyncio.timeout(seconds):
            while not (value := what()):
                await asyncio.sleep(0.02)
        return value

    def put(self, path: str, obj: Object, *, created: bool = True) -> Object:
        self._revision += 1
        meta = obj["metadata"]
        meta.setdefault("uid", str(uuid.uuid4()))
        meta.setdefault("creationTimestamp", clock.now_rfc3339())
        meta.setdefault("generation", 1)
        meta["resourceVersion"] = str(self._revision)
        self.objects[path] = obj
        self._tell("ADDED" if created else "MODIFIED", path, obj)
        return obj

    def remove(self, path: str) -> None:
        self._revision += 1
        obj = self.objects.pop(path)
        obj["metadata"]["resourceVersion"] = str(self._revision)
        self._tell("DELETED", path, obj)

    def delete_pod(self, name: str, grace: int | None = None, namespace: str = "default") -> None:
        """What `kubectl delete pod` does."""
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        pod = json.loads(json.dumps(self.objects[path]))
        seconds = pod["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace
        pod["metadata"] |= {"deletionTimestamp": clock.now_rfc3339(), "deletionGracePeriodSeconds": seconds}
        self.put(path, pod, created=False)

    # -- transport ------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        return

    async def request(
        self, method: str, path: str, *, headers: Mapping[str, str], body: bytes | None, timeout_seconds: float
    ) -> Reply:
        await asyncio.sleep(0)
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        sent = json.loads(body) if body else {}
        status, answer = self._answer(method, parts.path, query, sent)
        return Reply(status, {}, json.dumps(answer).encode())

    def _answer(self, method: str, path: str, query: Mapping[str, str], sent: Object) -> tuple[int, Object]:
        if method == "POST":
            return self._post(path, sent)
        if method == "GET" and path not in self.objects:
            return self._list(path, query)
        if method == "GET":
            return 200, self.objects[path]
        base = path.removesuffix("/status")
        if base not in self.objects:
            return _status(404, "NotFound", f"{base} not found")
        current = self.objects[base]
        if method == "PATCH":
            uid = sent.get("metadata", {}).get("uid")
            if uid and uid != current["metadata"]["uid"]:
                return _status(409, "Conflict", "uid mismatch")
            return 200, self.put(base, merged(json.loads(json.dumps(current)), sent), created=False)
        if method == "DELETE":
            self.remove(base)
            return 200, {"kind": "Status", "status": "Success"}
        return _status(405, "MethodNotAllowed", method)

    def _post(self, path: str, sent: Object) -> tuple[int, Object]:
        if path.endswith("/token"):
            token = {
                "token": "token-of-" + path.split("/")[-2],
                "expirationTimestamp": clock.rfc3339(clock.now() + 3600),
            }
            return 201, {"status": token}
        if path.endswith("reviews"):
            return 201, {"status": {"allowed": True, "authenticated": True, "user": {"username": "tester"}}}
        full = f"{path}/{sent['metadata']['name']}"
        if full in self.objects:
            return _status(409, "AlreadyExists", f"{full} already exists")
        return 201, self.put(full, sent)

    def _list(self, path: str, query: Mapping[str, str]) -> tuple[int, Object]:
        last = path.rstrip("/").rsplit("/", 1)[-1]
        if not last.endswith("s") or any(
            path.count(f"/{kind}/") for kind in ("configmaps", "secrets", "nodes", "leases")
        ):
            return _status(404, "NotFound", f"{path} not found")
        items = [o for p, o in self.objects.items() if _under(p, path) and _selected(o, query.get("fieldSelector", ""))]
        return 200, {"items": items, "metadata": {"resourceVersion": str(self._revision)}}

    def _tell(self, kind: str, path: str, obj: Object) -> None:
        line = json.dumps({"type": kind, "object": obj}).encode()
        for collection, selector, queue in self._watchers:
            if _under(path, collection) and _selected(obj, selector):
                queue.put_nowait(line)

    @asynccontextmanager
    async def stream(self, method: str, path: str, *, headers: Mapping[str, str]) -> AsyncIterator[Stream]:
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        entry = (parts.path, query.get("fieldSelector", ""), queue)
        self._watchers.append(entry)

        async def lines() -> AsyncIterator[bytes]:
            while True:
                yield await queue.get()

        try:
            yield Stream(200, {}, lines())
        finally:
            self._watchers.remove(entry)


def _under(path: str, collection: str) -> bool:
    kind = collection.rsplit("/", 1)[-1]
    if not path.rsplit("/", 1)[0].endswith(f"/{kind}"):
        return False
    return path.startswith(collection + "/") or "/namespaces/" not in collection


def _selected(obj: Object, selector: str) -> bool:
    return not selector or obj.get("spec", {}).get("nodeName") == selector.rpartition("=")[2]


def _status(code: int, reason: str, message: str) -> tuple[int, Object]:
    return code, {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}


def make_telemetry() -> Telemetry:
    registry = Registry()
    log = build(LoggingOptions(), stream=io.StringIO())
    return Telemetry(log, registry, build_tracer("kubelet", None, {}, log, registry), Health())


class Node:
    """A kubelet in this process, over a folder that may outlive it."""

    def __init__(self, folder: Path, api: FakeApi) -> None:
        self.folder = folder
        self.api = api
        self.kubelet: Kubelet | None = None
        self.telemetry = make_telemetry()
        self.config = KubeletConfig(
            node_name="node-1",
            node_ip="127.64.0.1",
            address="127.0.0.1",
            port=0,
            root_dir=folder / "nodes/node-1",
            pod_cidr="127.143.7.0/24",
        )

    @asynccontextmanager
    async def running(self, **changes: Any) -> AsyncIterator[Kubelet]:
        """The kubelet, started; cancelled at the end as by kill -9: its pods go on."""
        self.telemetry = make_telemetry()
        config = replace(self.config, **changes)
        client = Client(Access("http://fake"), self.telemetry, transport=self.api)
        runtime = ProcessRuntime(config.root_dir, Catalog.load(), port_shift=host_port(80) - 80)
        kubelet = Kubelet(config, client, runtime, self.telemetry)
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(kubelet.run(ready.set))
            async with asyncio.timeout(15):
                await ready.wait()
            yield kubelet
            task.cancel()


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def node(tmp_path: Path, api: FakeApi) -> Any:
    node = Node(tmp_path, api)
    yield node
    stop_all(tmp_path)
