"""What a Job's podFailurePolicy says of a failed Pod: the first rule that matches decides. Pure.

Upstream: kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kubeglass.components.api.objects import (
    Pod,
    PodFailurePolicy,
    PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyRule,
)

FAIL_JOB, IGNORE = "FailJob", "Ignore"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The action of the rule that matched, and why, in upstream's words."""

    action: str
    message: str


def judge(policy: PodFailurePolicy | None, pod: Pod) -> Verdict | None:
    """The verdict on a failed Pod, or None when no rule speaks of it (then its failure counts)."""
    for index, rule in enumerate(policy.rules if policy else ()):
        reason = _matches(rule, pod)
        if reason:
            return Verdict(rule.action, f"{reason} matching {rule.action} rule at index {index}")
    return None


def _matches(rule: PodFailurePolicyRule, pod: Pod) -> str:
    """Why the rule matches, or nothing."""
    if rule.on_exit_codes is not None:
        for name, code in _failures(rule.on_exit_codes, pod):
            if (code in rule.on_exit_codes.values) == (rule.on_exit_codes.operator == "In"):
                return f"Container {name} for pod {pod.key} failed with exit code {code}"
        return ""
    for pattern in rule.on_pod_conditions:
        for found in pod.status.conditions:
            if (found.type, found.status) == (pattern.type, pattern.status or "True"):
                return f"Pod {pod.key} has condition {found.type}"
    return ""


def _failures(wanted: PodFailurePolicyOnExitCodesRequirement, pod: Pod) -> Iterator[tuple[str, int]]:
    """(container, exit code) of every container that failed and that the rule speaks of."""
    for status in (*pod.status.container_statuses, *pod.status.init_container_statuses):
        terminated = status.state.terminated
        if terminated is None or terminated.exit_code == 0:
            continue
        if wanted.container_name in ("", status.name):
            yield status.name, terminated.exit_code
