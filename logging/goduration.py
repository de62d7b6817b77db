"""Go's duration text (`time.Duration.String` and `ParseDuration`): "1.512ms", "1h30m30s"."""

from __future__ import annotations

import re

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]+)")


def duration_text(nanoseconds: int) -> str:
    """The text of a duration: units below a second up to needed decimals, above it h, m and s."""
    if 1_000_000 <= nanoseconds < 1_000_000_000:
        return f"{nanoseconds / 1_000_000!r}ms".replace(".0ms", "ms")
    if nanoseconds < 0:
        return f"-{duration_text(-nanoseconds)}"
    if nanoseconds < 1_000_000:
        return _tiny(nanoseconds)
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    seconds = f"{_seconds(rest)}s"
    if not minutes:
        return seconds
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}" if hours else f"{minutes}m{seconds}"


def _tiny(nanoseconds: int) -> str:
    """Below a millisecond. So few digits are exact in a float's shortest text."""
    if not nanoseconds:
        return "0s"
    if nanoseconds < 1_000:
        return f"{nanoseconds:d}ns"
    return f"{nanoseconds / 1_000!r}µs".replace(".0µs", "µs")


def _seconds(nanoseconds: int) -> str:
    whole, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{whole}.{rest:09d}".rstrip("0") if rest else str(whole)


def parse_duration(text: str) -> int:
    """Nanoseconds of a Go duration text. Raises ValueError with Go's words."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return 0
    if not rest:
        raise ValueError(f'time: invalid duration "{text}"')
    total, at = 0, 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None or not (part[1] or part[2]):
            missing = part is None and re.fullmatch(r"[0-9]*\.?[0-9]+|[0-9]+\.", rest[at:]) is not None
            raise ValueError(f'time: {"missing unit in" if missing else "invalid"} duration "{text}"')
        scale = _UNITS.get(part[3])
        if scale is None:
            raise ValueError(f'time: unknown unit "{part[3]}" in duration "{text}"')
        fraction = part[2] or ""
        total += int(part[1] or 0) * scale + int(fraction or 0) * scale // 10 ** len(fraction)
        at = part.end()
    return sign * total
