"""Who asks: the authenticated identity of a request (authentication.k8s.io UserInfo)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ANONYMOUS = "system:anonymous"
ALL_AUTHENTICATED = "system:authenticated"
ALL_UNAUTHENTICATED = "system:unauthenticated"
MASTERS = "system:masters"
NODES = "system:nodes"
MONITORING = "system:monitoring"
SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"
SERVICE_ACCOUNTS_GROUP = "system:serviceaccounts"


@dataclass(frozen=True, slots=True)
class UserInfo:
    """A user as every later stage sees it. `extra` maps lowercase keys to values."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The UserInfo of TokenReview, SelfSubjectReview and AdmissionReview."""
        body: dict[str, Any] = {"username": self.name}
        if self.uid:
            body["uid"] = self.uid
        if self.groups:
            body["groups"] = list(self.groups)
        if self.extra:
            body["extra"] = {key: list(values) for key, values in self.extra.items()}
        return body


def service_account_user(namespace: str, name: str, uid: str = "") -> UserInfo:
    """The user a service account acts as."""
    return UserInfo(
        name=f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}",
        uid=uid,
        groups=(SERVICE_ACCOUNTS_GROUP, f"{SERVICE_ACCOUNTS_GROUP}:{namespace}", ALL_AUTHENTICATED),
    )


def service_account_of(user: UserInfo) -> tuple[str, str] | None:
    """(namespace, name) if the user is a service account."""
    if not user.name.startswith(SERVICE_ACCOUNT_PREFIX):
        return None
    namespace, separator, name = user.name.removeprefix(SERVICE_ACCOUNT_PREFIX).partition(":")
    return (namespace, name) if separator and namespace and name else None
