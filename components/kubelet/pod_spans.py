"""The spans of one pod's passes, and which trace each belongs to: the change that the pod carries, or what woke it.

What a pod waits for while no pass is at work has spans, too: probes.py has those of probes, here are those of
containers that run to their end.
"""

from __future__ import annotations

from collections.abc import Callable

from kubeglass.components.api.objects import Pod
from kubeglass.components.kubelet.observed import Observed
from kubeglass.components.kubelet.runtime.runtime import Container, ContainerState
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.settling import settled
from kubeglass.telemetry.tracing.causality import Causes, Reaction
from kubeglass.telemetry.tracing.context import SpanContext, current_context
from kubeglass.telemetry.tracing.tracer import Span, Tracer

SYNC = "syncPod"


class PodSpans:
    """Of one pod worker."""

    def __init__(self, causes: Causes, tracer: Tracer, now: Callable[[], float]) -> None:
        self._causes = causes
        self._tracer = tracer
        self._now = now
        self._since_ns = clock.now_ns()
        self._woken_by: SpanContext | None = None
        self._changing = False
        self._ended: set[str] = set()

    def woken(self) -> None:
        """Note what asks for the next pass: the active span, if there is one."""
        self._woken_by = current_context() or self._woken_by

    def begin(self, pod: Pod, name: str, update_type: str = "") -> Span:
        """The span of a pass. One that finds nothing to do leaves none."""
        meta = pod.metadata
        reaction = self._reaction(pod)
        attributes = {
            "k8s.pod.uid": meta.uid,
            "k8s.pod": f"{meta.namespace}/{meta.name}",
            "k8s.pod.name": meta.name,
            "k8s.namespace.name": meta.namespace,
            "k8s.node.name": pod.spec.node_name,
        }
        syncing = name == SYNC
        if syncing:
            attributes["k8s.pod.update_type"] = update_type
        belongs = reaction.arguments if reaction else {"parent": None}
        return self._tracer.span(name, attributes=attributes, tentative=syncing, **belongs)

    def _reaction(self, pod: Pod) -> Reaction:
        """A step of the pod's change, under the probe that asked for it; long after the change, only what woke it."""
        reaction = self._causes.react(pod.metadata, now=self._now(), settled=settled(pod))
        woken, self._woken_by = self._woken_by, None
        self._changing = reaction.parent is not None
        if woken is None:
            return reaction
        if not reaction or (reaction.parent is not None and woken.trace_id == reaction.parent.trace_id):
            return Reaction(woken, reaction.links)
        return reaction

    def tell_ended(self, observed: Observed) -> None:
        """Containers that ran to their end while the pod was changing: the pass that sees it waited for them."""
        for found in observed.containers.values():
            for container in found:
                if container.state is ContainerState.EXITED and container.id not in self._ended:
                    self._ended.add(container.id)
                    if self._changing and container.finished_at >= self._since_ns:
                        self._tell(container)

    def _tell(self, container: Container) -> None:
        self._tracer.span(
            "container run",
            start_ns=container.started_at,
            attributes={
                "k8s.container.name": container.name,
                "k8s.container.restart_count": container.attempt,
                "k8s.container.status.last_terminated_reason": container.reason or None,
                "container.id": container.id,
                "process.exit.code": container.exit_code,
            },
        ).end(container.finished_at)
