"""Events about pods and their containers, with the field path that kubectl shows: spec.containers{name}."""

from __future__ import annotations

from kubeglass.components.api.objects import Container, Pod
from kubeglass.components.kubelet.observed import role_of
from kubeglass.components.machinery.events import EventRecorder, ObjectReference


def container_path(pod: Pod, name: str) -> str:
    """Where a container is in its pod's spec."""
    return f"spec.{role_of(pod, name).field}{{{name}}}"


class PodEvents:
    """What the kubelet has to say of pods."""

    def __init__(self, recorder: EventRecorder) -> None:
        self._recorder = recorder

    def normal(self, pod: Pod, container: Container | None, reason: str, message: str) -> None:
        self._recorder.event(_reference(pod, container), "Normal", reason, message)

    def warning(self, pod: Pod, container: Container | None, reason: str, message: str) -> None:
        self._recorder.event(_reference(pod, container), "Warning", reason, message)


def _reference(pod: Pod, container: Container | None) -> ObjectReference:
    meta = pod.metadata
    path = container_path(pod, container.name) if container is not None else ""
    return ObjectReference("v1", "Pod", meta.name, meta.namespace, meta.uid, meta.resource_version, path)
