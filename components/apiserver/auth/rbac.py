"""Role-based access control over the watch-cached roles and bindings.

What a user may do is the union of the rules of all roles bound to it. Rules are read once per object version,
bindings are indexed by subject, and what was allowed is remembered until one of them changes; all follow the caches.
Matching as k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kubeglass.components.api.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING, Kind
from kubeglass.components.api.user import SERVICE_ACCOUNT_PREFIX, UserInfo
from kubeglass.components.apiserver.auth.authorizers import ALLOWED, Attributes, Verdict
from kubeglass.components.apiserver.storage.records import Record

_ALL = "*"
_REMEMBERED = 4096


class Objects(Protocol):
    """The cached objects of one kind."""

    revision: int

    def get(self, key: str) -> Record | None: ...

    def records(self) -> Iterator[Record]: ...


@dataclass(frozen=True, slots=True)
class Rule:
    """One PolicyRule."""

    verbs: frozenset[str]
    groups: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    urls: tuple[str, ...] = ()

    @classmethod
    def of(cls, rule: Mapping[str, Any]) -> Rule:
        def words(field: str) -> frozenset[str]:
            return frozenset(rule.get(field) or ())

        return cls(
            words("verbs"),
            words("apiGroups"),
            words("resources"),
            words("resourceNames"),
            tuple(rule.get("nonResourceURLs") or ()),
        )

    def allows(self, wanted: Attributes) -> bool:
        if not (wanted.verb in self.verbs or _ALL in self.verbs):
            return False
        return self._allows_resource(wanted) if wanted.is_resource else self._allows_url(wanted.path)

    def as_dict(self) -> dict[str, list[str]]:
        """The rule as an object again, empty lists left out."""
        fields = {
            "verbs": sorted(self.verbs),
            "apiGroups": sorted(self.groups),
            "resources": sorted(self.resources),
            "resourceNames": sorted(self.names),
            "nonResourceURLs": list(self.urls),
        }
        return {name: values for name, values in fields.items() if values}

    def _allows_resource(self, wanted: Attributes) -> bool:
        if not (wanted.group in self.groups or _ALL in self.groups):
            return False
        resource = f"{wanted.resource}/{wanted.subresource}" if wanted.subresource else wanted.resource
        if not (
            _ALL in self.resources
            or resource in self.resources
            or (wanted.subresource and f"*/{wanted.subresource}" in self.resources)
        ):
            return False
        return not self.names or wanted.name in self.names

    def _allows_url(self, path: str) -> bool:
        return any(
            url in (_ALL, path) or (url.endswith(_ALL) and path.startswith(url.rstrip(_ALL))) for url in self.urls
        )


@dataclass(frozen=True, slots=True)
class _Grant:
    """A binding as seen from one of its subjects: the rules of `role` count in `namespace` ("" = everywhere)."""

    namespace: str
    role_kind: Kind
    role_key: str
    missing: str
    """What is said when the role does not exist."""


class Rbac:
    """Decides by roles and bindings."""

    name = "RBAC"

    def __init__(
        self, roles: Objects, role_bindings: Objects, cluster_roles: Objects, cluster_role_bindings: Objects
    ) -> None:
        self._roles = {ROLE: roles, CLUSTER_ROLE: cluster_roles}
        self._bindings = {ROLE_BINDING: role_bindings, CLUSTER_ROLE_BINDING: cluster_role_bindings}
        self._indexed_at = (-1, -1)
        self._grants: dict[tuple[str, str], list[_Grant]] = {}
        self._rules: dict[str, tuple[int, Sequence[Rule]]] = {}
        self._allowed: set[tuple[Hashable, ...]] = set()
        self._allowed_at: tuple[int, ...] = ()

    def authorize(self, wanted: Attributes) -> Verdict:
        known, question = self._known(), _question(wanted)
        if question in known:
            return ALLOWED
        problems: list[str] = []
        for grant in self._granted(wanted.user, wanted.namespace):
            rules = self._rules_of(grant)
            if rules is None:
                problems.append(grant.missing)
                continue
            rule = next((rule for rule in rules if rule.allows(wanted)), None)
            if rule is not None:
                if not rule.names:
                    known.add(question)
                return ALLOWED
        return Verdict(reason="RBAC: " + _listed(problems) if problems else "")

    def _known(self) -> set[tuple[Hashable, ...]]:
        """The questions that were answered with yes since the last change of any role or binding."""
        revisions = tuple(objects.revision for objects in (*self._roles.values(), *self._bindings.values()))
        if revisions != self._allowed_at or len(self._allowed) >= _REMEMBERED:
            self._allowed, self._allowed_at = set(), revisions
        return self._allowed

    def rules_for(self, user: UserInfo, namespace: str) -> tuple[list[Rule], list[str]]:
        """Everything the user may do in a namespace, and which roles could not be found."""
        rules: list[Rule] = []
        problems: list[str] = []
        for grant in self._granted(user, namespace):
            found = self._rules_of(grant)
            if found is None:
                problems.append(grant.missing)
            else:
                rules += found
        return rules, problems

    def _granted(self, user: UserInfo, namespace: str) -> Iterator[_Grant]:
        """Cluster-wide grants first, then those of the namespace."""
        self._index()
        subjects = [("User", user.name), *(("Group", group) for group in user.groups)]
        if user.name.startswith(SERVICE_ACCOUNT_PREFIX):
            subjects.append(("ServiceAccount", user.name.removeprefix(SERVICE_ACCOUNT_PREFIX)))
        grants = [grant for subject in subjects for grant in self._grants.get(subject, ())]
        yield from (grant for grant in grants if not grant.namespace)
        if namespace:
            yield from (grant for grant in grants if grant.namespace == namespace)

    def _index(self) -> None:
        revisions = (self._bindings[ROLE_BINDING].revision, self._bindings[CLUSTER_ROLE_BINDING].revision)
        if revisions == self._indexed_at:
            return
        self._grants = {}
        for kind, bindings in self._bindings.items():
            for record in bindings.records():
                self._index_binding(kind, record)
        self._indexed_at = revisions

    def _index_binding(self, kind: Kind, record: Record) -> None:
        binding = record.decode()
        ref = binding.get("roleRef") or {}
        role_kind = CLUSTER_ROLE if ref.get("kind") == CLUSTER_ROLE.kind else ROLE
        name = ref.get("name", "")
        missing = f'{role_kind.singular}.{role_kind.group} "{name}" not found'
        key = role_kind.storage_key(record.namespace, name)
        grant = _Grant(record.namespace, role_kind, key, missing)
        for subject in binding.get("subjects") or ():
            who = subject.get("name", "")
            if subject.get("kind") == "ServiceAccount":
                who = f"{subject.get('namespace') or record.namespace}:{who}"
            self._grants.setdefault((subject.get("kind", ""), who), []).append(grant)

    def _rules_of(self, grant: _Grant) -> Sequence[Rule] | None:
        record = self._roles[grant.role_kind].get(grant.role_key)
        if record is None:
            return None
        known = self._rules.get(grant.role_key)
        if known is None or known[0] != record.revision:
            rules = tuple(Rule.of(rule) for rule in record.decode().get("rules") or ())
            known = self._rules[grant.role_key] = (record.revision, rules)
        return known[1]


def _question(wanted: Attributes) -> tuple[Hashable, ...]:
    """What is asked, without the name: the answer of a rule that lists no names holds for all of them."""
    user = wanted.user
    if not wanted.is_resource:
        return user.name, user.groups, wanted.verb, wanted.path
    return (
        user.name, user.groups, wanted.verb, wanted.group, wanted.resource, wanted.subresource, wanted.namespace
    )  # fmt: skip


def _listed(problems: list[str]) -> str:
    unique = list(dict.fromkeys(problems))
    return unique[0] if len(unique) == 1 else "[" + ", ".join(unique) + "]"
