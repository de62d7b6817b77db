"""Pods from a folder of manifests, and the mirrors that the API server shows of them."""

from pathlib import Path

import pytest

from kubeglass.components.kubelet import static_pods
from kubeglass.components.kubelet.static_pods import HASH, MIRROR, SOURCE, ManifestError

MANIFEST = """\
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - {name: c, image: busybox, command: [sh, -c, "while true; do sleep 1; done"]}
  terminationGracePeriodSeconds: 1
"""


def test_reading(tmp_path: Path) -> None:
    """A manifest is placed on its node, marked, defaulted, and its uid follows its content."""
    file = tmp_path / "web.yaml"
    file.write_text(MANIFEST)
    pod = static_pods.read(file, "node-1")
    meta = pod["metadata"]
    assert (meta["name"], meta["namespace"]) == ("web-node-1", "default")
    assert meta["annotations"][HASH] == meta["uid"]
    assert meta["annotations"][SOURCE] == "file"
    assert pod["spec"]["nodeName"] == "node-1"
    assert pod["spec"]["restartPolicy"] == "Always"
    assert {"operator": "Exists", "effect": "NoExecute"} in pod["spec"]["tolerations"]
    file.write_text(MANIFEST.replace("sleep 1", "sleep 2"))
    assert static_pods.read(file, "node-1")["metadata"]["uid"] != meta["uid"]


@pytest.mark.parametrize("text", ["a: [", "kind: Service", "kind: Pod\nmetadata: {name: a}"])
def test_what_is_no_pod(tmp_path: Path, text: str) -> None:
    """A file that is no Pod is refused by its name."""
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ManifestError, match=r"bad\.yaml"):
        static_pods.read(file, "node-1")


async def test_mirror_and_life(node, api, tmp_path: Path) -> None:
    """It runs, is mirrored with a status and the Node as owner, survives the kubelet and its mirror, and ends."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "web.yaml").write_text(MANIFEST)
    running = lambda: (api.pod("web-node-1") or {}).get("status", {}).get("phase") == "Running"  # noqa: E731
    async with node.running(static_pod_path=folder) as kubelet:
        await api.until(running)
        mirror = api.pod("web-node-1")
        assert mirror["metadata"]["annotations"][MIRROR] == mirror["metadata"]["annotations"][HASH]
        assert mirror["metadata"]["uid"] != mirror["metadata"]["annotations"][HASH]
        assert [(o["kind"], o["name"], o["controller"]) for o in mirror["metadata"]["ownerReferences"]] == [
            ("Node", "node-1", True)
        ]
        found = mirror["status"]["containerStatuses"][0]["containerID"]
        assert kubelet._static.get("default/web-node-1").metadata.uid == mirror["metadata"]["annotations"][HASH]
        api.remove("/api/v1/namespaces/default/pods/web-node-1")
        await api.until(running)
        assert api.pod("web-node-1")["status"]["containerStatuses"][0]["containerID"] == found
    async with node.running(static_pod_path=folder) as kubelet:
        await api.until(lambda: kubelet._static.mirrors() == 1 and kubelet._workers)
        assert [c.id for c in await kubelet.runtime.list_containers()] == [found.removeprefix("process://")]
        (folder / "web.yaml").unlink()
        await api.until(lambda: api.pod("web-node-1") is None)
        await api.until(lambda: not kubelet._workers)
        assert not await kubelet.runtime.list_pod_sandboxes()
