"""The filter of the chain: classify, wait for seats, run, and say in headers, log and span what happened.

Long-running requests pass by, except watches, which hold seats until they are initialised. With priority and fairness
switched off, `MaxInFlight` takes this place: two plain limits, for reading and for mutating requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import lru_cache, partial

from kubeglass.components.api.user import MASTERS
from kubeglass.components.apiserver.flowcontrol import watchinit
from kubeglass.components.apiserver.flowcontrol.controller import READ_ONLY_VERBS, FlowController, Rejected, Ticket
from kubeglass.components.apiserver.flowcontrol.metrics import FlowControlMetrics
from kubeglass.components.apiserver.flowcontrol.records import Caller
from kubeglass.components.apiserver.flowcontrol.rejections import BODY
from kubeglass.components.apiserver.flowcontrol.schemas import RequestDigest
from kubeglass.components.apiserver.flowcontrol.seats import SECOND
from kubeglass.components.apiserver.flowcontrol.turns import Turns
from kubeglass.components.apiserver.wire import Handler, Request, Response
from kubeglass.logging.goduration import duration_text, parse_duration
from kubeglass.telemetry.tracing.tracer import Fixed, Span, current_span

SCHEMA_UID_HEADER = "X-Kubernetes-PF-FlowSchema-UID"
LEVEL_UID_HEADER = "X-Kubernetes-PF-PriorityLevel-UID"
WHY_HEADER = "X-Kubeglass-PF-Rejected"
QUEUE_WAIT_ANNOTATION = "apiserver.latency.k8s.io/apf-queue-wait"
_NO_QUERY: Mapping[str, str] = {}
_SIZED_VERBS = frozenset(("list", "watch"))

CountRejection = Callable[[Request], None]
"""Counts a 429 where the server counts its requests (request_total, request_terminations_total)."""
Annotate = Callable[[Request, str, str], None]
"""Adds an annotation to the audit event of a request."""


def _nothing(*_: object) -> None:
    return None


class PriorityAndFairness:
    """The filter in front of authorization."""

    def __init__(
        self,
        controller: FlowController,
        request_timeout_ns: int = 60 * SECOND,
        count_rejection: CountRejection = _nothing,
        annotate: Annotate = _nothing,
    ) -> None:
        self._controller = controller
        self._request_timeout_ns = request_timeout_ns
        self._count_rejection = count_rejection
        self._annotate = annotate
        self._turns = Turns()

    async def __call__(self, request: Request, inner: Handler) -> Response:
        if request.info.long_running and request.info.verb != "watch":
            return await inner(request)
        ticket = self._ticket(request)
        self._announce(request, ticket)
        try:
            async with ticket:
                self._waited(request, ticket)
                await self._turn(request, ticket)
                return await request.send(await self._run(request, ticket, inner))
        except Rejected as rejection:
            if rejection.ticket is not ticket:
                raise
            self._waited(request, ticket)
            await self._turn(request, ticket)
            return self._refuse(request, rejection)
        finally:
            self._finished(request, ticket)

    async def _turn(self, request: Request, ticket: Ticket) -> None:
        """The decision has fallen; who was not let in gets an answer in turn, too. Exempt requests run at once."""
        turns, level = self._turns, ticket.flow.level.name
        if ticket.exempt:
            turns.take_now()
            return
        request.pause = partial(turns.take, level, ticket.request.hash_value)
        if not turns.take_now():
            self._controller.metrics.turn_seconds.labels(level).observe(
                await turns.take(level, ticket.request.hash_value)
            )

    def _ticket(self, request: Request) -> Ticket:
        received = int(request.received * SECOND)
        return self._controller.ticket(
            digest_of(request),
            _first_values(request) if request.info.verb in _SIZED_VERBS else _NO_QUERY,
            Caller(request.peer, request.headers.get("User-Agent", ""), request.audit_id, _trace_id(current_span())),
            received=received,
            deadline=None if request.info.verb == "watch" else received + self._timeout_ns(request),
        )

    def _timeout_ns(self, request: Request) -> int:
        """The server's timeout, or a smaller one that the request asked for."""
        asked = request.param("timeout") if request.query_string else ""
        if not asked:
            return self._request_timeout_ns
        try:
            timeout = parse_duration(asked)
        except ValueError:
            return self._request_timeout_ns
        return min(timeout, self._request_timeout_ns) if timeout > 0 else self._request_timeout_ns

    def _announce(self, request: Request, ticket: Ticket) -> None:
        """What is known before the decision: set now, because a handler may stream at once."""
        schema, level, work = ticket.flow.schema, ticket.flow.level, ticket.request
        request.response_headers[SCHEMA_UID_HEADER] = schema.metadata.uid
        request.response_headers[LEVEL_UID_HEADER] = level.view.metadata.uid
        request.log_values |= {
            "apf_pl": level.name[:64],
            "apf_fs": schema.name[:64],
            "apf_iseats": work.initial_seats,
            "apf_fseats": work.final_seats,
            "apf_additionalLatency": duration_text(work.additional_latency_ns),
        }

    def _waited(self, request: Request, ticket: Ticket) -> None:
        request.not_counted_seconds += ticket.waited_ns / SECOND
        if ticket.waited_ns:
            self._annotate(request, QUEUE_WAIT_ANNOTATION, duration_text(ticket.waited_ns))

    async def _run(self, request: Request, ticket: Ticket, inner: Handler) -> Response:
        if not ticket.is_watch:
            return await inner(request)

        def initialised() -> None:
            if not ticket.executed_ns:
                ticket.initialised()
                request.log_values["apf_init_latency"] = duration_text(ticket.executed_ns)

        token = watchinit.current.set(initialised)
        try:
            return await inner(request)
        finally:
            watchinit.current.reset(token)

    def _refuse(self, request: Request, rejection: Rejected) -> Response:
        self._count_rejection(request)
        flow = rejection.ticket.flow
        why = f"{rejection.reason}; priority-level={flow.level.name}; flow-schema={flow.schema.name}"
        response = too_many_requests(rejection.retry_after_seconds)
        response.headers[WHY_HEADER] = why
        return response

    def _finished(self, request: Request, ticket: Ticket) -> None:
        if ticket.executed_ns:
            request.log_values["apf_execution_time"] = duration_text(ticket.executed_ns)
        span = current_span()
        if span.recording:
            _describe(span, ticket)


def digest_of(request: Request) -> RequestDigest:
    """What flow control reads of a request."""
    info, user = request.info, request.user
    return RequestDigest(
        user.name,
        user.groups,
        info.is_resource,
        info.verb,
        info.group,
        info.version,
        info.resource,
        info.subresource,
        info.namespace,
        info.name,
        info.path,
    )


def too_many_requests(retry_after_seconds: int) -> Response:
    """The plain-text 429."""
    response = Response(429, BODY, "text/plain; charset=utf-8")
    response.headers["Retry-After"] = str(retry_after_seconds)
    return response


def _first_values(request: Request) -> Mapping[str, str]:
    if not request.query_string:
        return _NO_QUERY
    return {name: values[0] for name, values in request.query.items()}


def _trace_id(span: Span) -> str:
    return f"{span.context.trace_id:032x}" if span.context.sampled else ""


def _describe(span: Span, ticket: Ticket) -> None:
    request, flow = ticket.request, ticket.flow
    span.share(
        _about_flow(
            flow.level.name,
            flow.schema.name,
            request.distinguisher,
            -1 if request.queue is None else request.queue.index,
            request.initial_seats,
            request.final_seats,
            request.reason or "executed",
            at_once=not ticket.waited_ns,
        )
    )
    if ticket.waited_ns:
        span.set("kubeglass.apf.wait_seconds", ticket.waited_ns / SECOND)


@lru_cache(maxsize=1024)
def _about_flow(
    level: str, schema: str, distinguisher: str, queue: int, initial_seats: int, final_seats: int, outcome: str,
    *, at_once: bool,
) -> Fixed:  # fmt: skip
    """What the spans of one flow have in common."""
    return Fixed(
        {
            "kubeglass.apf.priority_level": level,
            "kubeglass.apf.flow_schema": schema,
            "kubeglass.apf.distinguisher": distinguisher,
            "kubeglass.apf.queue": queue,
            "kubeglass.apf.initial_seats": initial_seats,
            "kubeglass.apf.final_seats": final_seats,
            "kubeglass.apf.outcome": outcome,
            **({"kubeglass.apf.wait_seconds": 0.0} if at_once else {}),
        }
    )


class MaxInFlight:
    """Two limits without queues; a limit of 0 is no limit. Cluster administrators always get an answer."""

    def __init__(
        self,
        max_requests_inflight: int,
        max_mutating_requests_inflight: int,
        metrics: FlowControlMetrics,
        count_rejection: CountRejection = _nothing,
    ) -> None:
        self._limits = {"readOnly": max_requests_inflight, "mutating": max_mutating_requests_inflight}
        self._inflight = {"readOnly": 0, "mutating": 0}
        self._metrics = metrics
        self._count_rejection = count_rejection
        for kind, limit in self._limits.items():
            metrics.executing[kind].measure_against(max(limit, 1), time.monotonic_ns())

    async def __call__(self, request: Request, inner: Handler) -> Response:
        if request.info.long_running:
            return await inner(request)
        kind = "readOnly" if request.info.verb in READ_ONLY_VERBS else "mutating"
        limit = self._limits[kind]
        if limit <= 0:
            return await inner(request)
        if self._inflight[kind] >= limit:
            if MASTERS in request.user.groups:  # beside the limit, uncounted
                return await inner(request)
            self._count_rejection(request)
            return too_many_requests(1)
        self._inflight[kind] += 1
        self._metrics.executing[kind].change(1, time.monotonic_ns())
        try:
            return await request.send(await inner(request))
        finally:
            self._inflight[kind] -= 1
            self._metrics.executing[kind].change(-1, time.monotonic_ns())
