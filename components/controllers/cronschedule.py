"""Cron schedules: five fields, names and steps, `@daily` and its like; which minute is next. Pure.

Upstream parses with robfig/cron: where both day fields are restricted, either may match.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_HORIZON_YEARS = 5


class ScheduleError(ValueError):
    """The text is no schedule."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The minutes at which something is to start."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def next_after(self, moment: datetime) -> datetime | None:
        """The first matching minute after `moment`, in its time zone; None within five years."""
        at = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        limit = at.year + _HORIZON_YEARS
        while at.year <= limit:
            if at.month not in self.months:
                at = (at.replace(day=1, hour=0, minute=0) + timedelta(days=32)).replace(day=1)
            elif not self._day_matches(at):
                at = at.replace(hour=0, minute=0) + timedelta(days=1)
            elif at.hour not in self.hours:
                at = at.replace(minute=0) + timedelta(hours=1)
            elif at.minute not in self.minutes:
                at += timedelta(minutes=1)
            else:
                return at
        return None

    def _day_matches(self, at: datetime) -> bool:
        by_day, by_weekday = at.day in self.days, at.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return by_day and by_weekday
        return by_day or by_weekday


def parse(text: str) -> Schedule:
    """The schedule of five fields or a name. Raises ScheduleError."""
    fields = _NAMED.get(text.strip().lower(), text).split()
    if len(fields) != 5:
        raise ScheduleError(f"expected exactly 5 fields, found {len(fields)}: {fields}")
    minute, hour, day, month, weekday = fields
    return Schedule(
        _field(minute, 0, 59),
        _field(hour, 0, 23),
        _field(day, 1, 31),
        _field(month, 1, 12, _MONTHS, 1),
        frozenset(number % 7 for number in _field(weekday, 0, 7, _DAYS)),
        any_day=day.startswith(("*", "?")),
        any_weekday=weekday.startswith(("*", "?")),
    )


def _field(text: str, low: int, high: int, names: list[str] | None = None, first_name: int = 0) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        body, _, step_text = part.partition("/")
        step = _number(step_text, part) if step_text else 1
        if step <= 0:
            raise ScheduleError(f"step of range should be a positive number: {part}")
        if body in ("*", "?"):
            start, end = low, high
        else:
            first, dash, last = body.partition("-")
            start = _value(first, part, names, first_name)
            end = _value(last, part, names, first_name) if dash else high if step_text else start
        if start < low or end > high or start > end:
            raise ScheduleError(f"range ({start}-{end}) outside of ({low}-{high}): {part}")
        found.update(range(start, end + 1, step))
    return frozenset(found)


def _value(text: str, part: str, names: list[str] | None, first_name: int) -> int:
    lowered = text.lower()
    if names and lowered in names:
        return names.index(lowered) + first_name
    return _number(text, part)


def _number(text: str, part: str) -> int:
    if not text.isdecimal():
        raise ScheduleError(f"failed to parse int from {text}: {part}")
    return int(text)


def at(seconds: float, zone: tzinfo) -> datetime:
    """A moment in a zone."""
    return datetime.fromtimestamp(seconds, zone)
