"""Prefers nodes that already hold the Pod's images: large ones count, and rare ones less, to avoid herding."""

from __future__ import annotations

from collections.abc import Sequence

from kubeglass.components.scheduler.interface import MAX_NODE_SCORE, SUCCESS, CycleState, Status
from kubeglass.components.scheduler.snapshot import NodeInfo, PodInfo, Snapshot

_MB = 1024 * 1024
_MIN_BYTES = 23 * _MB
_MAX_BYTES_PER_CONTAINER = 1000 * _MB


class ImageLocality:
    """score = clamp(sum of size * share of nodes that hold the image), between 23 MB and 1000 MB per container."""

    name = "ImageLocality"
    events: frozenset[str] = frozenset()

    def pre_score(self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot) -> Status:
        images = [_with_tag(c.image) for c in (*pod.spec.init_containers, *pod.spec.containers)]
        holders = {image: sum(image in node.images for node in snapshot.nodes.values()) for image in set(images)}
        total = max(1, len(snapshot.nodes))
        held = [(image, holders[image] / total) for image in images if holders[image]]
        state[self.name] = held, _MAX_BYTES_PER_CONTAINER * len(images)
        return SUCCESS

    def score(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> int:
        weighed: tuple[list[tuple[str, float]], int] = state[self.name]
        weighted, most = weighed
        if not weighted:
            return 0
        held = sum(int(node.images.get(image, 0) * share) for image, share in weighted)
        held = min(max(held, _MIN_BYTES), most)
        return MAX_NODE_SCORE * (held - _MIN_BYTES) // (most - _MIN_BYTES)


def _with_tag(image: str) -> str:
    return image if ":" in image.rsplit("/", 1)[-1] else f"{image}:latest"
