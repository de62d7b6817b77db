"""May the caller do this: the masters' bypass, the Node authorizer, RBAC; the first that allows decides.

Texts as k8s.io/apiserver/pkg/endpoints/handlers/responsewriters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kubeglass.components.api import errors
from kubeglass.components.api.errors import Forbidden
from kubeglass.components.api.user import MASTERS, UserInfo
from kubeglass.components.apiserver.auth.metrics import AuthorizationMetrics
from kubeglass.components.apiserver.requestinfo import RequestInfo
from kubeglass.logging.goquote import quote


@dataclass(frozen=True, slots=True)
class Attributes:
    """What someone wants to do."""

    user: UserInfo
    verb: str
    path: str = ""
    is_resource: bool = True
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""

    @classmethod
    def of(cls, user: UserInfo, info: RequestInfo) -> Attributes:
        return cls(
            user, info.verb, info.path, info.is_resource, info.group, info.version, info.resource, info.subresource,
            info.namespace, info.name, info.field_selector,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """`allowed` False is no opinion unless `denied`, which ends the search."""

    allowed: bool = False
    denied: bool = False
    reason: str = ""


ALLOWED = Verdict(allowed=True)
NO_OPINION = Verdict()


class Authorizer(Protocol):
    """One source of permission."""

    name: str

    def authorize(self, wanted: Attributes) -> Verdict: ...


class PrivilegedGroups:
    """system:masters may do everything."""

    name = "AlwaysAllow"

    def authorize(self, wanted: Attributes) -> Verdict:
        return ALLOWED if MASTERS in wanted.user.groups else NO_OPINION


class AlwaysAllow:
    """Everyone may do everything (--authorization-mode=AlwaysAllow)."""

    name = "AlwaysAllow"

    def authorize(self, wanted: Attributes) -> Verdict:
        return ALLOWED


class Authorization:
    """All authorizers in order."""

    def __init__(
        self, authorizers: Sequence[Authorizer], metrics: AuthorizationMetrics, clock: Callable[[], float]
    ) -> None:
        self._authorizers = authorizers
        self._metrics = metrics
        self._clock = clock

    def authorize(self, wanted: Attributes) -> Verdict:
        """The first decision; without one, no opinion with everyone's reasons."""
        started = self._clock()
        verdict = self._decide(wanted)
        result = "allowed" if verdict.allowed else "denied" if verdict.denied else "no-opinion"
        self._metrics.authorization_attempts_total.labels(result).inc()
        self._metrics.authorization_duration_seconds.labels(result).observe(self._clock() - started)
        return verdict

    def _decide(self, wanted: Attributes) -> Verdict:
        reasons: list[str] = []
        for authorizer in self._authorizers:
            verdict = authorizer.authorize(wanted)
            if verdict.allowed or verdict.denied:
                if isinstance(authorizer, PrivilegedGroups):
                    return verdict
                decision = "allowed" if verdict.allowed else "denied"
                self._metrics.authorization_decisions_total.labels(authorizer.name, authorizer.name, decision).inc()
                return verdict
            if verdict.reason:
                reasons.append(verdict.reason)
        return Verdict(reason="\n".join(reasons))


def forbidden(wanted: Attributes, reason: str = "") -> Forbidden:
    """The 403 that upstream would send."""
    what = _sentence(wanted)
    message = f"{what}: {reason}" if reason else what
    if not wanted.is_resource:
        return Forbidden(f"forbidden: {message}")
    return errors.forbidden(wanted.resource, wanted.group, wanted.name, message)


def _sentence(wanted: Attributes) -> str:
    user = quote(wanted.user.name)
    if not wanted.is_resource:
        return f"User {user} cannot {wanted.verb} path {quote(wanted.path)}"
    resource = f"{wanted.resource}/{wanted.subresource}" if wanted.subresource else wanted.resource
    where = f'in the namespace "{wanted.namespace}"' if wanted.namespace else "at the cluster scope"
    return f'User {user} cannot {wanted.verb} resource "{resource}" in API group "{wanted.group}" {where}'
