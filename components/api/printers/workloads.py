"""Workloads, their budgets and autoscalers."""

from __future__ import annotations

from datetime import timedelta

from kubeglass.components.api import times
from kubeglass.components.api.printers.cells import (
    AGE,
    CONTAINERS,
    IMAGES,
    NAME,
    SELECTOR,
    Json,
    age,
    containers,
    count,
    labels,
    member,
    name_of,
    selector,
    since,
)
from kubeglass.components.api.table import Cell, Column, Printer

_DETAILS = (CONTAINERS, IMAGES, SELECTOR)


def _integer(name: str, description: str, priority: int = 0) -> Column:
    return Column(name, "integer", "", description, priority)


def _template(obj: Json) -> list[Cell]:
    return list(containers(member(obj, "spec", "template")))


def _deployment(obj: Json, now: float) -> list[Cell]:
    return [
        name_of(obj),
        f"{count(obj, 'status', 'readyReplicas')}/{count(obj, 'spec', 'replicas')}",
        count(obj, "status", "updatedReplicas"),
        count(obj, "status", "availableReplicas"),
        age(obj, now),
        *_template(obj),
        selector(member(obj, "spec", "selector")),
    ]


def _replica_set(obj: Json, now: float) -> list[Cell]:
    return [
        name_of(obj),
        count(obj, "spec", "replicas"),
        count(obj, "status", "replicas"),
        count(obj, "status", "readyReplicas"),
        age(obj, now),
        *_template(obj),
        selector(member(obj, "spec", "selector")),
    ]


def _replication_controller(obj: Json, now: float) -> list[Cell]:
    return [*_replica_set(obj, now)[:-1], labels(member(obj, "spec", "selector"))]


def _stateful_set(obj: Json, now: float) -> list[Cell]:
    ready = f"{count(obj, 'status', 'readyReplicas')}/{count(obj, 'spec', 'replicas')}"
    return [name_of(obj), ready, age(obj, now), *_template(obj)]


def _daemon_set(obj: Json, now: float) -> list[Cell]:
    counters = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    return [
        name_of(obj),
        *(count(obj, "status", name) for name in counters),
        labels(member(obj, "spec", "template", "spec", "nodeSelector")),
        age(obj, now),
        *_template(obj),
        selector(member(obj, "spec", "selector")),
    ]


def _job(obj: Json, now: float) -> list[Cell]:
    return [
        name_of(obj),
        _job_status(obj),
        _completions(obj),
        _job_duration(obj, now),
        age(obj, now),
        *_template(obj),
        selector(member(obj, "spec", "selector")),
    ]


def _job_status(obj: Json) -> str:
    """Running, or the first condition that says more."""
    conditions = {item["type"] for item in member(obj, "status", "conditions") or () if item.get("status") == "True"}
    if "Complete" in conditions:
        return "Complete"
    if "Failed" in conditions:
        return "Failed"
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for condition, shown in (
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):
        if condition in conditions:
            return shown
    return "Running"


def _completions(obj: Json) -> str:
    succeeded, completions = count(obj, "status", "succeeded"), member(obj, "spec", "completions")
    if completions is not None:
        return f"{succeeded}/{completions}"
    parallelism = count(obj, "spec", "parallelism")
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _job_duration(obj: Json, now: float) -> str:
    started, ended = member(obj, "status", "startTime"), member(obj, "status", "completionTime")
    if not started:
        return ""
    end = times.parse(ended).timestamp() if ended else now
    return times.human_duration(timedelta(seconds=end - times.parse(started).timestamp()))


def _cron_job(obj: Json, now: float) -> list[Cell]:
    last = member(obj, "status", "lastScheduleTime")
    return [
        name_of(obj),
        member(obj, "spec", "schedule") or "",
        member(obj, "spec", "timeZone") or "<none>",
        "True" if member(obj, "spec", "suspend") else "False",
        len(member(obj, "status", "active") or ()),
        since(last, now) if last else "<none>",
        age(obj, now),
        *containers(member(obj, "spec", "jobTemplate", "spec", "template")),
        selector(member(obj, "spec", "jobTemplate", "spec", "selector")),
    ]


def _disruption_budget(obj: Json, now: float) -> list[Cell]:
    low, high = member(obj, "spec", "minAvailable"), member(obj, "spec", "maxUnavailable")
    return [
        name_of(obj),
        "N/A" if low is None else str(low),
        "N/A" if high is None else str(high),
        count(obj, "status", "disruptionsAllowed"),
        age(obj, now),
    ]


def _controller_revision(obj: Json, now: float) -> list[Cell]:
    owner = next((item for item in obj["metadata"].get("ownerReferences") or () if item.get("controller")), None)
    shown = "<none>"
    if owner is not None:
        group = owner["apiVersion"].partition("/")[0] if "/" in owner["apiVersion"] else ""
        shown = f"{owner['kind'].lower()}{'.' + group if group else ''}/{owner['name']}"
    return [name_of(obj), shown, obj.get("revision", 0), age(obj, now)]


def _autoscaler(obj: Json, now: float) -> list[Cell]:
    target = member(obj, "spec", "scaleTargetRef") or {}
    return [
        name_of(obj),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _targets(obj),
        str(member(obj, "spec", "minReplicas") or "<unset>"),
        count(obj, "spec", "maxReplicas"),
        count(obj, "status", "currentReplicas"),
        age(obj, now),
    ]


def _targets(obj: Json) -> str:
    wanted, current = member(obj, "spec", "metrics") or [], member(obj, "status", "currentMetrics") or []
    shown = []
    for index, metric in enumerate(wanted):
        kind = metric.get("type", "")
        source: Json = next((metric[name] for name in metric if name != "type"), {})
        have = current[index] if index < len(current) else {}
        have_source: Json = next((have[name] for name in have if name != "type"), {})
        prefix = f"{source.get('name')}: " if kind in ("Resource", "ContainerResource") else ""
        shown.append(f"{prefix}{_amount(member(have_source, 'current'))}/{_amount(member(source, 'target'), 'auto')}")
    if not shown:
        return "<none>"
    more = f" + {len(shown) - 2} more..." if len(shown) > 2 else ""
    return ", ".join(shown[:2]) + more


def _amount(found: Json | None, unknown: str = "<unknown>") -> str:
    found = found or {}
    if found.get("averageUtilization") is not None:
        return f"{found['averageUtilization']}%"
    if found.get("averageValue") is not None:
        return f"{found['averageValue']} (avg)" if unknown == "auto" else str(found["averageValue"])
    return str(found["value"]) if found.get("value") is not None else f"<{unknown.strip('<>')}>"


_UP_TO_DATE = _integer("Up-to-date", "How many Pods run the newest template.")
_AVAILABLE = _integer("Available", "How many Pods have been ready for long enough.")
_CURRENT = _integer("Current", "How many Pods there are.")
_DESIRED = _integer("Desired", "How many Pods there should be.")
_READY = _integer("Ready", "How many Pods are ready.")

DEPLOYMENT = Printer(
    (
        NAME,
        Column("Ready", "string", "", "Number of the pod with ready state"),
        Column("Up-to-date"),
        Column("Available"),
        AGE,
        *_DETAILS,
    ),
    _deployment,
)
REPLICA_SET = Printer((NAME, _DESIRED, _CURRENT, _READY, AGE, *_DETAILS), _replica_set)
REPLICATION_CONTROLLER = Printer((NAME, _DESIRED, _CURRENT, _READY, AGE, *_DETAILS), _replication_controller)
STATEFUL_SET = Printer(
    (NAME, Column("Ready", "string", "", "Number of the pod with ready state"), AGE, CONTAINERS, IMAGES), _stateful_set
)
DAEMON_SET = Printer(
    (
        NAME,
        _DESIRED,
        _CURRENT,
        _READY,
        _UP_TO_DATE,
        _AVAILABLE,
        Column("Node Selector", "string", "", "Labels a node needs for the Pods to run there."),
        AGE,
        *_DETAILS,
    ),
    _daemon_set,
)
JOB = Printer(
    (
        NAME,
        Column("Status", "string", "", "Status of the job."),
        Column("Completions", "string", "", "How many Pods succeeded of how many should."),
        Column("Duration", "string", "", "Time required to complete the job."),
        AGE,
        *_DETAILS,
    ),
    _job,
)
CRON_JOB = Printer(
    (
        NAME,
        Column("Schedule", "string", "", "The schedule in Cron format."),
        Column("Timezone", "string", "", "The time zone of the schedule."),
        Column("Suspend", "boolean", "", "Whether runs are suspended."),
        _integer("Active", "How many Jobs run now."),
        Column("Last Schedule", "string", "", "When a Job was last started."),
        AGE,
        *_DETAILS,
    ),
    _cron_job,
)
POD_DISRUPTION_BUDGET = Printer(
    (
        NAME,
        Column("Min Available", "string", "", "The minimum number of pods that must be available."),
        Column("Max Unavailable", "string", "", "The maximum number of pods that may be unavailable."),
        _integer("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
        AGE,
    ),
    _disruption_budget,
)
CONTROLLER_REVISION = Printer(
    (NAME, Column("Controller", "string", "", "Controller of the object"), _integer("Revision", "Its revision."), AGE),
    _controller_revision,
)
HORIZONTAL_POD_AUTOSCALER = Printer(
    (
        NAME,
        Column("Reference", "string", "", "What is scaled."),
        Column("Targets", "string", "", "Current and wanted metrics."),
        Column("MinPods", "string", "", "The fewest replicas."),
        Column("MaxPods", "string", "", "The most replicas."),
        Column("Replicas", "string", "", "How many replicas there are."),
        AGE,
    ),
    _autoscaler,
)
