"""Which FlowSchema a request belongs to, and which flow inside it.

Schemas are tried by (matchingPrecedence, name); the first one with a matching rule wins. A rule matches when any of its
subjects and any of its resource rules (non-resource rules for a plain path) do. `*` counts only as the sole entry of a
list; a request without namespace needs `clusterScope`. The `…_mismatch` functions name the first field that does not
fit, so that matching and explaining are the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

import msgspec

from kubeglass.components.api.objects.flowcontrol import (
    CATCH_ALL,
    FlowSchema,
    NonResourceRule,
    ResourceRule,
    Rule,
    Subject,
)

_CACHED_USERS = 2048
_CACHED_DECISIONS = 64
_SERVICE_ACCOUNT = "system:serviceaccount:"


class RequestDigest(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What matching and the width estimate read of a request."""

    user: str
    groups: tuple[str, ...]
    is_resource: bool
    verb: str
    api_group: str = ""
    api_version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


def in_order(schemas: Iterable[FlowSchema]) -> list[FlowSchema]:
    """Schemas in the order they are tried."""
    return sorted(schemas, key=lambda schema: (schema.spec.matching_precedence, schema.name.encode()))


def _covers(entries: Sequence[str], value: str) -> bool:
    return value in entries or (len(entries) == 1 and entries[0] == "*")


def subject_matches(subject: Subject, user: str, groups: Sequence[str]) -> bool:
    """Whether a subject speaks of this user."""
    if subject.kind == "User" and subject.user is not None:
        return subject.user.name in ("*", user)
    if subject.kind == "Group" and subject.group is not None:
        return subject.group.name == "*" or subject.group.name in groups
    account = subject.service_account
    if subject.kind != "ServiceAccount" or account is None:
        return False
    namespace = f"{_SERVICE_ACCOUNT}{account.namespace}:"
    return user.startswith(namespace) if account.name == "*" else user == namespace + account.name


def resource_rule_mismatch(rule: ResourceRule, digest: RequestDigest) -> str:
    """The first field of the rule that a resource request does not fit; empty when it fits."""
    if not _covers(rule.verbs, digest.verb):
        return "verbs"
    resource = f"{digest.resource}/{digest.subresource}" if digest.subresource else digest.resource
    if not _covers(rule.resources, resource):
        return "resources"
    if not _covers(rule.api_groups, digest.api_group):
        return "apiGroups"
    if not digest.namespace:
        return "" if rule.cluster_scope else "clusterScope"
    return "" if _covers(rule.namespaces, digest.namespace) else "namespaces"


def non_resource_rule_mismatch(rule: NonResourceRule, digest: RequestDigest) -> str:
    """The first field of the rule that a non-resource request does not fit; empty when it fits."""
    if not _covers(rule.verbs, digest.verb):
        return "verbs"
    return "" if any(url_matches(url, digest.path) for url in rule.non_resource_urls) else "nonResourceURLs"


def url_matches(pattern: str, path: str) -> bool:
    """`/healthz` also covers `/healthz/ping`; `/healthz/*` does not cover `/healthz`; `/` covers every path."""
    if pattern in ("*", path):
        return True
    prefix = pattern.removesuffix("*")
    return path.startswith(prefix if prefix.endswith("/") else prefix + "/")


def action_matches(rule: Rule, digest: RequestDigest) -> bool:
    """Whether a rule covers what a request does, whoever sends it."""
    if digest.is_resource:
        return any(not resource_rule_mismatch(entry, digest) for entry in rule.resource_rules)
    return any(not non_resource_rule_mismatch(entry, digest) for entry in rule.non_resource_rules)


def rule_matches(rule: Rule, digest: RequestDigest) -> bool:
    """Whether a rule covers a request: who, and what."""
    return any(subject_matches(subject, digest.user, digest.groups) for subject in rule.subjects) and action_matches(
        rule, digest
    )


def schema_matches(schema: FlowSchema, digest: RequestDigest) -> bool:
    """Whether any rule of a schema covers a request."""
    return any(rule_matches(rule, digest) for rule in schema.spec.rules)


def distinguisher(schema: FlowSchema) -> Callable[[RequestDigest], str]:
    """What tells the flows of one schema apart; empty when the schema makes one flow of everything."""
    method = schema.spec.distinguisher_method
    if method is None:
        return lambda digest: ""
    return attrgetter("user" if method.type == "ByUser" else "namespace")


Action = tuple[str, str, str, str, str]  # verb, API group, resource, subresource, namespace


class _Known:
    """What is known of one user: the rules that speak of it, in order, and what they decided so far."""

    __slots__ = ("_fallback", "_spoken_of", "decisions", "groups")

    def __init__(self, schemas: Iterable[FlowSchema], fallback: FlowSchema, user: str, groups: tuple[str, ...]) -> None:
        self._fallback = fallback
        self.groups = groups
        self.decisions: dict[Action, FlowSchema] = {}
        self._spoken_of = [
            (schema, rule)
            for schema in schemas
            for rule in schema.spec.rules
            if any(subject_matches(subject, user, groups) for subject in rule.subjects)
        ]

    def decide(self, digest: RequestDigest) -> FlowSchema:
        """The first schema with a rule that covers the action; catch-all when there is none."""
        covering = (schema for schema, rule in self._spoken_of if action_matches(rule, digest))
        return next(covering, self._fallback)


class Classifier:
    """Finds the schema of a request. Remembers a bounded number of users and, of each, of decisions."""

    def __init__(self, schemas: Iterable[FlowSchema]) -> None:
        self.schemas = tuple(in_order(schemas))
        self._fallback = next(schema for schema in self.schemas if schema.name == CATCH_ALL)
        self._users: dict[str, _Known] = {}

    def classify(self, digest: RequestDigest) -> FlowSchema:
        """The first schema that matches; catch-all for a user without the two standard groups whom none matches."""
        known = self._users.get(digest.user)
        if known is None or known.groups != digest.groups:
            known = self._meet(digest.user, digest.groups)
        if not digest.is_resource:
            return known.decide(digest)
        action = (digest.verb, digest.api_group, digest.resource, digest.subresource, digest.namespace)
        schema = known.decisions.get(action)
        if schema is None:
            if len(known.decisions) >= _CACHED_DECISIONS:
                known.decisions.clear()
            schema = known.decisions[action] = known.decide(digest)
        return schema

    def _meet(self, user: str, groups: tuple[str, ...]) -> _Known:
        if len(self._users) >= _CACHED_USERS:
            self._users.clear()
        known = self._users[user] = _Known(self.schemas, self._fallback, user, groups)
        return known
