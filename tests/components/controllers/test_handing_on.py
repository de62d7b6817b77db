"""What controllers write carries the trace of their reconcile to whoever reacts to it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.spans import Kept

from kubeglass.components.api.kinds import REPLICA_SET
from kubeglass.components.api.objects import decode
from kubeglass.components.apiserver.testing import quiet_telemetry, running
from kubeglass.components.controllers.actions import Create, Patch
from kubeglass.components.controllers.deployment import Observed, plan
from kubeglass.components.controllers.views import Deployment
from kubeglass.components.controllers.writer import Writer
from kubeglass.components.machinery.events import EventRecorder
from kubeglass.telemetry.tracing.causality import cause_of
from kubeglass.telemetry.tracing.context import SpanContext
from kubeglass.telemetry.tracing.tracer import ANNOTATION, Tracer, use

RECONCILE = SpanContext(0xABC, 0xDEF)
LABELS = {"app": "web"}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}


def replica_set(**metadata: Any) -> dict[str, Any]:
    spec = {"replicas": 1, "selector": {"matchLabels": LABELS}, "template": TEMPLATE}
    meta = {"name": "web", "namespace": "default", **metadata}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta, "spec": spec}


@pytest.mark.parametrize("traced", [True, False])
async def test_creates_and_spec_patches_are_stamped(traced: bool) -> None:
    """With the reconcile's own context, beside what the plan annotates; not a status, and nothing with tracing off."""
    telemetry = quiet_telemetry(Tracer(Kept()) if traced else Tracer())
    stamped = RECONCILE.span_id if traced else None
    async with running(telemetry=telemetry) as server:
        client = server.client()
        writer = Writer(client, EventRecorder(client, "test", telemetry), telemetry, lambda kind: None)

        async def stored() -> tuple[int | None, dict[str, str]]:
            meta = (await client.get(REPLICA_SET, "web", "default"))["metadata"]
            cause = cause_of(meta)
            return (cause.span_id if cause else None), meta["annotations"]

        with use(RECONCILE):
            await writer.apply([Create(REPLICA_SET, replica_set(annotations={"kept": "yes"}))])
        span_id, annotations = await stored()
        assert span_id == stamped and annotations["kept"] == "yes"
        with use(step_of(2)):
            await writer.apply([Patch(REPLICA_SET, "web", "default", {"status": {"replicas": 1}}, "status")])
        assert (await stored())[0] == stamped
        with use(step_of(3)):
            await writer.apply([Patch(REPLICA_SET, "web", "default", {"spec": {"replicas": 3}})])
        assert (await stored())[0] == (3 if traced else None)


def step_of(span_id: int) -> SpanContext:
    return SpanContext(RECONCILE.trace_id, span_id)


def test_a_deployments_stamp_is_not_copied_to_its_sets() -> None:
    """A ReplicaSet has the stamp of its own creation: the Deployment's would make every change a write to each set."""
    metadata = {"name": "web", "uid": "u", "annotations": {ANNOTATION: "00-…", "team": "blue"}}
    spec = {"replicas": 1, "selector": {"matchLabels": LABELS}, "template": TEMPLATE}
    step = plan(Observed(decode(Deployment, {"metadata": metadata, "spec": spec}), ()), 0.0)
    (create,) = (action for action in step.actions if isinstance(action, Create))
    annotations = create.obj["metadata"]["annotations"]
    assert ANNOTATION not in annotations and annotations["team"] == "blue"
