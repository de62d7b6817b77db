"""Callers choose paths, verbs, agents and names; they must not choose how many series there are."""

from __future__ import annotations

import random
import re
import string
from collections import Counter
from contextlib import suppress

from kubeglass.components.api.errors import ApiError
from kubeglass.components.apiserver.testing import running
from kubeglass.telemetry.metrics.registry import Registry

REQUESTS = 10_000
VERBS = {"GET", "LIST", "WATCH", "POST", "PUT", "PATCH", "APPLY", "DELETE", "CONNECT", "other"}
SCOPES = {"resource", "namespace", "cluster", ""}


def _word(source: random.Random) -> str:
    return "".join(source.choices(string.ascii_lowercase + string.digits, k=source.randint(1, 12)))


def _path(source: random.Random) -> str:
    """Some plausible and some absurd URL, mostly of things that do not exist."""
    word, other = _word(source), _word(source)
    return source.choice(
        [
            f"/{word}/{other}",
            f"/api/v1/namespaces/{word}/pods/{other}",
            f"/api/v1/namespaces/{word}/pods/{other}/{_word(source)}",
            f"/api/v1/namespaces/{word}/{other}",
            f"/api/{word}/{other}",
            f"/apis/{word}.io/v1/namespaces/default/{other}",
            f"/apis/apps/{word}/deployments/{other}",
            f"/apis/apps/v1/namespaces/{word}/deployments?fieldManager={other}&dryRun={word}",
            f"/api/v1/nodes/{word}/proxy/{other}",
            f"/livez/{word}",
            f"/openapi/v3/apis/{word}/{other}",
            f"/debug/{word}",
            f"/metrics/{word}?x={other}",
            f"/api/v1/configmaps?labelSelector={word}%3D{other}",
        ]
    )


def _series(registry: Registry) -> list[str]:
    """The server's series; those of the client that asks are the test's own doing."""
    lines = registry.expose()[1].decode().splitlines()
    return [line for line in lines if not line.startswith(("#", "rest_client_"))]


async def test_ten_thousand_random_requests_stay_few_series() -> None:
    """The second half of the walk adds next to nothing, and label values stay in their vocabulary."""
    source = random.Random(20)
    async with running() as server:
        client = server.client()
        counts = []
        for number in range(REQUESTS):
            method = source.choice(["GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", _word(source).upper()])
            agent = {"User-Agent": _word(source)}
            with suppress(ApiError):
                await client.raw(method, _path(source), b"{}" if method in ("POST", "PUT") else None, agent)
            if number in (REQUESTS // 2, REQUESTS - 1):
                counts.append(len(_series(server.telemetry.metrics)))
        lines = _series(server.telemetry.metrics)
    assert counts[1] <= counts[0] * 1.1, Counter(line.partition("{")[0] for line in lines).most_common(5)
    requests = [line for line in lines if line.startswith("apiserver_request_total{")]
    values = {name: set(re.findall(rf'\b{name}="([^"]*)"', "\n".join(requests))) for name in ("verb", "scope")}
    assert values["verb"] <= VERBS
    assert values["scope"] <= SCOPES
    assert len(requests) < 300
