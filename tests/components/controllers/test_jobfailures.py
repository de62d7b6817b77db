"""What podFailurePolicy makes of failed Pods."""

from __future__ import annotations

from typing import Any

import pytest

from kubeglass.components.api.objects import Pod, decode
from kubeglass.components.controllers.actions import Patch
from kubeglass.components.controllers.jobplan import FINALIZER, Observed, plan
from kubeglass.components.controllers.views import Job
from kubeglass.components.machinery import clock

NOW = clock.parse("2026-01-02T03:04:05Z")
ON_CODE_42 = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
ON_DISRUPTION = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def job(*rules: dict[str, Any]) -> Job:
    return decode(
        Job,
        {
            "metadata": {"name": "sum", "namespace": "default", "uid": "j"},
            "spec": {
                "completions": 1,
                "parallelism": 1,
                "backoffLimit": 0,
                "podFailurePolicy": {"rules": rules},
                "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main"}]}},
            },
            "status": {"startTime": "2026-01-02T03:00:00Z"},
        },
    )


def failed(code: int, *conditions: dict[str, str]) -> Pod:
    state = {"terminated": {"exitCode": code, "finishedAt": "2026-01-02T03:04:00Z"}}
    return decode(
        Pod,
        {
            "metadata": {"name": "sum-1", "namespace": "default", "uid": "p", "finalizers": [FINALIZER]},
            "status": {
                "phase": "Failed",
                "conditions": conditions,
                "containerStatuses": [{"name": "main", "state": state}],
            },
        },
    )


def status_of(found: Job, pod: Pod) -> dict[str, Any]:
    actions = plan(Observed(found, [pod]), NOW).actions
    return next((a.patch["status"] for a in actions if isinstance(a, Patch) and a.subresource == "status"), {})


def test_an_exit_code_ends_the_job() -> None:
    """FailJob ends the Job at once and says which rule it was."""
    (condition,) = status_of(job(ON_CODE_42), failed(42))["conditions"]
    assert (condition["type"], condition["reason"]) == ("FailureTarget", "PodFailurePolicy")
    assert condition["message"] == (
        "Container main for pod default/sum-1 failed with exit code 42 matching FailJob rule at index 0"
    )


@pytest.mark.parametrize("code", [1, 43])
def test_other_exit_codes_count(code: int) -> None:
    """Without a matching rule a failure counts against the backoff limit."""
    (condition,) = status_of(job(ON_CODE_42), failed(code))["conditions"]
    assert condition["reason"] == "BackoffLimitExceeded"


def test_a_disruption_is_no_failure() -> None:
    """Ignore takes the finalizer and leaves the count alone, so a backoff limit of 0 is not reached."""
    pod = failed(137, {"type": "DisruptionTarget", "status": "True"})
    step = plan(Observed(job(ON_DISRUPTION, ON_CODE_42), [pod]), NOW)
    patches = [a for a in step.actions if isinstance(a, Patch)]
    assert [a.patch["metadata"]["finalizers"] for a in patches if a.name == "sum-1"] == [None]
    assert not any("failed" in a.patch.get("status", {}) or "conditions" in a.patch.get("status", {}) for a in patches)
    assert step.facts == {"Ignore": 1}
