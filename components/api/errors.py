"""The one error tree of the Kubernetes API, raised by the server and by the client alike.

    ApiError                         any Status with status=Failure
    ├── BadRequest           400     ├── Conflict              409 Conflict
    ├── Unauthorized         401     │   └── AlreadyExists     409 AlreadyExists
    ├── Forbidden            403     ├── Gone                  410 Gone
    ├── NotFound             404     │   └── Expired           410 Expired
    ├── MethodNotAllowed     405     ├── RequestEntityTooLarge 413
    ├── NotAcceptable        406     ├── UnsupportedMediaType  415
    ├── Timeout              504     ├── Invalid               422
    ├── ServiceUnavailable   503     ├── TooManyRequests       429 (retry_after_seconds)
    └── InternalError        500     └── (any other code: ApiError itself)

A server filter renders it with `status_body`; the client rebuilds it with `from_status`.
Texts follow k8s.io/apimachinery/pkg/api/errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Cause:
    """One entry of Status.details.causes: why one field was refused."""

    reason: str  # FieldValueInvalid, FieldValueRequired, FieldValueNotSupported, ...
    message: str
    field: str = ""


class ApiError(Exception):
    """A failure Status. `message` is upstream's text; `code` the HTTP status; `reason` the machine word."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = ""
    always_detailed: ClassVar[bool] = False
    """Whether the Status has `details` even when there is nothing to say in them."""

    def __init__(
        self,
        message: str,
        *,
        name: str = "",
        group: str = "",
        kind: str = "",
        uid: str = "",
        causes: Sequence[Cause] = (),
        retry_after_seconds: int = 0,
        code: int | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.name = name
        self.group = group
        self.kind = kind  # in Status.details this is the *resource* (plural) for most errors
        self.uid = uid
        self.causes = tuple(causes)
        self.retry_after_seconds = retry_after_seconds
        self.status_code = code if code is not None else type(self).code
        self.status_reason = reason if reason is not None else type(self).reason

    def status(self) -> dict[str, Any]:
        """The metav1.Status object, ready for JSON."""
        details: dict[str, Any] = {}
        if self.name:
            details["name"] = self.name
        if self.group:
            details["group"] = self.group
        if self.kind:
            details["kind"] = self.kind
        if self.uid:
            details["uid"] = self.uid
        if self.causes:
            details["causes"] = [
                {
                    key: value
                    for key, value in (("reason", c.reason), ("message", c.message), ("field", c.field))
                    if value
                }
                for c in self.causes
            ]
        if self.retry_after_seconds:
            details["retryAfterSeconds"] = self.retry_after_seconds
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.status_reason:
            body["reason"] = self.status_reason
        if details or self.always_detailed:
            body["details"] = details
        body["code"] = self.status_code
        return body


class BadRequest(ApiError):
    code = 400
    reason = "BadRequest"


class Unauthorized(ApiError):
    code = 401
    reason = "Unauthorized"


class Forbidden(ApiError):
    code = 403
    reason = "Forbidden"
    always_detailed = True


class NotFound(ApiError):
    code = 404
    reason = "NotFound"
    always_detailed = True


class MethodNotAllowed(ApiError):
    code = 405
    reason = "MethodNotAllowed"


class NotAcceptable(ApiError):
    code = 406
    reason = "NotAcceptable"


class Conflict(ApiError):
    code = 409
    reason = "Conflict"


class AlreadyExists(Conflict):
    reason = "AlreadyExists"


class Gone(ApiError):
    code = 410
    reason = "Gone"


class Expired(Gone):
    reason = "Expired"


class RequestEntityTooLarge(ApiError):
    code = 413
    reason = "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    code = 415
    reason = "UnsupportedMediaType"


class Invalid(ApiError):
    code = 422
    reason = "Invalid"


class TooManyRequests(ApiError):
    code = 429
    reason = "TooManyRequests"


class InternalError(ApiError):
    code = 500
    reason = "InternalError"


class ServiceUnavailable(ApiError):
    code = 503
    reason = "ServiceUnavailable"


class Timeout(ApiError):
    code = 504
    reason = "Timeout"
    always_detailed = True


_BY_REASON: Mapping[str, type[ApiError]] = {
    cls.reason: cls
    for cls in (
        BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, Conflict, AlreadyExists, Gone,
        Expired, RequestEntityTooLarge, UnsupportedMediaType, Invalid, TooManyRequests, InternalError,
        ServiceUnavailable, Timeout,
    )
}  # fmt: skip
_BY_CODE: Mapping[int, type[ApiError]] = {
    cls.code: cls for cls in _BY_REASON.values() if cls not in (AlreadyExists, Expired)
}


def from_status(status: Mapping[str, Any], code: int) -> ApiError:
    """Rebuild the error a server sent. `code` is the HTTP status, used where the Status lacks one."""
    details = status.get("details") or {}
    reason = status.get("reason") or ""
    cls = _BY_REASON.get(reason) or _BY_CODE.get(code) or ApiError
    return cls(
        status.get("message") or f"the server responded with status {code}",
        name=details.get("name", ""),
        group=details.get("group", ""),
        kind=details.get("kind", ""),
        uid=details.get("uid", ""),
        causes=[
            Cause(c.get("reason", ""), c.get("message", ""), c.get("field", "")) for c in details.get("causes") or ()
        ],
        retry_after_seconds=details.get("retryAfterSeconds", 0),
        code=status.get("code") or code,
        reason=reason or None,
    )


def _qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, group: str, name: str) -> NotFound:
    """`pods "x" not found`."""
    return NotFound(f'{_qualified(plural, group)} "{name}" not found', name=name, group=group, kind=plural)


def already_exists(plural: str, group: str, name: str) -> AlreadyExists:
    """`pods "x" already exists`."""
    return AlreadyExists(f'{_qualified(plural, group)} "{name}" already exists', name=name, group=group, kind=plural)


def conflict(plural: str, group: str, name: str, why: str) -> Conflict:
    """`Operation cannot be fulfilled on pods "x": <why>`."""
    return Conflict(
        f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {why}',
        name=name,
        group=group,
        kind=plural,
    )


def invalid(kind: str, group: str, name: str, causes: Sequence[Cause]) -> Invalid:
    """`Pod "x" is invalid: <field>: <message>`; several causes are bracketed as upstream does."""
    texts = [f"{c.field}: {c.message}" if c.field else c.message for c in causes]
    unique = list(dict.fromkeys(texts))
    joined = unique[0] if len(unique) == 1 else "[" + ", ".join(unique) + "]"
    head = f"{kind}.{group}" if group else kind
    return Invalid(f'{head} "{name}" is invalid: {joined}', name=name, group=group, kind=kind, causes=causes)


def forbidden(plural: str, group: str, name: str, why: str) -> Forbidden:
    """`pods "x" is forbidden: <why>`."""
    head = _qualified(plural, group)
    text = f'{head} "{name}" is forbidden: {why}' if name else f"{head} is forbidden: {why}"
    return Forbidden(text, name=name, group=group, kind=plural)
