"""Why a FlowSchema or PriorityLevelConfiguration is refused: the causes of the 422, in upstream's words. Pure.

Takes v1 views of objects that already have their defaults. Metadata is checked by whoever checks it for every kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import msgspec

from kubeglass.components.api import names
from kubeglass.components.api.conversions.flowcontrol import shares_field
from kubeglass.components.api.errors import Cause
from kubeglass.components.api.fielderrors import duplicate, forbidden, invalid, not_supported, required
from kubeglass.components.api.flowcontrol import (
    MANDATORY_LEVELS,
    MANDATORY_SCHEMAS,
    MAX_HASH_BITS,
    exempt_differs_only_in_its_numbers,
    required_bits,
)
from kubeglass.components.api.objects import flowcontrol as objects
from kubeglass.components.api.objects.struct import encode

MAX_PRECEDENCE = 10000
MAX_QUEUES = 10_000_000
VERBS = frozenset(("get", "list", "create", "update", "delete", "deletecollection", "patch", "watch", "proxy"))
_SUBJECTS = {"ServiceAccount": "serviceAccount", "User": "user", "Group": "group"}
_SHARES = "spec.limited.nominalConcurrencyShares"
_NAMESPACE_INTRO = "each member of this list must be '*' or a DNS-1123 label; "


def flow_schema(view: objects.FlowSchema) -> list[Cause]:
    """The causes for which a FlowSchema is refused."""
    causes = list(_schema_spec(view))
    built_in = next((schema for schema in MANDATORY_SCHEMAS if schema.name == view.name), None)
    if built_in is not None and built_in.spec != view.spec:
        causes.append(invalid("spec", encode(view.spec), f"spec of '{view.name}' must equal the fixed value"))
    return causes + list(_conditions(view.status.conditions))


def priority_level(view: objects.PriorityLevel) -> list[Cause]:
    """The causes for which a PriorityLevelConfiguration is refused."""
    causes = list(_level_spec(view))
    if view.name == objects.EXEMPT and not exempt_differs_only_in_its_numbers(view.spec):
        detail = "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value"
        causes.append(invalid("spec", encode(view.spec), detail))
    elif view.name == objects.CATCH_ALL and view.spec != MANDATORY_LEVELS[0].spec:
        causes.append(invalid("spec", encode(view.spec), "spec of 'catch-all' must equal the fixed value"))
    return causes + list(_conditions(view.status.conditions))


def status(view: objects.FlowSchema | objects.PriorityLevel) -> list[Cause]:
    """The causes for which a status of either kind is refused."""
    return list(_conditions(view.status.conditions))


def in_version(version: str, causes: Sequence[Cause]) -> list[Cause]:
    """The same causes, naming the shares as this version does."""
    path = f"spec.limited.{shares_field(version)}"
    return [replace(cause, field=path) if cause.field == _SHARES else cause for cause in causes]


# FlowSchema


def _schema_spec(view: objects.FlowSchema) -> Iterator[Cause]:
    spec, path = view.spec, "spec.matchingPrecedence"
    precedence = spec.matching_precedence
    if precedence <= 0:
        yield invalid(path, precedence, "must be a positive value")
    if precedence > MAX_PRECEDENCE:
        yield invalid(path, precedence, f"must not be greater than {MAX_PRECEDENCE}")
    if precedence == 1 and view.name != objects.EXEMPT:
        yield invalid(path, precedence, "only the schema named 'exempt' may have matchingPrecedence 1")
    method = spec.distinguisher_method
    if method is not None and method.type not in ("ByNamespace", "ByUser"):
        value = msgspec.to_builtins(method)
        yield not_supported("spec.distinguisherMethod.type", value, ("ByNamespace", "ByUser"))
    path = "spec.priorityLevelConfiguration.name"
    if view.level:
        yield from _named(path, view.level, names.dns1123_subdomain(view.level))
    else:
        yield required(path, "must reference a priority level")
    for index, rule in enumerate(spec.rules):
        yield from _rule(rule, f"spec.rules[{index}]")


def _rule(rule: objects.Rule, path: str) -> Iterator[Cause]:
    if not rule.subjects:
        yield required(f"{path}.subjects", "subjects must contain at least one value")
    for index, subject in enumerate(rule.subjects):
        yield from _subject(subject, f"{path}.subjects[{index}]")
    if not rule.resource_rules and not rule.non_resource_rules:
        yield required(path, "at least one of resourceRules and nonResourceRules has to be non-empty")
    for index, entry in enumerate(rule.resource_rules):
        yield from _resource_rule(entry, f"{path}.resourceRules[{index}]")
    for index, other in enumerate(rule.non_resource_rules):
        yield from _non_resource_rule(other, f"{path}.nonResourceRules[{index}]")


def _subject(subject: objects.Subject, path: str) -> Iterator[Cause]:
    if subject.kind not in _SUBJECTS:
        yield not_supported(f"{path}.kind", subject.kind, _SUBJECTS)
        return
    blocks = {"ServiceAccount": subject.service_account, "User": subject.user, "Group": subject.group}
    field = _SUBJECTS[subject.kind]
    block = blocks.pop(subject.kind)
    if block is None:
        yield required(f"{path}.{field}", f"{field} is required when subject kind is '{subject.kind}'")
    elif isinstance(block, objects.ServiceAccountSubject):
        yield from _service_account(block, f"{path}.{field}")
    elif not block.name:
        yield required(f"{path}.{field}.name")
    for kind, other in blocks.items():
        if other is not None:
            field = _SUBJECTS[kind]
            yield forbidden(f"{path}.{field}", f"{field} is forbidden when subject kind is not '{kind}'")


def _service_account(subject: objects.ServiceAccountSubject, path: str) -> Iterator[Cause]:
    if not subject.name:
        yield required(f"{path}.name")
    elif subject.name != "*":
        yield from _named(f"{path}.name", subject.name, names.dns1123_subdomain(subject.name))
    if subject.namespace:
        yield from _named(f"{path}.namespace", subject.namespace, names.dns1123_label(subject.namespace))
    else:
        yield required(f"{path}.namespace", "must specify namespace for service account")


def _named(path: str, name: str, complaints: Iterable[str], intro: str = "") -> Iterator[Cause]:
    for complaint in complaints:
        yield invalid(path, name, intro + complaint)


def _resource_rule(rule: objects.ResourceRule, path: str) -> Iterator[Cause]:
    yield from _verbs(rule.verbs, path)
    at_least = "resource rules must supply at least one"
    yield from _wildcard(rule.api_groups, f"{path}.apiGroups", f"{at_least} api group", "api groups")
    yield from _wildcard(rule.resources, f"{path}.resources", f"{at_least} resource", "resources")
    path = f"{path}.namespaces"
    if not rule.namespaces and not rule.cluster_scope:
        detail = "resource rules that are not cluster scoped must supply at least one namespace"
        yield required(path, detail)
    elif "*" in rule.namespaces:
        if len(rule.namespaces) > 1:
            yield invalid(path, rule.namespaces, "if '*' is present, must not specify other namespaces")
    else:
        for index, namespace in enumerate(rule.namespaces):
            yield from _named(f"{path}[{index}]", namespace, names.dns1123_label(namespace), _NAMESPACE_INTRO)


def _non_resource_rule(rule: objects.NonResourceRule, path: str) -> Iterator[Cause]:
    yield from _verbs(rule.verbs, path)
    path = f"{path}.nonResourceURLs"
    missing = "nonResourceURLs must contain at least one value"
    yield from _wildcard(rule.non_resource_urls, path, missing, "non-resource URLs")
    if "*" not in rule.non_resource_urls:
        for index, url in enumerate(rule.non_resource_urls):
            if detail := url_error(url):
                yield invalid(f"{path}[{index}]", url, detail)


def _verbs(verbs: Sequence[str], path: str) -> Iterator[Cause]:
    path = f"{path}.verbs"
    yield from _wildcard(verbs, path, "verbs must contain at least one value", "verbs")
    if verbs and "*" not in verbs and not VERBS.issuperset(verbs):
        yield not_supported(path, verbs, VERBS)


def _wildcard(entries: Sequence[str], path: str, missing: str, noun: str) -> Iterator[Cause]:
    if not entries:
        yield required(path, missing)
    elif len(entries) > 1 and "*" in entries:
        yield invalid(path, entries, f"if '*' is present, must not specify other {noun}")


def url_error(url: str) -> str:
    """Why a non-resource URL is refused; empty when it is fine."""
    if not url:
        return "must not be empty"
    if url == "/":
        return ""
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    wildcards = url.count("*")
    if wildcards > 1 or (wildcards == 1 and not url.endswith("/*")):
        return "wildcard can only do suffix matching"
    return ""


# PriorityLevelConfiguration


def _level_spec(view: objects.PriorityLevel) -> Iterator[Cause]:
    spec = view.spec
    if (view.name == objects.EXEMPT) != (spec.type == "Exempt"):
        yield invalid("spec.type", spec.type, "type must be 'Exempt' if and only if name is 'exempt'")
    if spec.type == "Exempt":
        if spec.limited is not None:
            yield forbidden("spec.limited", "must be nil if the type is not Limited")
        if spec.exempt is not None:
            yield from _shares(spec.exempt.nominal_concurrency_shares, "spec.exempt.nominalConcurrencyShares")
            yield from _lendable(spec.exempt.lendable_percent, "spec.exempt")
    elif spec.type == "Limited":
        if spec.exempt is not None:
            yield forbidden("spec.exempt", "must be nil if the type is Limited")
        if spec.limited is None:
            yield required("spec.limited", "must not be empty when type is Limited")
        else:
            yield from _limited(spec.limited)
    else:
        yield not_supported("spec.type", spec.type, ("Exempt", "Limited"))


def _limited(limited: objects.Limited) -> Iterator[Cause]:
    yield from _shares(limited.nominal_concurrency_shares, _SHARES)
    yield from _limit_response(limited.limit_response, "spec.limited.limitResponse")
    yield from _lendable(limited.lendable_percent, "spec.limited")
    borrowing = limited.borrowing_limit_percent
    if borrowing is not None and borrowing < 0:
        detail = "if specified, must be a non-negative integer"
        yield invalid("spec.limited.borrowingLimitPercent", borrowing, detail)


def _shares(shares: int | None, path: str) -> Iterator[Cause]:
    if shares is not None and shares < 0:
        yield invalid(path, shares, "must be a non-negative integer")


def _lendable(percent: int | None, path: str) -> Iterator[Cause]:
    if percent is not None and not 0 <= percent <= 100:
        yield invalid(f"{path}.lendablePercent", percent, "must be between 0 and 100, inclusive")


def _limit_response(response: objects.LimitResponse, path: str) -> Iterator[Cause]:
    queuing, path_of_queuing = response.queuing, f"{path}.queuing"
    if response.type == "Reject":
        if queuing is not None:
            yield forbidden(path_of_queuing, "must be nil if limited.limitResponse.type is not Limited")
    elif response.type == "Queue":
        if queuing is None:
            yield required(path_of_queuing, "must not be empty if limited.limitResponse.type is Limited")
        else:
            yield from _queuing(queuing, path_of_queuing)
    else:
        yield not_supported(f"{path}.type", response.type, ("Queue", "Reject"))


def _queuing(queuing: objects.Queuing, path: str) -> Iterator[Cause]:
    queues, hand = queuing.queues, queuing.hand_size
    if queuing.queue_length_limit <= 0:
        yield invalid(f"{path}.queueLengthLimit", queuing.queue_length_limit, "must be positive")
    if queues <= 0:
        yield invalid(f"{path}.queues", queues, "must be positive")
    elif queues > MAX_QUEUES:
        yield invalid(f"{path}.queues", queues, f"must not be greater than {MAX_QUEUES}")
    if hand <= 0:
        yield invalid(f"{path}.handSize", hand, "must be positive")
    elif hand > queues:
        yield invalid(f"{path}.handSize", hand, f"should not be greater than queues ({queues})")
    elif required_bits(queues, hand) > MAX_HASH_BITS:
        sizes = f"deckSize {queues} and handSize {hand}"
        detail = f"required entropy bits of {sizes} should not be greater than {MAX_HASH_BITS}"
        yield invalid(f"{path}.handSize", hand, detail)


def _conditions(conditions: Sequence[objects.Condition]) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        path = f"status.conditions[{index}].type"
        if condition.type in seen:
            yield duplicate(path, condition.type)
        seen.add(condition.type)
        if not condition.type:
            yield required(path, "must not be empty")
