"""The next step of a Job, pure: which Pods to make, free or delete, and what its status is.

Every Pod carries a finalizer until its end is counted. Counting is in three steps, so that a crash never counts twice:
the uid is noted as uncounted; the finalizer is taken; the uid leaves the note and the number rises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubeglass.components.api.kinds import JOB, POD
from kubeglass.components.api.objects import Pod, UncountedTerminatedPods, encode
from kubeglass.components.controllers.actions import Action, CreatePods, DeletePods, Emit, Patch, Plan
from kubeglass.components.controllers.jobfailures import FAIL_JOB, IGNORE, judge
from kubeglass.components.controllers.podstate import is_active, is_finished, is_ready, pod_from_template
from kubeglass.components.controllers.views import Job
from kubeglass.components.machinery import clock

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
_FIRST_BACKOFF_SECONDS, _LAST_BACKOFF_SECONDS = 10.0, 600.0
_MAX_PODS = 500
ENDINGS = ("Complete", "Failed")
"""The conditions that end a Job."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A Job and its Pods."""

    job: Job
    pods: Sequence[Pod]


def plan(observed: Observed, now: float) -> Plan:
    """The next step of a Job."""
    return _Step(observed, now).plan()


def is_over(job: Job) -> bool:
    """Complete or Failed."""
    return any(found.type in ENDINGS and found.status == "True" for found in job.status.conditions)


def indexes(text: str) -> set[int]:
    """`1,3-5` as numbers."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as `1,3-5`; two neighbours are written `3,4`, as upstream does."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    written = []
    for run in parts:
        written.append(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)))
    return ",".join(written)


@dataclass(slots=True)
class _Tally:
    """What has ended, counted or noted."""

    succeeded: int
    failed: int
    uncounted_succeeded: list[str]
    uncounted_failed: list[str]
    indexes: set[int] = field(default_factory=set)

    @property
    def all_succeeded(self) -> int:
        return self.succeeded + len(self.uncounted_succeeded)

    @property
    def all_failed(self) -> int:
        return self.failed + len(self.uncounted_failed)


class _Step:
    def __init__(self, observed: Observed, now: float) -> None:
        self.job, self.pods, self.now = observed.job, observed.pods, now
        self.spec, self.status = observed.job.spec, observed.job.status
        self.indexed = self.spec.completion_mode == "Indexed"
        self.active = [pod for pod in self.pods if is_active(pod)]
        self.actions: list[Action] = []
        self.conditions = [encode(found) for found in self.status.conditions]
        self.start_time = self.status.start_time
        self.again: float | None = None
        self.verdicts: Counter[str] = Counter()

    def plan(self) -> Plan:
        if is_over(self.job):
            return Plan(tuple(self._release([pod for pod in self.pods if is_finished(pod)])))
        tally = self._count()
        ending = self._ending(tally)
        if self.spec.suspend:
            self._suspend()
        else:
            self._resume()
        if ending is not None or self.spec.suspend or self.job.metadata.deletion_timestamp:
            if self.active and not self.job.metadata.deletion_timestamp:
                self.actions.append(DeletePods(self.job, _references(self.active)))
        else:
            self._run(tally)
        self._state(tally, ending)
        return Plan(tuple(self.actions), self.again, dict(self.verdicts))

    # -- counting -------------------------------------------------------------------------------------------------

    def _count(self) -> _Tally:
        noted = self.status.uncounted_terminated_pods or UncountedTerminatedPods()
        held = {pod.metadata.uid for pod in self.pods if FINALIZER in pod.metadata.finalizers}
        tally = _Tally(
            self.status.succeeded + sum(uid not in held for uid in noted.succeeded),
            self.status.failed + sum(uid not in held for uid in noted.failed),
            [uid for uid in noted.succeeded if uid in held],
            [uid for uid in noted.failed if uid in held],
            indexes(self.status.completed_indexes),
        )
        known = {*noted.succeeded, *noted.failed}
        release = []
        for pod in self.pods:
            uid = pod.metadata.uid
            if FINALIZER not in pod.metadata.finalizers:
                continue
            if uid in known:
                release.append(pod)
            elif pod.status.phase == "Succeeded":
                tally.uncounted_succeeded.append(uid)
                if self.indexed and (index := pod.metadata.annotations.get(INDEX)):
                    if int(index) in tally.indexes:
                        tally.uncounted_succeeded.pop()  # a second success of one index does not count
                    tally.indexes.add(int(index))
            elif pod.status.phase == "Failed" or (pod.metadata.deletion_timestamp and not pod.spec.node_name):
                if self._ignored(pod):
                    release.append(pod)
                else:
                    tally.uncounted_failed.append(uid)
        self.actions += self._release(release)
        return tally

    def _ignored(self, pod: Pod) -> bool:
        """Whether the failure policy says that this failure is none; its verdict is counted."""
        verdict = judge(self.spec.pod_failure_policy, pod)
        if verdict is not None:
            self.verdicts[verdict.action] += 1
        return verdict is not None and verdict.action == IGNORE

    @staticmethod
    def _release(pods: Iterable[Pod]) -> list[Action]:
        found: list[Action] = []
        for pod in pods:
            meta = pod.metadata
            if FINALIZER in meta.finalizers:
                kept = [name for name in meta.finalizers if name != FINALIZER]
                patch = {"metadata": {"finalizers": kept or None, "uid": meta.uid}}
                found.append(Patch(POD, meta.name, meta.namespace, patch, ignore_missing=True))
        return found

    # -- ending ---------------------------------------------------------------------------------------------------

    def _ending(self, tally: _Tally) -> tuple[str, str, str] | None:
        """(Complete or Failed, reason, message) once that is decided."""
        for found in self.conditions:
            if found["status"] == "True" and found["type"] in ("FailureTarget", "SuccessCriteriaMet"):
                kind = "Failed" if found["type"] == "FailureTarget" else "Complete"
                return kind, found["reason"], found["message"]
        if (fatal := self._fatal_failure()) is not None:
            return "Failed", "PodFailurePolicy", fatal
        restarts = self._restarts() if self._template_restarts() else 0
        exceeded = tally.all_failed > self.spec.backoff_limit
        if exceeded or (self._template_restarts() and 0 < self.spec.backoff_limit <= restarts):
            return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        if self._past_deadline():
            return "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
        wanted = self.spec.completions
        enough = tally.all_succeeded >= wanted if wanted is not None else tally.all_succeeded > 0 and not self.active
        if enough:
            return "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
        return None

    def _fatal_failure(self) -> str | None:
        """Why a failed Pod ends the whole Job, by the failure policy."""
        for pod in self.pods:
            if pod.status.phase == "Failed" and FINALIZER in pod.metadata.finalizers:
                verdict = judge(self.spec.pod_failure_policy, pod)
                if verdict is not None and verdict.action == FAIL_JOB:
                    return verdict.message
        return None

    def _template_restarts(self) -> bool:
        return (self.spec.template.get("spec") or {}).get("restartPolicy") == "OnFailure"

    def _restarts(self) -> int:
        return sum(s.restart_count for pod in self.active for s in pod.status.container_statuses)

    def _past_deadline(self) -> bool:
        limit = self.spec.active_deadline_seconds
        if limit is None or not self.status.start_time or self.spec.suspend:
            return False
        left = clock.parse(self.status.start_time) + limit - self.now
        if left > 0:
            self.again = left
        return left <= 0

    # -- running --------------------------------------------------------------------------------------------------

    def _suspend(self) -> None:
        if self._set_condition("Suspended", "True", "JobSuspended", "Job suspended"):
            self.actions.append(Emit(self.job, "Normal", "Suspended", "Job suspended"))
        self.start_time = ""

    def _resume(self) -> None:
        suspended = any(c["type"] == "Suspended" and c["status"] == "True" for c in self.conditions)
        if suspended and self._set_condition("Suspended", "False", "JobResumed", "Job resumed"):
            self.actions.append(Emit(self.job, "Normal", "Resumed", "Job resumed"))
        self.start_time = self.start_time or clock.rfc3339(self.now)

    def _run(self, tally: _Tally) -> None:
        parallelism = 1 if self.spec.parallelism is None else self.spec.parallelism
        completions = self.spec.completions
        wanted = parallelism
        if completions is not None:
            wanted = min(parallelism, completions - tally.all_succeeded)
        elif tally.all_succeeded:
            wanted = min(parallelism, len(self.active))
        if len(self.active) > wanted:
            surplus = sorted(self.active, key=lambda pod: (is_ready(pod), pod.metadata.creation_timestamp))
            self.actions.append(DeletePods(self.job, _references(surplus[: len(self.active) - wanted])))
            return
        missing = min(wanted - len(self.active), _MAX_PODS)
        if missing <= 0:
            return
        delay = self._backoff(tally)
        if delay > 0:
            self.again = min(delay, self.again) if self.again else delay
            return
        self.actions.append(CreatePods(self.job, tuple(self._new_pods(missing, tally))))

    def _backoff(self, tally: _Tally) -> float:
        """Seconds to wait after failures: 10 s, doubled with each, at most 10 min; a success starts afresh."""
        if not tally.all_failed:
            return 0.0
        ends = [
            (finished, pod.status.phase == "Failed")
            for pod in self.pods
            if is_finished(pod) and (finished := _finished_at(pod))
        ]
        ends.sort(reverse=True)
        in_a_row = next((n for n, (_, failed) in enumerate(ends) if not failed), len(ends))
        if not in_a_row:
            return 0.0
        delay = min(_FIRST_BACKOFF_SECONDS * 2.0 ** (in_a_row - 1), _LAST_BACKOFF_SECONDS)
        return ends[0][0] + delay - self.now

    def _new_pods(self, count: int, tally: _Tally) -> Iterable[dict[str, Any]]:
        if not self.indexed:
            for _ in range(count):
                yield self._new_pod()
            return
        taken = {int(pod.metadata.annotations.get(INDEX, -1)) for pod in self.active} | tally.indexes
        free = (index for index in range(self.spec.completions or 0) if index not in taken)
        for _, index in zip(range(count), free, strict=False):
            yield self._new_pod(index)

    def _new_pod(self, index: int | None = None) -> dict[str, Any]:
        pod = pod_from_template(self.spec.template, JOB, self.job)
        metadata = {**pod["metadata"], "finalizers": [*pod["metadata"].get("finalizers", ()), FINALIZER]}
        spec = pod["spec"]
        if index is not None:
            name = self.job.metadata.name
            metadata["generateName"] = f"{name}-{index}-"
            metadata["annotations"] = {**metadata.get("annotations", {}), INDEX: str(index)}
            metadata["labels"] = {**metadata.get("labels", {}), INDEX: str(index)}
            spec = {**spec, "hostname": spec.get("hostname") or f"{name}-{index}"}
            spec["containers"] = [_with_index(container) for container in spec["containers"]]
        return {**pod, "metadata": metadata, "spec": spec}

    # -- status ---------------------------------------------------------------------------------------------------

    def _state(self, tally: _Tally, ending: tuple[str, str, str] | None) -> None:
        status: dict[str, Any] = {
            "active": len(self.active),
            "ready": sum(map(is_ready, self.active)),
            "succeeded": tally.succeeded,
            "failed": tally.failed,
            "terminating": sum(bool(pod.metadata.deletion_timestamp) and not is_finished(pod) for pod in self.pods),
            "startTime": self.start_time or None,
            "uncountedTerminatedPods": {
                key: uids
                for key, uids in (("succeeded", tally.uncounted_succeeded), ("failed", tally.uncounted_failed))
                if uids
            },
        }
        if self.indexed:
            status["completedIndexes"] = ranges(tally.indexes) or None
        if ending is not None:
            self._end(ending, status, tally)
        status["conditions"] = self.conditions
        stored = encode(self.status)
        empty: dict[str, Any] = {"conditions": [], "startTime": None, "completedIndexes": None}
        empty["uncountedTerminatedPods"] = {}
        changed = {k: v for k, v in status.items() if stored.get(k, empty.get(k, 0)) != v}
        if not changed:
            return
        if "uncountedTerminatedPods" in changed:
            now_noted: dict[str, Any] = changed["uncountedTerminatedPods"]
            changed["uncountedTerminatedPods"] = {key: now_noted.get(key) for key in ("succeeded", "failed")}
        meta = self.job.metadata
        patch = {"metadata": {"resourceVersion": meta.resource_version}, "status": changed}
        # What was noted must be stored before a finalizer goes: the status is written first.
        self.actions.insert(0, Patch(JOB, meta.name, meta.namespace, patch, "status", ignore_missing=True))

    def _end(self, ending: tuple[str, str, str], status: dict[str, Any], tally: _Tally) -> None:
        kind, reason, message = ending
        target = "FailureTarget" if kind == "Failed" else "SuccessCriteriaMet"
        self._set_condition(target, "True", reason, message)
        if self.active or status["terminating"] or tally.uncounted_succeeded or tally.uncounted_failed:
            return
        self._set_condition(kind, "True", reason, message)
        if kind == "Complete":
            status["completionTime"] = clock.rfc3339(self.now)
            self.actions.append(Emit(self.job, "Normal", "Completed", "Job completed"))
        else:
            self.actions.append(Emit(self.job, "Warning", reason, message))

    def _set_condition(self, type: str, status: str, reason: str, message: str) -> bool:
        if any(c["type"] == type and c["status"] == status for c in self.conditions):
            return False
        stamp = clock.rfc3339(self.now)
        new = {"type": type, "status": status, "reason": reason, "message": message}
        new |= {"lastProbeTime": stamp, "lastTransitionTime": stamp}
        self.conditions = [c for c in self.conditions if c["type"] != type] + [new]
        return True


def _with_index(container: dict[str, Any]) -> dict[str, Any]:
    env = list(container.get("env") or ())
    if not any(found["name"] == "JOB_COMPLETION_INDEX" for found in env):
        source = {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX}']"}}
        env.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": source})
    return {**container, "env": env}


def _finished_at(pod: Pod) -> float:
    stamps = [s.state.terminated.finished_at for s in pod.status.container_statuses if s.state.terminated]
    latest = max(filter(None, stamps), default=pod.metadata.deletion_timestamp or pod.metadata.creation_timestamp)
    return clock.parse(latest) if latest else 0.0


def _references(pods: Sequence[Pod]) -> tuple[tuple[str, str, str], ...]:
    return tuple((pod.metadata.namespace, pod.metadata.name, pod.metadata.uid) for pod in pods)
