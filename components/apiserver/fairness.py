"""API Priority and Fairness put together for one server: the filter, its dumps, and the loops that keep it current.

With --enable-priority-and-fairness=false two plain limits take its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from kubeglass.components.api.errors import ApiError
from kubeglass.components.apiserver.dispatch import Path
from kubeglass.components.apiserver.flowcontrol.controller import FlowController
from kubeglass.components.apiserver.flowcontrol.dumps import Dumps
from kubeglass.components.apiserver.flowcontrol.filter import Annotate, CountRejection, MaxInFlight, PriorityAndFairness
from kubeglass.components.apiserver.flowcontrol.maintenance import (
    ConfigurationConsumer,
    ConfigurationProducer,
    keep_seconds,
    keep_time,
)
from kubeglass.components.apiserver.flowcontrol.metrics import FlowControlMetrics
from kubeglass.components.apiserver.flowcontrol.seats import SECOND
from kubeglass.components.apiserver.options import Options
from kubeglass.components.apiserver.storage.watchcaches import WatchCaches
from kubeglass.components.apiserver.wire import Filter, Handler, Request, Response
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.transport import Unreachable
from kubeglass.telemetry import Telemetry

_RETRY_SECONDS = 1.0
_SIZES_SECONDS = 1.0
"""How old the sizes may be that the width of a LIST is estimated from."""


class Fairness:
    """The flow control of one server."""

    def __init__(
        self, options: Options, telemetry: Telemetry, count_rejection: CountRejection, annotate: Annotate
    ) -> None:
        self._telemetry = telemetry
        self._metrics = metrics = FlowControlMetrics(telemetry.metrics)
        reading, mutating = options.max_requests_inflight, options.max_mutating_requests_inflight
        self._controller: FlowController | None = None
        self.filter: Filter
        if options.enable_priority_and_fairness:
            self._controller = FlowController(reading + mutating, metrics)
            timeout = int(options.request_timeout * SECOND)
            self.filter = PriorityAndFairness(self._controller, timeout, count_rejection, annotate)
        else:
            self.filter = MaxInFlight(reading, mutating, metrics, count_rejection)

    def paths(self) -> Sequence[Path]:
        """/debug/api_priority_and_fairness/*."""
        if self._controller is None:
            return ()
        dumps = Dumps(self._controller)
        return [Path(path, _page(dumps, path)) for path in dumps.pages]

    async def run(self, client: Client, caches: WatchCaches) -> None:
        """Follow and maintain the configuration objects until cancelled."""
        if self._controller is None:
            await keep_seconds(self._metrics)
            return
        produced = asyncio.Event()
        producer = ConfigurationProducer(client, self._telemetry)
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_time(self._controller))
            group.create_task(keep_sizes(self._controller, caches))
            group.create_task(producer.run(produced.set))
            await produced.wait()
            group.create_task(self._follow(self._controller, client))

    async def _follow(self, controller: FlowController, client: Client) -> None:
        """A configuration that cannot be followed leaves the last one in force; it never takes the server down."""
        consumer = ConfigurationConsumer(controller, client, self._telemetry)
        while True:
            try:
                await consumer.run()
            except* (ApiError, Unreachable) as errors:
                self._telemetry.log.error(errors.exceptions[0], "Lost track of flow control's configuration, retrying")
            await asyncio.sleep(_RETRY_SECONDS)


async def keep_sizes(controller: FlowController, caches: WatchCaches) -> None:
    """Tell flow control how many objects there are and how large, until cancelled."""
    sizes = controller.regulator.sizes
    while True:
        for kind, cache in caches.resources():
            sizes.record(kind.stored_group, kind.plural, len(cache), cache.average_bytes(), controller.now())
        await asyncio.sleep(_SIZES_SECONDS)


def _page(dumps: Dumps, path: str) -> Handler:
    async def show(request: Request) -> Response:
        query = {name: values[0] for name, values in request.query.items()}
        content_type, body = dumps.pages[path](query)
        return Response(200, body.encode(), content_type)

    return show
