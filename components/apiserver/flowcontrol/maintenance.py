"""The loops around the controller: follow the objects, maintain the built-in ones, report their status, lend seats.

`ConfigurationConsumer` puts what is stored in force and writes Dangling conditions; `ConfigurationProducer` enforces
mandatory objects and keeps suggested ones up to date. Both speak to the API like any client.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from kubeglass.components.api.errors import AlreadyExists, ApiError, Conflict, NotFound
from kubeglass.components.api.kinds import FLOW_SCHEMA, PRIORITY_LEVEL_CONFIGURATION, Kind
from kubeglass.components.api.objects.flowcontrol import Condition, FlowSchema, PriorityLevel
from kubeglass.components.apiserver.flowcontrol.configuration import Plan, StatusWriteLimiter
from kubeglass.components.apiserver.flowcontrol.controller import FlowController
from kubeglass.components.apiserver.flowcontrol.metrics import FlowControlMetrics
from kubeglass.components.apiserver.flowcontrol.regulator import ADJUSTMENT_PERIOD_NS
from kubeglass.components.apiserver.flowcontrol.seats import SECOND
from kubeglass.components.apiserver.flowcontrol.upkeep import Write, maintenance
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.informer import Change, Informer
from kubeglass.components.machinery.reconcile import Result, run_reconciler
from kubeglass.components.machinery.transport import Unreachable
from kubeglass.components.machinery.workqueue import WorkQueue
from kubeglass.telemetry import Telemetry

CONSUMER_FIELD_MANAGER = "api-priority-and-fairness-config-consumer-v1"
PRODUCER_FIELD_MANAGER = "api-priority-and-fairness-config-producer-v1"
QUEUE_NAME = "priority_and_fairness_config_queue"
_KEY = "configuration"
_FIRST_RETRY_SECONDS = 1.0
_PERIOD_SECONDS = 60.0
_KINDS: dict[str, Kind] = {kind.plural: kind for kind in (FLOW_SCHEMA, PRIORITY_LEVEL_CONFIGURATION)}


class ConfigurationConsumer:
    """Puts the stored objects in force whenever one changes; a Reconciler with a single key."""

    name = "priority-and-fairness-config-consumer"

    def __init__(self, controller: FlowController, client: Client, telemetry: Telemetry) -> None:
        self._controller = controller
        self._client = client
        self._telemetry = telemetry
        self._schemas = Informer(client, FLOW_SCHEMA, FlowSchema, telemetry)
        self._levels = Informer(client, PRIORITY_LEVEL_CONFIGURATION, PriorityLevel, telemetry)
        self._queue: WorkQueue[str] = WorkQueue(QUEUE_NAME, telemetry)
        self._limiter = StatusWriteLimiter()
        controller.on_idle_quiescing = lambda: self._queue.add(_KEY)

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Follows the objects until cancelled; `started` is called when the first pass is in force."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._schemas.run(), name="flowschemas")
            group.create_task(self._levels.run(), name="prioritylevelconfigurations")
            await self._schemas.synced.wait()
            await self._levels.synced.wait()
            self._schemas.subscribe(self._schema_changed)
            self._levels.subscribe(self._level_changed)
            self._put_in_force()
            started()
            self._queue.add(_KEY)  # the statuses, with retries
            await run_reconciler(self, self._queue, self._telemetry)

    def _schema_changed(self, change: Change[FlowSchema]) -> None:
        old, new = change.old, change.new
        if change.type != "MODIFIED" or old is None or (old.spec, old.status) != (new.spec, new.status):
            self._queue.add(_KEY)

    def _level_changed(self, change: Change[PriorityLevel]) -> None:
        old, new = change.old, change.new
        if change.type != "MODIFIED" or old is None or old.spec != new.spec:
            self._queue.add(_KEY)

    async def reconcile(self, key: str) -> Result:
        """One pass: what is stored is in force, and the schemas say whether their level exists."""
        plan = self._put_in_force()
        for warning in plan.warnings:
            self._telemetry.log.warning(warning)
        throttled = False
        for schema, condition in plan.dangling.items():
            if self._limiter.allow(schema, self._controller.now()):
                await self._report(schema, condition)
            else:
                throttled = True
        return Result(random.uniform(30, 75) if throttled else None)

    def _put_in_force(self) -> Plan:
        return self._controller.configure(self._schemas.list(), self._levels.list())

    async def _report(self, schema: str, condition: Condition) -> None:
        try:
            await self._client.patch(
                FLOW_SCHEMA,
                schema,
                status_patch(schema, condition, clock.now_rfc3339()),
                patch_type="apply",
                subresource="status",
                field_manager=CONSUMER_FIELD_MANAGER,
                force=True,
            )
        except NotFound:
            self._telemetry.log.v(5).info("Flow schema is gone before its status was written", flowSchema=schema)


def status_patch(schema: str, condition: Condition, now: str) -> dict[str, Any]:
    """The apply patch of a schema's Dangling condition."""
    return {
        "apiVersion": FLOW_SCHEMA.api_version,
        "kind": FLOW_SCHEMA.kind,
        "metadata": {"name": schema},
        "status": {
            "conditions": [
                {
                    "type": condition.type,
                    "status": condition.status,
                    "reason": condition.reason,
                    "message": condition.message,
                    "lastTransitionTime": now,
                }
            ]
        },
    }


class ConfigurationProducer:
    """Enforces the mandatory objects and maintains the suggested ones, once a minute."""

    def __init__(self, client: Client, telemetry: Telemetry) -> None:
        self._client = client
        self._log = telemetry.log

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """`started` is called when all built-in objects exist."""
        while not await self._try():
            await asyncio.sleep(_FIRST_RETRY_SECONDS)
        started()
        while True:
            await asyncio.sleep(_PERIOD_SECONDS)
            await self._try()

    async def _try(self) -> bool:
        try:
            await self.maintain()
        except (ApiError, Unreachable) as error:
            self._log.error(error, "APF bootstrap ensurer ran into error, will retry later")
            return False
        return True

    async def maintain(self) -> None:
        """One pass over all built-in objects."""
        schemas = (await self._client.list(FLOW_SCHEMA)).items
        levels = (await self._client.list(PRIORITY_LEVEL_CONFIGURATION)).items
        for write in maintenance(schemas, levels):
            await self._write(write)

    async def _write(self, write: Write) -> None:
        kind = _KINDS[write.plural]
        try:
            if write.verb == "create":
                await self._client.create(kind, write.obj, field_manager=PRODUCER_FIELD_MANAGER)
            elif write.verb == "update":
                await self._client.update(kind, write.obj)
            else:
                version = write.obj["metadata"].get("resourceVersion", "")
                await self._client.delete(kind, write.name, resource_version=version)
        except (AlreadyExists, Conflict, NotFound) as error:
            # Another server was faster; the next pass sees what it did.
            self._log.v(5).info(
                "Bootstrap object changed meanwhile", kind=kind.kind, name=write.name, reason=str(error)
            )
            return
        self._log.v(2).info("Wrote bootstrap object", verb=write.verb, kind=kind.kind, name=write.name)


async def keep_seconds(metrics: FlowControlMetrics) -> None:
    """`keep_time` of a server that runs without priority and fairness."""
    while True:
        await asyncio.sleep(1)
        metrics.observe_second()


async def keep_time(controller: FlowController) -> None:
    """Publishes the peaks of every second, and moves seats between levels every ten; runs until cancelled."""
    period = ADJUSTMENT_PERIOD_NS // SECOND
    second = 0
    while True:
        await asyncio.sleep(1)
        second += 1
        controller.metrics.observe_second()
        if second % period == 0:
            controller.adjust()
