"""Paths outside the resources that show the server itself: health, metrics, z-pages, dumps, keys of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kubeglass.components.apiserver.auth.serviceaccounts import ServiceAccountTokens
from kubeglass.components.apiserver.dispatch import Path
from kubeglass.components.apiserver.wire import Request, Response, json_response, text_response
from kubeglass.telemetry.pages import Asked, Pages

_MAX_BODY_BYTES = 64 * 1024
JWKS_PATH = "/openid/v1/jwks"
OPENID_PATH = "/.well-known/openid-configuration"


def pages_paths(pages: Pages) -> Sequence[Path]:
    """The pages every component has, here behind the chain like everything else."""

    async def answer(request: Request) -> Response:
        asked = Asked(
            method=request.method,
            path=request.path,
            query=request.query_string,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=await request.body(_MAX_BODY_BYTES) if request.method in ("PUT", "POST") else b"",
        )
        found = await pages.answer(asked)
        if found is None:
            return text_response("404 page not found\n", 404)
        return Response(found.status, await found.body(), found.content_type, dict(found.headers))

    checks = [Path(f"/{endpoint}/", answer, prefix=True) for endpoint in ("healthz", "livez", "readyz")]
    return [*(Path(path, answer) for path in pages.paths), *checks]


def openid_paths(tokens: ServiceAccountTokens, server: Callable[[], str]) -> Sequence[Path]:
    """How others may verify service account tokens: the discovery document and the keys."""

    async def configuration(request: Request) -> Response:
        document: dict[str, Any] = {
            "issuer": tokens.issuers[0],
            "jwks_uri": f"{server()}{JWKS_PATH}",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({key.algorithm for key in tokens.keys}),
        }
        return json_response(document)

    async def keys(request: Request) -> Response:
        response = json_response({"keys": [key.jwk() for key in tokens.keys]})
        response.content_type = "application/jwk-set+json"
        return response

    return [Path(OPENID_PATH, configuration), Path(JWKS_PATH, keys)]


def index_path(paths: Callable[[], Sequence[str]]) -> Path:
    """/ lists what there is."""

    async def index(request: Request) -> Response:
        return json_response({"paths": list(paths())})

    return Path("/", index)
