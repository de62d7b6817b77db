"""Who may read a component's endpoints: decided by the API server, as upstream's delegated authentication does.

A client certificate names its user at once; a bearer token is asked for by TokenReview; the permission by
SubjectAccessReview. Answers are kept for a while. /healthz, /livez and /readyz are open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api.errors import ApiError
from kubeglass.components.api.kinds import SUBJECT_ACCESS_REVIEW, TOKEN_REVIEW
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.transport import Unreachable
from kubeglass.telemetry.endpoints import Decision

ALWAYS_ALLOWED = ("/healthz", "/livez", "/readyz")
_KEPT_LIMIT = 1024
ANONYMOUS = ("system:anonymous", ("system:unauthenticated",))


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks."""

    name: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Keeping:
    """For how many seconds answers are kept: who a token is, that something is allowed, that it is not."""

    token: float
    allowed: float
    denied: float


SERVERS = Keeping(10.0, 10.0, 10.0)
"""--authentication-token-webhook-cache-ttl and --authorization-webhook-cache-{,un}authorized-ttl of every server."""
KUBELETS = Keeping(120.0, 300.0, 30.0)
"""The same of a kubelet's configuration: it can be scraped for a while when the API server is gone."""


class DelegatedAuthorizer:
    """Callable that answers 200, 401 or 403 for a request to a component's endpoint."""

    def __init__(self, client: Client, resource: Mapping[str, str] | None = None) -> None:
        """With `resource` (the kubelet's nodes/metrics and so on) that is asked for instead of the path, and answers
        are kept as a kubelet keeps them.
        """
        self._client = client
        self._resource = resource
        self._keeping = SERVERS if resource is None else KUBELETS
        self._kept: dict[tuple[object, ...], tuple[float, Any]] = {}  # until when, and the answer

    async def __call__(self, headers: Mapping[str, str], peer_der: bytes | None, method: str, path: str) -> Decision:
        if path.startswith(ALWAYS_ALLOWED) and self._resource is None:
            return Decision(200)
        try:
            requester = await self._requester(headers, peer_der)
            if requester is None:
                return Decision(401, "Unauthorized")
            if await self._allowed(requester, method.lower(), path):
                return Decision(200, user=requester.name)
        except (ApiError, Unreachable) as error:
            return Decision(500, f"Internal Server Error: {error}")
        return Decision(403, user=requester.name)

    async def requester(self, headers: Mapping[str, str], peer_der: bytes | None) -> Requester | None:
        """Who asks; None when a token was given that nobody knows."""
        return await self._requester(headers, peer_der)

    async def _requester(self, headers: Mapping[str, str], peer_der: bytes | None) -> Requester | None:
        if peer_der is not None:
            return requester_of_certificate(peer_der)
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return Requester(*ANONYMOUS)
        key = ("token", token)
        kept: Requester | None = self._recall(key)
        if kept is not None:
            return kept
        review = await self._client.create(
            TOKEN_REVIEW,
            {"apiVersion": TOKEN_REVIEW.api_version, "kind": TOKEN_REVIEW.kind, "spec": {"token": token}},
        )
        status = review.get("status") or {}
        if not status.get("authenticated"):
            return None
        user = status.get("user") or {}
        requester = Requester(user.get("username", ""), tuple(user.get("groups") or ()))
        self._keep(key, requester, self._keeping.token)
        return requester

    async def _allowed(self, requester: Requester, verb: str, path: str) -> bool:
        key = (requester, verb, path)
        kept: bool | None = self._recall(key)
        if kept is not None:
            return kept
        spec: dict[str, Any] = {"user": requester.name, "groups": list(requester.groups)}
        if self._resource is not None:
            spec["resourceAttributes"] = {**self._resource, "verb": verb}
        else:
            spec["nonResourceAttributes"] = {"path": path, "verb": verb}
        review = await self._client.create(
            SUBJECT_ACCESS_REVIEW,
            {"apiVersion": SUBJECT_ACCESS_REVIEW.api_version, "kind": SUBJECT_ACCESS_REVIEW.kind, "spec": spec},
        )
        allowed = bool((review.get("status") or {}).get("allowed"))
        self._keep(key, allowed, self._keeping.allowed if allowed else self._keeping.denied)
        return allowed

    def _recall(self, key: tuple[object, ...]) -> Any:
        until, answer = self._kept.get(key, (0.0, None))
        return answer if asyncio.get_running_loop().time() < until else None

    def _keep(self, key: tuple[object, ...], answer: Requester | bool, seconds: float) -> None:
        if len(self._kept) >= _KEPT_LIMIT:
            self._kept.clear()
        self._kept[key] = (asyncio.get_running_loop().time() + seconds, answer)


def requester_of_certificate(der: bytes) -> Requester:
    """The user (CN) and groups (O) of a verified client certificate."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    subject = x509.load_der_x509_certificate(der).subject
    names = [str(attribute.value) for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = [str(attribute.value) for attribute in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    return Requester(names[0] if names else "", (*groups, "system:authenticated"))
