"""What a component answers on its own paths: metrics, health, z-pages, verbosity. No sockets here.

/metrics  /metrics/slis  /metrics/<more>   /healthz /livez /readyz (?verbose ?exclude, /livez/<check>)
/statusz  /flagz  /debug/flags/v
The apiserver serves these pages through its filter chain, other components through endpoints.py.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qs

from kubeglass.logging.verbosity import FlagError, Verbosity, parse_component_level
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.health import ENDPOINTS
from kubeglass.telemetry.metrics.negotiation import accepts_gzip
from kubeglass.telemetry.metrics.registry import GatherError, Registry
from kubeglass.telemetry.slis import SliMetrics
from kubeglass.telemetry.zpages import About, Page, flagz, statusz

_PLAIN: Final = "text/plain; charset=utf-8"
_GZIP_LEVEL: Final = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. Header names are lower case; `query` is the raw query string."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """One response. A large body comes in blocks, so that its server can serve others in between."""

    status: int
    content_type: str
    blocks: Iterable[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)

    async def body(self) -> bytes:
        """The whole body, for servers that send it at once; others get a turn after each block."""
        parts = []
        for block in self.blocks:
            parts.append(block)
            await asyncio.sleep(0)
        return b"".join(parts)


class Pages:
    """The pages of one component.

    `registries` adds metric endpoints (`{"/metrics/resources": registry}`); on those in `resettable` DELETE resets.
    `others` answers, or not, what none of the pages does.
    Without `verbosity` there is no /debug/flags/v, as upstream has none without profiling.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        about: About,
        *,
        flags: Mapping[str, str] | None = None,
        verbosity: Verbosity | None = None,
        registries: Mapping[str, Registry] | None = None,
        resettable: Collection[str] = (),
        extra_paths: Iterable[str] = (),
        others: Callable[[Asked], Answer | None] = lambda asked: None,
    ) -> None:
        self._log = telemetry.log
        self._health = telemetry.health
        self._about = about
        self._flags = flags or {}
        self._verbosity = verbosity
        slis = telemetry.metrics.companion()
        self._slis = SliMetrics(slis, about.started.timestamp())
        self._registries = {"/metrics": telemetry.metrics, "/metrics/slis": slis, **(registries or {})}
        self._resettable = frozenset(resettable)
        self._extra_paths = tuple(extra_paths)
        self._others = others

    @property
    def paths(self) -> list[str]:
        """Every path that answers, without the single health checks."""
        health = [f"/{endpoint}" for endpoint in ENDPOINTS]
        return sorted({*self._registries, *health, "/statusz", "/flagz", "/debug/flags/v", *self._extra_paths})

    async def answer(self, asked: Asked) -> Answer | None:
        """The response, or None when the path is not one of ours."""
        registry = self._registries.get(asked.path)
        if registry is not None:
            return self._metrics(registry, asked)
        first, _, check = asked.path.removeprefix("/").partition("/")
        if first in ENDPOINTS:
            return await (self._one_check(first, check) if check else self._checks(first, asked))
        match asked.path:
            case "/statusz":
                return _zpage(statusz(self._about, self.paths, asked.headers.get("accept", ""), datetime.now(UTC)))
            case "/flagz":
                return _zpage(flagz(self._about.component, self._flags, asked.headers.get("accept", "")))
            case "/debug/flags/v" if self._verbosity is not None:
                return _set_verbosity(self._verbosity, asked)
        return self._others(asked)

    def _metrics(self, registry: Registry, asked: Asked) -> Answer:
        if asked.method == "DELETE" and asked.path in self._resettable:
            registry.reset()
            return _text(200, "metrics reset\n")
        if asked.method not in ("GET", "HEAD"):
            return _text(405, "Method Not Allowed\n")
        try:
            content_type, blocks = registry.exposition(asked.headers.get("accept", ""))
        except GatherError as error:
            text = f"An error has occurred while serving metrics:\n\n{error}\n"
            return _text(500, text)
        headers = {"Process-Start-Time-Unix": str(int(self._about.started.timestamp()))}
        if accepts_gzip(asked.headers.get("accept-encoding", "")):
            return Answer(200, content_type, _gzipped(blocks), {**headers, "Content-Encoding": "gzip"})
        return Answer(200, content_type, blocks, headers)

    async def _checks(self, endpoint: str, asked: Asked) -> Answer:
        query = parse_qs(asked.query, keep_blank_values=True)
        report = await self._health.run(endpoint, query.get("exclude", ()))
        self._slis.observe(report)
        if not report.ok:
            names = ",".join(result.name for result in report.failed)
            self._log.v(2).info(f"{names} check failed: {endpoint}\n{report.log_text()}")
        return _text(200 if report.ok else 500, report.text(verbose="verbose" in query))

    async def _one_check(self, endpoint: str, name: str) -> Answer:
        result = await self._health.run_one(endpoint, name)
        if result is None:
            return _text(404, "404 page not found\n")
        if result.error is not None:
            return _text(500, f"internal server error: {result.error}\n")
        return _text(200, "ok")


def _set_verbosity(verbosity: Verbosity, asked: Asked) -> Answer:
    if asked.method != "PUT":
        return _text(406, "unsupported http method")
    value = asked.body.decode(errors="replace")
    try:
        verbosity.set(parse_component_level(value))
    except FlagError as error:
        return _text(400, f"failed set klog.logging.verbosity {value}: {error}")
    return _text(200, f"successfully set klog.logging.verbosity to {value}")


def _gzipped(blocks: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    for block in blocks:
        yield packer.compress(block)
    yield packer.flush()


def _text(status: int, body: str) -> Answer:
    return Answer(status, _PLAIN, (body.encode(),), {"X-Content-Type-Options": "nosniff"})


def _zpage(page: Page) -> Answer:
    headers = {"Warning": page.warning} if page.warning else {}
    return Answer(page.status, page.content_type, (page.body.encode(),), headers)
