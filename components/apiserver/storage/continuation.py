"""Continue tokens: where the next page of a LIST begins, and which revision the whole list is true for. Pure.

Format and texts as k8s.io/apiserver/pkg/storage/continue.go: unpadded URL-safe base64 of a small JSON object.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import msgspec

from kubeglass.components.api.errors import BadRequest

_VERSION = "meta.k8s.io/v1"
INCONSISTENT = -1
"""The revision of a token that goes on with whatever is there now."""


class _Token(msgspec.Struct):
    v: str = ""
    rv: int = 0
    start: str = ""


@dataclass(frozen=True, slots=True)
class Continuation:
    """A decoded token: list on from `start` (a full key), true for `revision`."""

    start: str
    revision: int


def encode(last_key: str, prefix: str, revision: int) -> str:
    """The token for the page behind `last_key`."""
    token = _Token(_VERSION, revision, last_key.removeprefix(prefix) + "\0")
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).rstrip(b"=").decode()


def decode(token: str, prefix: str) -> Continuation:
    """Raises BadRequest with upstream's text."""
    try:
        content = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        found = msgspec.json.decode(content, type=_Token)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise _bad(f"continue key is not valid: {error}") from error
    if found.v != _VERSION:
        raise _bad(f'continue key is not valid: server does not recognize this encoded version "{found.v}"')
    if found.rv == 0:
        raise _bad(f"continue key is not valid: incorrect encoded start resourceVersion (version {_VERSION})")
    if not found.start:
        raise _bad(f"continue key is not valid: encoded start key empty (version {_VERSION})")
    if "/../" in f"/{found.start}/":
        raise _bad(f"continue key is not valid: {found.start}")
    return Continuation(prefix + found.start, found.rv)


def _bad(why: str) -> BadRequest:
    return BadRequest(f"invalid continue token: {why}")
