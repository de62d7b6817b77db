"""The filter of the chain: headers, 429, log values, watches, bypass, and the fallback."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from kubeglass.components.api.objects.flowcontrol import flow_schema, priority_level
from kubeglass.components.api.user import UserInfo
from kubeglass.components.apiserver import requestinfo
from kubeglass.components.apiserver.flowcontrol import watchinit
from kubeglass.components.apiserver.flowcontrol.controller import FlowController
from kubeglass.components.apiserver.flowcontrol.filter import MaxInFlight, PriorityAndFairness
from kubeglass.components.apiserver.flowcontrol.metrics import FlowControlMetrics
from kubeglass.components.apiserver.wire import Request, Response, Stream, Tunnel
from kubeglass.telemetry.metrics.registry import Registry


class Unconnected:
    """The exchange of a request that no handler here reads or streams."""

    async def read(self, limit: int) -> bytes:
        raise ConnectionError

    async def open(self, status: int, headers: Mapping[str, str]) -> Stream:
        raise ConnectionError

    def take_over(self) -> Tunnel:
        raise ConnectionError


ALICE = UserInfo("alice", groups=("system:authenticated",))


def _request(method: str = "GET", path: str = "/api/v1/namespaces/default/pods", query: str = "") -> Request:
    loop = asyncio.get_running_loop()
    headers = {"User-Agent": "kubectl/v1.36"}
    request = Request(method, path, query, headers, "127.0.0.1:4242", Unconnected(), loop.time())
    request.info = requestinfo.parse(method, path, request.query)
    request.user = ALICE
    return request


async def _ok(request: Request) -> Response:
    return Response()


@pytest.fixture
def controller() -> FlowController:
    controller = FlowController(2, FlowControlMetrics(Registry()))
    rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    schema: dict[str, Any] = {
        "metadata": {"name": "a" * 70, "uid": "schema-uid"},
        "spec": {
            "priorityLevelConfiguration": {"name": "tight"},
            "rules": [{"subjects": [{"kind": "User", "user": {"name": "alice"}}], "resourceRules": [rule]}],
        },
    }
    limited = {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}, "borrowingLimitPercent": 0}
    level = {"metadata": {"name": "tight", "uid": "level-uid"}, "spec": {"type": "Limited", "limited": limited}}
    controller.configure([flow_schema(schema)], [priority_level(level)])
    return controller


async def test_headers_and_log_values(controller: FlowController) -> None:
    """A request that runs carries the UIDs of its schema and level, and says in the log what it took."""
    request = _request()
    response = await PriorityAndFairness(controller)(request, _ok)
    assert response.status == 200
    assert request.response_headers["X-Kubernetes-PF-FlowSchema-UID"] == "schema-uid"
    assert request.response_headers["X-Kubernetes-PF-PriorityLevel-UID"] == "level-uid"
    assert list(request.log_values) == [
        "apf_pl",
        "apf_fs",
        "apf_iseats",
        "apf_fseats",
        "apf_additionalLatency",
        "apf_execution_time",
    ]
    assert request.log_values["apf_pl"] == "tight"
    assert request.log_values["apf_fs"] == "a" * 64
    assert request.log_values["apf_additionalLatency"] == "0s"


async def test_a_rejection(controller: FlowController) -> None:
    """A rejection is 429 in plain text with Retry-After and the UIDs, says whose it is, and is counted."""
    counted: list[Request] = []
    fair = PriorityAndFairness(controller, count_rejection=counted.append)
    release = asyncio.Event()

    async def slow(request: Request) -> Response:
        await release.wait()
        return Response()

    async with asyncio.TaskGroup() as group:
        group.create_task(fair(_request(), slow))
        await asyncio.sleep(0)
        request = _request()
        response = await fair(request, _ok)
        release.set()
    assert (response.status, response.body) == (429, b"Too many requests, please try again later.\n")
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.headers["Retry-After"] == "1"
    assert response.headers["X-Kubeglass-PF-Rejected"].startswith(
        "concurrency-limit; priority-level=tight; flow-schema=a"
    )
    assert request.response_headers["X-Kubernetes-PF-FlowSchema-UID"] == "schema-uid"
    assert counted == [request]
    (record,) = controller.recorder.incidents.since(controller.wall_ns())
    assert (record.caller.user_agent, record.caller.source) == ("kubectl/v1.36", "127.0.0.1:4242")


async def test_imagined_objects_have_no_uid() -> None:
    """Before the first sync the headers are there and empty."""
    request = _request()
    await PriorityAndFairness(FlowController(2, FlowControlMetrics(Registry())))(request, _ok)
    assert request.response_headers["X-Kubernetes-PF-PriorityLevel-UID"] == ""
    assert request.log_values["apf_pl"] == "catch-all"


async def test_queue_wait_is_annotated_and_not_counted() -> None:
    """The time in the queue goes into the audit annotation and out of the SLI duration."""
    from kubeglass.components.api.flowcontrol import LEVELS, SCHEMAS

    controller = FlowController(2, FlowControlMetrics(Registry()))
    controller.configure(SCHEMAS, LEVELS)
    controller.regulator.levels["global-default"].queues.set_limit(1, controller.now())
    notes: list[tuple[str, str]] = []
    fair = PriorityAndFairness(controller, annotate=lambda request, key, value: notes.append((key, value)))

    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.03)
        return Response()

    second = _request()
    async with asyncio.TaskGroup() as group:
        group.create_task(fair(_request(), slow))
        await asyncio.sleep(0)
        group.create_task(fair(second, _ok))
    assert 0.02 < second.not_counted_seconds < 2
    assert [key for key, _ in notes] == ["apiserver.latency.k8s.io/apf-queue-wait"]
    assert notes[0][1].endswith("ms")


@pytest.mark.parametrize(
    "path", ["/api/v1/namespaces/default/pods/p/exec", "/api/v1/namespaces/default/pods/p/log", "/debug/pprof/heap"]
)
async def test_long_running_requests_pass_by(controller: FlowController, path: str) -> None:
    """What may last is not accounted for, and has no headers."""
    request = _request(path=path)
    await PriorityAndFairness(controller)(request, _ok)
    assert request.response_headers == {}
    assert controller.regulator.levels["tight"].queues.totals.dispatched == 0


async def test_a_watch_holds_seats_until_it_is_initialised(controller: FlowController) -> None:
    """The watch handler's signal frees the seats, and its stream goes on."""
    queues = controller.regulator.levels["tight"].queues
    seats: list[int] = []

    async def watch(request: Request) -> Response:
        seats.append(queues.seats_in_use)
        watchinit.initialised()
        watchinit.initialised()
        seats.append(queues.seats_in_use)
        return Response(sent=True)

    request = _request(query="watch=true&resourceVersion=5")
    await PriorityAndFairness(controller)(request, watch)
    assert seats == [1, 0]
    assert "apf_init_latency" in request.log_values
    watchinit.initialised()  # outside of a watch: nothing


async def test_a_request_may_ask_for_less_time(controller: FlowController) -> None:
    """`timeout=` shortens the wait of a request; nonsense and excess do not change it."""
    fair = PriorityAndFairness(controller)
    for asked, seconds in (("8s", 8), ("2h", 60), ("soon", 60), ("0s", 60), ("", 60)):
        assert fair._timeout_ns(_request(query=f"timeout={asked}")) == seconds * 10**9


async def test_max_in_flight() -> None:
    """Without priority and fairness two plain limits apply, except to administrators."""
    limits = MaxInFlight(1, 1, FlowControlMetrics(Registry()))
    release = asyncio.Event()

    async def slow(request: Request) -> Response:
        await release.wait()
        return Response()

    async with asyncio.TaskGroup() as group:
        group.create_task(limits(_request(), slow))
        await asyncio.sleep(0)
        refused = await limits(_request(), _ok)
        assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
        assert (await limits(_request("POST"), _ok)).status == 200
        assert (await limits(_request(query="watch=1"), _ok)).status == 200
        admin = _request()
        admin.user = UserInfo("root", groups=("system:masters",))
        assert (await limits(admin, _ok)).status == 200
        release.set()
    assert (await limits(_request(), _ok)).status == 200
