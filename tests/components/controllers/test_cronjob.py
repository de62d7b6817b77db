"""Schedules, and what a CronJob does when its time has come."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from kubeglass.components.controllers.actions import describe
from kubeglass.components.controllers.cronjob import Observed, plan
from kubeglass.components.controllers.cronschedule import ScheduleError, parse
from kubeglass.components.controllers.views import CronJob, Job
from kubeglass.components.machinery import clock

NOON = clock.parse("2026-01-02T12:00:30Z")  # a Friday


@pytest.mark.parametrize(
    ("text", "upcoming"),
    [
        ("* * * * *", "2026-01-02T12:01"),
        ("*/15 * * * *", "2026-01-02T12:15"),
        ("0 0 1 * *", "2026-02-01T00:00"),
        ("30 6 * * mon-fri", "2026-01-05T06:30"),
        ("0 0 13 * 5", "2026-01-09T00:00"),
        ("0 9-17/4 * jan *", "2026-01-02T13:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("@hourly", "2026-01-02T13:00"),
        ("0 0 * * 7", "2026-01-04T00:00"),
    ],
)
def test_the_next_minute(text: str, upcoming: str) -> None:
    """Steps, ranges, names, both day fields, leap days."""
    found = parse(text).next_after(datetime.fromtimestamp(NOON, UTC))
    assert found is not None and found.strftime("%Y-%m-%dT%H:%M") == upcoming


@pytest.mark.parametrize("text", ["", "* * * *", "60 * * * *", "*/0 * * * *", "5-1 * * * *", "x * * * *"])
def test_what_is_no_schedule(text: str) -> None:
    """Wrong texts are refused."""
    with pytest.raises(ScheduleError):
        parse(text)


def test_never() -> None:
    """A day that does not exist never comes."""
    assert parse("0 0 30 2 *").next_after(datetime.fromtimestamp(NOON, UTC)) is None


def cron_job(last: str = "2026-01-02T11:59:00Z", active: tuple[str, ...] = (), **spec: Any) -> CronJob:
    return msgspec.convert(
        {
            "metadata": {"name": "tick", "namespace": "default", "uid": "c"},
            "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"x": 1}}, "concurrencyPolicy": "Allow", **spec},
            "status": {"lastScheduleTime": last, "active": [{"name": name} for name in active]},
        },
        CronJob,
    )


def job(name: str, ended: str = "") -> Job:
    conditions = [{"type": ended, "status": "True"}] if ended else []
    status = {"conditions": conditions, "startTime": f"2026-01-02T11:0{name[-1]}:00Z"}
    if ended == "Complete":
        status["completionTime"] = "2026-01-02T11:30:00Z"
    return msgspec.convert({"metadata": {"name": name, "namespace": "default", "uid": name}, "status": status}, Job)


def done(found: CronJob, *jobs: Job) -> list[str]:
    return [describe(action) for action in plan(Observed(found, jobs), NOON).actions]


def test_a_due_job_is_made_once() -> None:
    """The name carries the scheduled minute; the next look is at the next minute."""
    step = plan(Observed(cron_job(), ()), NOON)
    name = f"tick-{int(NOON) // 60}"
    assert [describe(action) for action in step.actions] == [
        f"create job {name}",
        f"event Normal SuccessfulCreate: Created job {name}",
        "patch cronjob/status tick",
    ]
    assert step.requeue_after_seconds is not None and 30 < step.requeue_after_seconds < 31
    assert step.facts["skew"] == 30
    assert done(cron_job("2026-01-02T12:00:00Z")) == []


def test_policies() -> None:
    """Forbid waits for the running Job, Replace deletes it, suspend does nothing."""
    running = job("tick-1")
    assert done(cron_job(active=("tick-1",), concurrencyPolicy="Forbid"), running) == [
        "event Normal JobAlreadyActive: Not starting job because prior execution is running and concurrency policy is "
        "Forbid"
    ]
    assert done(cron_job(active=("tick-1",), concurrencyPolicy="Replace"), running)[0] == (
        "delete job tick-1 (Background)"
    )
    assert done(cron_job(suspend=True)) == []


def test_a_missed_start() -> None:
    """A start that is later than its deadline is not made up for."""
    assert done(cron_job("2026-01-02T11:59:00Z", startingDeadlineSeconds=10)) == []
    late = done(cron_job("2026-01-02T11:00:00Z", startingDeadlineSeconds=25, schedule="0 12 * * *"))
    assert late == []


def test_history() -> None:
    """Finished Jobs are noted, and only so many are kept."""
    jobs = [job(f"tick-{n}", "Complete") for n in range(5)]
    lines = done(cron_job("2026-01-02T12:00:00Z", active=("tick-4",)), *jobs)
    assert "event Normal SawCompletedJob: Saw completed job: tick-4, condition: Complete" in lines
    assert [line for line in lines if line.startswith("delete")] == [
        "delete job tick-0 (Background)",
        "delete job tick-1 (Background)",
    ]


def test_an_unreadable_schedule() -> None:
    """It is said, and nothing else happens."""
    assert done(cron_job(schedule="nonsense"))[0].startswith("event Warning UnparseableSchedule: unparseable schedule")
