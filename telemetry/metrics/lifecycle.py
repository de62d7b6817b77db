"""What becomes of a metric row in a given release: shown, deprecated, hidden, disabled or absent. Pure.

Let d be the minor that deprecated the row and c the running minor (same major). Since 1.35 a row is hidden when
d + w <= c, with the window w = 3 (STABLE), 1 (BETA), 0 (ALPHA, INTERNAL); during `alpha.0` of the minor d + w it is
still shown. Before 1.35 one window served every level: hidden when d < c. A lower major is always past its window, a
higher one never. `--disabled-metrics` beats `--show-hidden-metrics-for-version`, which brings back all hidden rows.
Follows k8s.io/component-base/metrics (registry.go, shouldHide).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

from kubeglass.telemetry.metrics.definitions import ALPHA, BETA, INTERNAL, NONE, STABLE, Metric, Stability

_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
_WINDOWS: Final[Mapping[Stability, int]] = {STABLE: 3, BETA: 1, ALPHA: 0, INTERNAL: 0}


class Version(NamedTuple):
    """A release; the pre-release tag matters only to the `alpha.0` exception."""

    major: int
    minor: int
    patch: int = 0
    prerelease: str = ""

    @classmethod
    def parse(cls, text: str) -> Version:
        """`1.36`, `v1.36.2+kubeglass`, `1.37.0-alpha.0.12`; anything else is a ValueError."""
        match = _VERSION.fullmatch(text)
        if match is None:
            raise ValueError(f"could not parse {text!r} as version")
        major, minor, patch, prerelease = match.groups()
        return cls(int(major), int(minor), int(patch or 0), prerelease or "")

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor: all that the life cycle compares."""
        return self.major, self.minor

    def major_minor(self) -> str:
        """`1.36`."""
        return f"{self.major}.{self.minor}"

    def previous_minor(self) -> str:
        """`1.35` for 1.36."""
        return f"{self.major}.{self.minor - 1}"

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


STABILITY_AWARE_SINCE: Final = Version(1, 35)


class Verdict(Enum):
    """The state of one row in one process. Only SHOWN and DEPRECATED rows get a working instrument."""

    SHOWN = "shown"
    DEPRECATED = "deprecated"
    HIDDEN = "hidden"
    DISABLED = "disabled"
    ABSENT = "absent"

    @property
    def visible(self) -> bool:
        return self is Verdict.SHOWN or self is Verdict.DEPRECATED


class Policy(NamedTuple):
    """Everything beside the row that the verdict depends on."""

    version: Version = Version(1, 36)
    show_hidden: bool = False
    disabled: frozenset[str] = frozenset()


def judge(row: Metric, policy: Policy) -> Verdict:
    """The life-cycle rule."""
    if not _exists(row, policy.version):
        return Verdict.ABSENT
    if row.stability is NONE:
        return Verdict.SHOWN
    if row.name in policy.disabled:
        return Verdict.DISABLED
    if not row.deprecated:
        return Verdict.SHOWN
    deprecated = Version.parse(row.deprecated)
    if is_hidden(deprecated, row.stability, policy.version) and not policy.show_hidden:
        return Verdict.HIDDEN
    return Verdict.DEPRECATED if deprecated.release <= policy.version.release else Verdict.SHOWN


def is_hidden(deprecated: Version, stability: Stability, running: Version) -> bool:
    """Whether a row deprecated in `deprecated` is past its window in `running`."""
    if running.release < STABILITY_AWARE_SINCE.release:
        return deprecated.release < running.release
    if deprecated.major != running.major:
        return deprecated.major < running.major
    hidden_from = deprecated.minor + _WINDOWS[stability]
    if hidden_from == running.minor and "alpha.0" in running.prerelease:
        return False
    return hidden_from <= running.minor


def help_text(row: Metric, verdict: Verdict) -> str:
    """HELP as exposed: level in front of the deprecation note, `EXPERIMENTAL: ` in front of both."""
    if row.stability is NONE:
        return row.help
    note = f"(Deprecated since {row.deprecated}) " if verdict is Verdict.DEPRECATED else ""
    experimental = "EXPERIMENTAL: " if row.experimental else ""
    return f"{experimental}[{row.stability}] {note}{row.help}"


def _exists(row: Metric, running: Version) -> bool:
    """Whether the release has the row in its code at all: nothing brings back a deleted one."""
    if row.since and running.release < Version.parse(row.since).release:
        return False
    return not row.until or running.release < Version.parse(row.until).release
