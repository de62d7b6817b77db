"""The Pod garbage collector on a real API server: what it removes, counts and leaves as spans."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.spans import Kept

from kubeglass.components.api.kinds import POD, SERVICE_ACCOUNT
from kubeglass.components.apiserver.testing import quiet_telemetry, running
from kubeglass.components.controllers.controllers import CONTROLLERS, ControllerManager, default_options, selected
from kubeglass.components.machinery.client import Client
from kubeglass.telemetry.tracing.causality import cause_of
from kubeglass.telemetry.tracing.tracer import Tracer

NAME = "pod-garbage-collector-controller"


async def finished_pod(client: Client, name: str) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "nginx"}], "automountServiceAccountToken": False}
    await client.create(POD, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}, "default")
    return await client.patch(POD, name, {"status": {"phase": "Succeeded"}}, "default", subresource="status")


async def names(client: Client) -> set[str]:
    return {pod["metadata"]["name"] for pod in (await client.list(POD, "default")).items}


async def test_a_removal_is_a_trace_of_its_own_that_names_the_reason() -> None:
    """Linked to the change that made the Pod, about the Pod; what is left alone leaves no span."""
    kept = Kept()
    telemetry = quiet_telemetry(Tracer(kept))
    async with running(telemetry=telemetry) as server, asyncio.timeout(20):
        client = server.client()
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        await client.create(SERVICE_ACCOUNT, account, "default")
        old = (await finished_pod(client, "a"))["metadata"]
        await finished_pod(client, "b")
        options = default_options(terminated_pod_threshold=1)
        manager = ControllerManager(client, telemetry, options, selected([NAME], CONTROLLERS))
        async with asyncio.TaskGroup() as group:
            work = group.create_task(manager.run(lambda: None))
            while not kept.named("reconcile pod-garbage-collector"):
                await asyncio.sleep(0.01)
            work.cancel()
        assert await names(client) == {"b"}
    (span,) = kept.named("reconcile pod-garbage-collector")
    assert span.attributes["podgc.reason"] == "terminated"
    assert span.attributes["controller"] == NAME
    assert (span.attributes["k8s.pod.name"], span.attributes["k8s.pod.uid"]) == ("a", old["uid"])
    assert span.parent is None
    assert [link.context for link in span.links or ()] == [cause_of(old)]
    deletes = [one for one in kept.spans if one.name == "HTTP DELETE"]
    assert [one.parent.span_id for one in deletes if one.parent] == [span.context.span_id]
