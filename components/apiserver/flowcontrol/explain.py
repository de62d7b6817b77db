"""Which schema a request falls into, which were tried before and why not, and what it would get there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from kubeglass.components.api.objects.flowcontrol import FlowSchema, ResourceRule, Rule, Subject
from kubeglass.components.apiserver.flowcontrol.regulator import Flow, Regulator
from kubeglass.components.apiserver.flowcontrol.schemas import (
    RequestDigest,
    non_resource_rule_mismatch,
    resource_rule_mismatch,
    rule_matches,
    subject_matches,
)


class TriedRule(msgspec.Struct, frozen=True):
    """One rule of a schema: whether it matches, and if not, the first thing that does not fit."""

    index: int
    matches: bool
    why: str


class TriedSchema(msgspec.Struct, frozen=True, rename="camel"):
    """One schema that was tried, in order."""

    name: str
    matching_precedence: int
    priority_level: str
    matches: bool
    rules: tuple[TriedRule, ...]


class Explanation(msgspec.Struct, frozen=True, rename="camel"):
    """Everything that classification and estimation say about one request."""

    tried: tuple[TriedSchema, ...]
    flow_schema: str
    priority_level: str
    level_type: str  # Exempt, Queue or Reject
    distinguisher_method: str
    distinguisher: str
    flow_hash: int
    hand: tuple[int, ...]
    queue_lengths: tuple[int, ...]  # of the hand
    initial_seats: int
    final_seats: int
    additional_latency_ns: int
    seat_cap: int  # of the level; 0: none of its own
    inputs: dict[str, Any]  # what the width was computed from
    limit: int
    seats_in_use: int
    nominal: int
    minimum: int
    maximum: int
    warnings: tuple[str, ...]


def explain(regulator: Regulator, digest: RequestDigest, query: Mapping[str, str], now: int) -> Explanation:
    """Classifies and measures a request without sending it."""
    flow = regulator.classify(digest)
    level = flow.level
    work, watchers = regulator.estimate(digest, query, level, now)
    request = flow.request(digest, work)
    hand = level.queues.hand(request.hash_value)
    method = flow.schema.spec.distinguisher_method
    return Explanation(
        tried=tuple(_tried(regulator.schemas, flow.schema, digest)),
        flow_schema=flow.schema.name,
        priority_level=level.name,
        level_type=_level_type(flow),
        distinguisher_method=method.type if method else "",
        distinguisher=request.distinguisher,
        flow_hash=request.hash_value,
        hand=hand,
        queue_lengths=tuple(len(level.queues.queues[index].waiting) for index in hand),
        initial_seats=work.initial_seats,
        final_seats=work.final_seats,
        additional_latency_ns=work.additional_latency_ns,
        seat_cap=level.seat_cap,
        inputs=_inputs(regulator, digest, watchers, now),
        limit=level.queues.limit,
        seats_in_use=level.queues.seats_in_use,
        nominal=level.limits.nominal,
        minimum=level.limits.minimum,
        maximum=level.limits.maximum,
        warnings=tuple(_warnings(regulator, flow)),
    )


def _tried(schemas: tuple[FlowSchema, ...], winner: FlowSchema, digest: RequestDigest) -> list[TriedSchema]:
    tried = []
    for schema in schemas:
        rules = tuple(TriedRule(index, *_judge(rule, digest)) for index, rule in enumerate(schema.spec.rules))
        matches = any(rule.matches for rule in rules)
        tried.append(TriedSchema(schema.name, schema.spec.matching_precedence, schema.level, matches, rules))
        if schema is winner:
            break
    return tried


def _judge(rule: Rule, digest: RequestDigest) -> tuple[bool, str]:
    if rule_matches(rule, digest):
        return True, ""
    if not any(subject_matches(subject, digest.user, digest.groups) for subject in rule.subjects):
        return False, "no subject matches: " + ", ".join(map(describe_subject, rule.subjects))
    if not digest.is_resource:
        if not rule.non_resource_rules:
            return False, "the rule covers no non-resource requests"
        return False, "; ".join(
            f"nonResourceRule {index}: {_mismatch(entry, non_resource_rule_mismatch(entry, digest))}"
            for index, entry in enumerate(rule.non_resource_rules)
        )
    if not rule.resource_rules:
        return False, "the rule covers no resource requests"
    return False, "; ".join(
        f"resourceRule {index}: {_mismatch(entry, resource_rule_mismatch(entry, digest))}"
        for index, entry in enumerate(rule.resource_rules)
    )


def _mismatch(entry: ResourceRule | Any, field: str) -> str:
    if field == "clusterScope":
        return "the request has no namespace and clusterScope is false"
    values = msgspec.to_builtins(entry).get(field, [])
    return f"{field} {msgspec.json.encode(values).decode()} does not cover it"


def describe_subject(subject: Subject) -> str:
    """`User alice`, `Group system:nodes`, `ServiceAccount kube-system/*`."""
    if subject.service_account is not None:
        return f"ServiceAccount {subject.service_account.namespace}/{subject.service_account.name}"
    named = subject.user or subject.group
    return f"{subject.kind} {named.name if named else ''}"


def _level_type(flow: Flow) -> str:
    if flow.level.view.is_exempt:
        return "Exempt"
    return "Queue" if flow.level.queues.config.queues else "Reject"


def _inputs(regulator: Regulator, digest: RequestDigest, watchers: int | None, now: int) -> dict[str, Any]:
    if watchers is not None:
        return {"watchers": watchers}
    if digest.verb not in ("list", "watch"):
        return {}
    stats = regulator.sizes.get(digest.api_group, digest.resource, now)
    if stats is None:
        return {"objects": "unknown", "averageBytes": "unknown"}
    return {"objects": stats.count, "averageBytes": stats.average_bytes}


def _warnings(regulator: Regulator, flow: Flow) -> list[str]:
    """Settings of the level that are known to hurt."""
    level, found = flow.level, []
    config = level.queues.config
    if config.queues and not level.queues.limit:
        found.append("the level has no seats now: its requests wait until the next adjustment gives it some")
    if config.queues and config.hand_size * level.seat_cap >= level.queues.limit > 0:
        found.append("one flow of the widest requests can fill the level: handSize times seat cap reaches the limit")
    if level.limits.maximum > regulator.server_limit:
        found.append("the upper limit of the level is more than the server has")
    return found
