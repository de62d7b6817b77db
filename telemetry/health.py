"""Named checks behind /healthz, /livez and /readyz, and the texts upstream answers with.

A check is a callable that returns when all is well and raises when not; it may be async.
Texts follow k8s.io/apiserver/pkg/server/healthz: why a check fails is withheld from the body and kept for the log.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

Check = Callable[[], Awaitable[None] | None]

ENDPOINTS: Final = ("livez", "readyz", "healthz")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check's outcome; `error` is None when it passed."""

    name: str
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class HealthReport:
    """One run of an endpoint's checks, in the order they were added, excluded ones left out."""

    endpoint: str
    results: Sequence[CheckResult]
    excluded: Sequence[str] = ()
    unknown_excludes: Sequence[str] = ()
    order: Sequence[str] = ()

    @property
    def failed(self) -> list[CheckResult]:
        return [result for result in self.results if result.error is not None]

    @property
    def ok(self) -> bool:
        return not self.failed

    def text(self, *, verbose: bool = False) -> str:
        """The response body. A failure is always verbose."""
        if not self.ok:
            return f"{self._lines()}{self.endpoint} check failed\n"
        return f"{self._lines()}{self.endpoint} check passed\n" if verbose else "ok"

    def log_text(self) -> str:
        """Why each failed check failed: for the log only."""
        return "".join(f"[-]{result.name} failed: {result.error}\n" for result in self.failed)

    def _lines(self) -> str:
        outcome = {result.name: result for result in self.results}
        lines = [_line(name, outcome.get(name)) for name in self.order]
        if self.unknown_excludes:
            names = ", ".join(f'"{name}"' for name in self.unknown_excludes)
            lines.append(f"warn: some health checks cannot be excluded: no matches for {names}\n")
        return "".join(lines)


def _line(name: str, result: CheckResult | None) -> str:
    if result is None:
        return f"[+]{name} excluded: ok\n"
    return f"[+]{name} ok\n" if result.error is None else f"[-]{name} failed: reason withheld\n"


class Health:
    """The checks of one component. `ping` is always there."""

    def __init__(self) -> None:
        self._checks: dict[str, dict[str, Check]] = {endpoint: {} for endpoint in ENDPOINTS}
        self.add("ping", lambda: None)

    def add(self, name: str, check: Check, endpoints: Collection[str] = ENDPOINTS) -> None:
        """Add a check to some endpoints. A name may be added once per endpoint."""
        for endpoint in endpoints:
            if name in self._checks[endpoint]:
                raise ValueError(f"duplicate health check {name!r} on {endpoint}")
            self._checks[endpoint][name] = check

    def names(self, endpoint: str) -> list[str]:
        """The names of an endpoint's checks, in the order they were added."""
        return list(self._checks[endpoint])

    async def run(self, endpoint: str, exclude: Iterable[str] = ()) -> HealthReport:
        """Run every check of `endpoint` that is not excluded, one after the other."""
        checks = dict(self._checks[endpoint])
        excluded = set(exclude)
        results = [await _run(name, check) for name, check in checks.items() if name not in excluded]
        return HealthReport(
            endpoint=endpoint,
            results=results,
            excluded=sorted(excluded & checks.keys()),
            unknown_excludes=sorted(excluded - checks.keys()),
            order=list(checks),
        )

    async def run_one(self, endpoint: str, name: str) -> CheckResult | None:
        """Run a single check; None when the endpoint has no check of that name."""
        check = self._checks[endpoint].get(name)
        return None if check is None else await _run(name, check)


async def _run(name: str, check: Check) -> CheckResult:
    try:
        pending = check()
        if inspect.isawaitable(pending):
            await pending
    except Exception as error:  # whatever a check raises is its answer
        return CheckResult(name, error)
    return CheckResult(name)
