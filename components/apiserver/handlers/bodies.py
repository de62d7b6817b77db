"""Request bodies as objects: JSON and YAML by registry/receiving.py, and the protobuf of typed Go clients.

kubectl sends protobuf for `create configmap`, `create token`, `auth can-i`, `drain` and their like, and does not fall
back, so those bodies are read; answers are always JSON, which such clients accept.
"""

from __future__ import annotations

from typing import Any

from kubeglass.components.api.errors import BadRequest
from kubeglass.components.apiserver import negotiation
from kubeglass.components.apiserver.protobuf.decoding import BadMessage, decode
from kubeglass.components.apiserver.registry import receiving
from kubeglass.components.apiserver.registry.context import WriteContext
from kubeglass.components.apiserver.wire import Request

Object = dict[str, Any]


async def received(request: Request, kind_name: str, context: WriteContext) -> Object:
    """The object in the body. Raises BadRequest, UnsupportedMediaType, RequestEntityTooLarge."""
    return parsed(await request.body(), request.headers.get("Content-Type", ""), kind_name, context)


def parsed(body: bytes, content_type: str, kind_name: str, context: WriteContext) -> Object:
    """The object in bytes of a content type. Raises BadRequest, UnsupportedMediaType."""
    if content_type.partition(";")[0].strip() != negotiation.PROTOBUF:
        return receiving.parse_body(body, content_type, kind_name, context)
    try:
        return decode(body)
    except (BadMessage, UnicodeDecodeError) as error:
        raise BadRequest(f"couldn't get version/kind; protobuf parse error: {error}") from error
