"""Read-only views: token reviews and requests (authentication.k8s.io/v1)."""

from __future__ import annotations

from kubeglass.components.api.objects.meta import Resource
from kubeglass.components.api.objects.struct import Object


class TokenReviewSpec(Object):
    audiences: tuple[str, ...] = ()
    token: str = ""


class UserInfo(Object):
    extra: dict[str, tuple[str, ...]] = {}
    groups: tuple[str, ...] = ()
    uid: str = ""
    username: str = ""


class TokenReviewStatus(Object):
    audiences: tuple[str, ...] = ()
    authenticated: bool = False
    error: str = ""
    user: UserInfo | None = None


class TokenReview(Resource):
    spec: TokenReviewSpec = TokenReviewSpec()
    status: TokenReviewStatus = TokenReviewStatus()


class BoundObjectReference(Object):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""


class TokenRequestSpec(Object):
    audiences: tuple[str, ...] = ()
    bound_object_ref: BoundObjectReference | None = None
    expiration_seconds: int | None = None


class TokenRequestStatus(Object):
    expiration_timestamp: str = ""
    token: str = ""


class TokenRequest(Resource):
    spec: TokenRequestSpec = TokenRequestSpec()
    status: TokenRequestStatus = TokenRequestStatus()
