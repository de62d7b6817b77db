"""The tracing filter and the stamps it leaves: a real server, real TLS, and every span it ends."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from tests.components.apiserver.conftest import Answer, Api

from kubeglass.components.apiserver.options import Options
from kubeglass.components.apiserver.testing import quiet_telemetry, running
from kubeglass.telemetry.tracing.context import SpanContext, format_traceparent, parse_traceparent
from kubeglass.telemetry.tracing.tracer import ANNOTATION, ERROR, SERVER, UNSET, RecordedSpan, Tracer

CALLER = SpanContext(0xA11CE, 0xB0B)
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


class Kept:
    """A sink that keeps."""

    def __init__(self) -> None:
        self.spans: list[RecordedSpan] = []
        self.answered: SpanContext | None = None

    def offer(self, span: RecordedSpan) -> None:
        self.spans.append(span)


class Traced:
    """A traced server: its administrator, other users, and what was recorded."""

    def __init__(self, api: Api, kept: Kept) -> None:
        self.api, self.kept = api, kept

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        answer = await self.api(method, path, body, **headers)
        self.kept.answered = parse_traceparent(answer.headers.get("Traceparent", ""))
        return answer

    def user(self, name: str, *groups: str) -> Traced:
        server = self.api.server
        return Traced(Api(server, self.api.session, server.access(name, groups)), self.kept)

    @property
    def request(self) -> RecordedSpan:
        """The request span of the last answer, whoever got it."""
        (found,) = (span for span in self.kept.spans if same(span.context, self.kept.answered))
        assert found.kind == SERVER
        return found

    @property
    def trace(self) -> list[RecordedSpan]:
        """All spans of the last answer's trace (the server makes requests of its own, too)."""
        return [span for span in self.kept.spans if span.context.trace_id == self.request.context.trace_id]


async def serve(tracer: Tracer, kept: Kept, **options: Any) -> AsyncIterator[Traced]:
    telemetry = quiet_telemetry(tracer)
    async with (
        running(Options(authorization_mode=("AlwaysAllow",), **options), telemetry=telemetry) as server,
        aiohttp.ClientSession() as session,
    ):
        yield Traced(Api(server, session, server.access()), kept)


@pytest.fixture
async def traced() -> AsyncIterator[Traced]:
    kept = Kept()
    async for made in serve(Tracer(kept), kept):
        yield made


def deployment(name: str = "web", replicas: int = 1, stamp: SpanContext | None = None) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    metadata: dict[str, Any] = {"name": name}
    if stamp:
        metadata["annotations"] = {ANNOTATION: format_traceparent(stamp)}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def stamp_of(obj: dict[str, Any]) -> SpanContext | None:
    value = (obj["metadata"].get("annotations") or {}).get(ANNOTATION)
    return parse_traceparent(value) if value else None


def same(one: SpanContext | None, other: SpanContext | None) -> bool:
    return bool(one and other) and (one.trace_id, one.span_id) == (other.trace_id, other.span_id)


# -- the span ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "groups", "is_parent"),
    [
        ("admin", ("system:masters",), True),
        ("prometheus", ("system:monitoring",), True),
        ("system:kube-controller-manager", (), True),
        ("system:node:one", ("system:nodes",), True),
        ("jane", ("developers",), False),
        ("system:serviceaccount:default:operator", (), False),
    ],
)
async def test_trust(traced: Traced, user: str, groups: tuple[str, ...], is_parent: bool) -> None:
    """Masters, monitoring and the cluster's own components are parents; everybody else's context is a link."""
    await traced.user(user, *groups)("GET", DEPLOYMENTS, traceparent=format_traceparent(CALLER))
    span = traced.request
    assert same(span.parent, CALLER) is is_parent
    assert (span.context.trace_id == CALLER.trace_id) is is_parent
    assert [link.context.trace_id for link in span.links or ()] == ([] if is_parent else [CALLER.trace_id])


async def test_an_untrusted_caller_forces_no_sampling() -> None:
    """With rate 0 a trusted caller's sampled flag is followed, another's is not."""
    kept = Kept()
    async for traced in serve(Tracer(kept, fraction=0.0), kept):
        await traced.user("jane")("GET", "/version", traceparent=format_traceparent(CALLER))
        assert kept.spans == []
        await traced("GET", "/version", traceparent=format_traceparent(CALLER))
        assert traced.request.context.trace_id == CALLER.trace_id


async def test_headers_name_the_span_and_the_audit_record(traced: Traced) -> None:
    """Traceparent is the request span, Audit-Id its audit-id attribute; a given Audit-Id is kept."""
    answer = await traced("GET", DEPLOYMENTS, Audit_Id="given")
    assert answer.headers["Audit-Id"] == "given" == traced.request.attributes["audit-id"]
    assert same(parse_traceparent(answer.headers["Traceparent"]), traced.request.context)


async def test_who_names_no_audit_id_gets_a_random_one(traced: Traced) -> None:
    """A UUID of version 4, as upstream's, for every request anew and the same in all its spans."""
    given = [(await traced("GET", DEPLOYMENTS)).headers["Audit-Id"] for _ in range(20)]
    assert len(set(given)) == 20
    assert {(uuid.UUID(each).version, uuid.UUID(each).variant) for each in given} == {(4, uuid.RFC_4122)}
    told = {span.name: span.attributes["audit-id"] for span in traced.trace if "audit-id" in span.attributes}
    assert set(told.values()) == {given[-1]} and {"List", "cacher.GetList", "SerializeObject"} <= set(told)


async def test_only_server_errors_are_errors(traced: Traced) -> None:
    """4xx leaves the status unset, as the semantic conventions ask of servers."""
    answer = await traced("GET", f"{DEPLOYMENTS}/absent")
    assert answer.status == 404 and traced.request.status == UNSET
    answer = await traced("GET", "/readyz/absent")
    assert traced.request.status == (ERROR if answer.status >= 500 else UNSET)


async def test_off_passes_headers_through() -> None:
    """Without a configuration nothing is recorded, stamped or answered."""
    kept = Kept()
    async for traced in serve(Tracer(), kept):
        answer = await traced("POST", DEPLOYMENTS, deployment(), traceparent=format_traceparent(CALLER))
        assert answer.status == 201 and stamp_of(answer.json) is None
        assert "Traceparent" not in answer.headers
        assert kept.spans == []


# -- the stamp --------------------------------------------------------------------------------------------------------


async def test_a_create_is_stamped_with_its_request(traced: Traced) -> None:
    """The object carries the request span's context, and the span says whom it made."""
    answer = await traced("POST", DEPLOYMENTS, deployment())
    assert same(stamp_of(answer.json), traced.request.context)
    (create,) = (span for span in traced.trace if span.name == "Create")
    assert create.attributes["k8s.deployment.uid"] == answer.json["metadata"]["uid"]
    assert create.attributes["k8s.deployment.name"] == "web"


async def test_unsampled_changes_carry_their_ids_too() -> None:
    """An unsampled write is stamped as such: what it causes must not fall into an older, sampled trace."""
    kept = Kept()
    async for traced in serve(Tracer(kept, fraction=0.0), kept):
        answer = await traced("POST", DEPLOYMENTS, deployment())
        stamp = stamp_of(answer.json)
        assert stamp is not None and not stamp.sampled


async def test_only_changes_of_the_desired_state_move_the_stamp(traced: Traced) -> None:
    """Status, no-ops, annotations of Services, dry runs: the stamp stays. Scale, labels, deletion: it moves."""
    await traced("POST", DEPLOYMENTS, deployment())
    first = traced.request.context
    path = f"{DEPLOYMENTS}/web"
    merge = {"Content_Type": "application/merge-patch+json"}

    status = await traced("PATCH", f"{path}/status", {"status": {"replicas": 1}}, **merge)
    assert same(stamp_of(status.json), first)
    noop = await traced("PATCH", path, {"spec": {"replicas": 1}}, **merge)
    assert same(stamp_of(noop.json), first)
    assert noop.json["metadata"]["resourceVersion"] == status.json["metadata"]["resourceVersion"]
    dry = await traced("PATCH", f"{path}?dryRun=All", {"spec": {"replicas": 5}}, **merge)
    assert same(stamp_of(dry.json), first)
    scaled = await traced("PATCH", path, {"spec": {"replicas": 2}}, **merge)
    assert same(stamp_of(scaled.json), traced.request.context)
    labelled = await traced("PATCH", path, {"metadata": {"labels": {"tier": "x"}}}, **merge)
    assert same(stamp_of(labelled.json), traced.request.context)


async def test_a_put_that_lacks_the_stamp_does_not_drop_it(traced: Traced) -> None:
    """Whoever replaces an object by a manifest of his own loses neither the stamp nor, unchanged, the version."""
    made = await traced("POST", DEPLOYMENTS, deployment())
    stored = made.json
    again = {**stored, "metadata": {k: v for k, v in stored["metadata"].items() if k != "annotations"}}
    replaced = await traced("PUT", f"{DEPLOYMENTS}/web", again)
    assert stamp_of(replaced.json) == stamp_of(stored)
    assert replaced.json["metadata"]["resourceVersion"] == stored["metadata"]["resourceVersion"]
    assert replaced.json["metadata"]["generation"] == 1


async def test_what_a_trusted_writer_hands_on_wins(traced: Traced) -> None:
    """A controller stamps what it creates with the span of its reconcile."""
    controller = traced.user("system:kube-controller-manager")
    answer = await controller("POST", DEPLOYMENTS, deployment(stamp=CALLER))
    assert same(stamp_of(answer.json), CALLER)


async def test_a_forged_stamp_becomes_a_link(traced: Traced) -> None:
    """An untrusted user's annotation neither stays nor samples; his request is linked to what he named."""
    jane = traced.user("jane")
    answer = await jane("POST", DEPLOYMENTS, deployment(stamp=CALLER))
    assert same(stamp_of(answer.json), traced.request.context)
    linked = [link.context.trace_id for span in traced.trace for link in span.links or ()]
    assert linked == [CALLER.trace_id]
    forged = {"metadata": {"annotations": {ANNOTATION: format_traceparent(CALLER)}}}
    patched = await jane("PATCH", f"{DEPLOYMENTS}/web", forged, Content_Type="application/merge-patch+json")
    assert stamp_of(patched.json) == stamp_of(answer.json)
    garbage = {"metadata": {"annotations": {ANNOTATION: "not a traceparent"}}}
    patched = await traced("PATCH", f"{DEPLOYMENTS}/web", garbage, Content_Type="application/merge-patch+json")
    assert stamp_of(patched.json) == stamp_of(answer.json)


async def test_a_copy_of_an_exported_object_begins_its_own_trace(traced: Traced) -> None:
    """`kubectl get -o yaml | kubectl create -f -` brings an old stamp along; it is not handed on."""
    copy = deployment(stamp=CALLER)
    copy["metadata"]["uid"] = "3a0c0c5c-0000-4000-8000-000000000000"
    answer = await traced("POST", DEPLOYMENTS, copy)
    assert same(stamp_of(answer.json), traced.request.context)


async def test_apply_neither_owns_nor_fights_the_stamp(traced: Traced) -> None:
    """Server-side apply twice: one version, one stamp, and no manager owns the annotation."""
    path = f"{DEPLOYMENTS}/web?fieldManager=me"
    apply = {"Content_Type": "application/apply-patch+yaml"}
    first = await traced("PATCH", path, msgspec.json.encode(deployment()), **apply)
    second = await traced("PATCH", path, msgspec.json.encode(deployment()), **apply)
    assert first.status == 201 and second.status == 200
    assert first.json["metadata"]["resourceVersion"] == second.json["metadata"]["resourceVersion"]
    assert stamp_of(first.json) and stamp_of(first.json) == stamp_of(second.json)
    assert ANNOTATION not in msgspec.json.encode(second.json["metadata"]["managedFields"]).decode()


async def test_a_binding_hands_on_the_schedulers_span(traced: Traced) -> None:
    """The Pod carries on what the Binding is annotated with, so that the kubelet reacts to the scheduler's decision."""
    pods = "/api/v1/namespaces/default/pods"
    account = {"metadata": {"name": "default"}}
    await traced("POST", "/api/v1/namespaces/default/serviceaccounts", account)
    spec = {"containers": [{"name": "c", "image": "nginx"}]}
    await traced("POST", pods, {"metadata": {"name": "p"}, "spec": spec})
    binding = {
        "metadata": {"name": "p", "annotations": {ANNOTATION: format_traceparent(CALLER)}},
        "target": {"kind": "Node", "name": "n"},
    }
    bound = await traced.user("system:kube-scheduler")("POST", f"{pods}/p/binding", binding)
    assert bound.status == 201, bound.body
    assert same(stamp_of((await traced("GET", f"{pods}/p")).json), CALLER)
    deleted = await traced("DELETE", f"{pods}/p")
    assert same(stamp_of(deleted.json), traced.request.context), "a graceful deletion is a change, too"


async def test_events_and_leases_are_not_stamped(traced: Traced) -> None:
    """Nobody reacts to them with work."""
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}}
    answer = await traced("POST", "/apis/coordination.k8s.io/v1/namespaces/default/leases", lease)
    assert answer.status == 201 and stamp_of(answer.json) is None


async def test_the_audit_record_names_the_span(tmp_path: Path) -> None:
    """Audit events carry the request span beside the auditID."""
    policy, log = tmp_path / "policy.yaml", tmp_path / "audit.log"
    policy.write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n")
    kept = Kept()
    async for traced in serve(Tracer(kept), kept, audit_policy_file=str(policy), audit_log_path=str(log)):
        await traced("GET", DEPLOYMENTS, Audit_Id="mine")
        span = traced.request.context
    events = [msgspec.json.decode(line) for line in log.read_bytes().splitlines()]
    (done,) = (event for event in events if event["auditID"] == "mine" and event["stage"] == "ResponseComplete")
    assert same(parse_traceparent(done["annotations"][ANNOTATION]), span)
