"""Nodes, namespaces, events, access control and the kinds that configure the API itself."""

from __future__ import annotations

from datetime import timedelta

from kubeglass.components.api import times
from kubeglass.components.api.printers.cells import AGE, NAME, Json, age, joined, member, name_of, since
from kubeglass.components.api.table import Cell, Column, Printer

_ROLE_PREFIX = "node-role.kubernetes.io/"
_ROLE_LABEL = "kubernetes.io/role"


def _node(obj: Json, now: float) -> list[Cell]:
    info = member(obj, "status", "nodeInfo") or {}
    return [
        name_of(obj),
        _node_status(obj),
        joined(sorted(_roles(obj))),
        age(obj, now),
        info.get("kubeletVersion", ""),
        _address(obj, "InternalIP"),
        _address(obj, "ExternalIP"),
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def _node_status(obj: Json) -> str:
    ready = next((item for item in member(obj, "status", "conditions") or () if item.get("type") == "Ready"), None)
    shown = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    return f"{shown},SchedulingDisabled" if member(obj, "spec", "unschedulable") else shown


def _roles(obj: Json) -> set[str]:
    found = set()
    for key, value in (obj["metadata"].get("labels") or {}).items():
        if key.startswith(_ROLE_PREFIX) and key != _ROLE_PREFIX:
            found.add(key.removeprefix(_ROLE_PREFIX))
        elif key == _ROLE_LABEL and value:
            found.add(value)
    return found


def _address(obj: Json, kind: str) -> str:
    addresses = member(obj, "status", "addresses") or ()
    return next((item["address"] for item in addresses if item.get("type") == kind), "<none>")


def _namespace(obj: Json, now: float) -> list[Cell]:
    return [name_of(obj), member(obj, "status", "phase") or "", age(obj, now)]


def _event(obj: Json, now: float) -> list[Cell]:
    involved = obj.get("involvedObject") or obj.get("regarding") or {}
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    event_time = obj.get("eventTime") or ""
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or event_time
    series = obj.get("series") or {}
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp") or first
    target = f"{involved.get('kind', '').lower()}/{involved.get('name', '')}"
    message = (obj.get("message") or obj.get("note") or "").strip()
    count = series.get("count") or obj.get("count") or obj.get("deprecatedCount") or 1
    return [
        since(last, now),
        obj.get("type", ""),
        obj.get("reason", ""),
        target,
        involved.get("fieldPath", ""),
        _event_source(source, obj.get("reportingComponent") or obj.get("reportingController") or ""),
        message,
        since(first, now),
        count,
        name_of(obj),
    ]


def _event_source(source: Json, reporter: str) -> str:
    component = source.get("component") or reporter
    return ", ".join(part for part in (component, source.get("host", "")) if part)


def _secret(obj: Json, now: float) -> list[Cell]:
    return [name_of(obj), obj.get("type", ""), len(obj.get("data") or ()), age(obj, now)]


def _config_map(obj: Json, now: float) -> list[Cell]:
    return [name_of(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), age(obj, now)]


def _service_account(obj: Json, now: float) -> list[Cell]:
    return [name_of(obj), len(obj.get("secrets") or ()), age(obj, now)]


def _quota(obj: Json, now: float) -> list[Cell]:
    hard, used = member(obj, "status", "hard") or {}, member(obj, "status", "used") or {}
    requests: list[str] = []
    limits: list[str] = []
    for name in sorted(hard):
        (limits if name.startswith("limits.") else requests).append(f"{name}: {used.get(name, '0')}/{hard[name]}")
    return [name_of(obj), ", ".join(requests), ", ".join(limits), age(obj, now)]


def _limit_range(obj: Json, now: float) -> list[Cell]:
    return [name_of(obj), obj["metadata"].get("creationTimestamp", "")]


def _component_status(obj: Json, now: float) -> list[Cell]:
    healthy: Json = next((item for item in obj.get("conditions") or () if item.get("type") == "Healthy"), {})
    shown = {"True": "Healthy", "False": "Unhealthy"}.get(healthy.get("status", ""), "Unknown")
    return [name_of(obj), shown, healthy.get("message", ""), healthy.get("error", "")]


def _role(obj: Json, now: float) -> list[Cell]:
    return [name_of(obj), obj["metadata"].get("creationTimestamp", "<unknown>")]


def _role_binding(obj: Json, now: float) -> list[Cell]:
    role = obj.get("roleRef") or {}
    users, groups, accounts = [], [], []
    for subject in obj.get("subjects") or ():
        match subject.get("kind"):
            case "User":
                users.append(subject["name"])
            case "Group":
                groups.append(subject["name"])
            case "ServiceAccount":
                accounts.append(f"{subject.get('namespace', '')}/{subject['name']}")
    return [
        name_of(obj),
        f"{role.get('kind', '')}/{role.get('name', '')}",
        age(obj, now),
        ", ".join(users),
        ", ".join(groups),
        ", ".join(accounts),
    ]


def _signing_request(obj: Json, now: float) -> list[Cell]:
    spec = obj.get("spec") or {}
    duration = spec.get("expirationSeconds")
    conditions = {item["type"] for item in member(obj, "status", "conditions") or ()}
    shown = [name for name in ("Approved", "Denied", "Failed") if name in conditions] or ["Pending"]
    if member(obj, "status", "certificate"):
        shown.append("Issued")
    return [
        name_of(obj),
        age(obj, now),
        spec.get("signerName") or "<none>",
        spec.get("username", ""),
        _short(duration) if duration is not None else "<none>",
        ",".join(shown),
    ]


def _short(seconds: int) -> str:
    return times.human_duration(timedelta(seconds=seconds))


def _lease(obj: Json, now: float) -> list[Cell]:
    return [name_of(obj), member(obj, "spec", "holderIdentity") or "", age(obj, now)]


def _priority_class(obj: Json, now: float) -> list[Cell]:
    policy = obj.get("preemptionPolicy") or "<none>"
    return [name_of(obj), obj.get("value", 0), bool(obj.get("globalDefault")), age(obj, now), policy]


def _runtime_class(obj: Json, now: float) -> list[Cell]:
    return [name_of(obj), obj.get("handler", ""), age(obj, now)]


def _flow_schema(obj: Json, now: float) -> list[Cell]:
    spec = obj.get("spec") or {}
    conditions = member(obj, "status", "conditions") or ()
    dangling: Json = next((item for item in conditions if item.get("type") == "Dangling"), {})
    return [
        name_of(obj),
        member(spec, "priorityLevelConfiguration", "name") or "<none>",
        spec.get("matchingPrecedence", 0),
        member(spec, "distinguisherMethod", "type") or "<none>",
        age(obj, now),
        dangling.get("status", "?"),
    ]


def _priority_level(obj: Json, now: float) -> list[Cell]:
    spec = obj.get("spec") or {}
    limited = spec.get("limited") or {}
    queuing = member(limited, "limitResponse", "queuing") or {}
    shares = limited.get("nominalConcurrencyShares", (spec.get("exempt") or {}).get("nominalConcurrencyShares"))
    return [
        name_of(obj),
        spec.get("type", ""),
        _known(shares),
        _known(queuing.get("queues")),
        _known(queuing.get("handSize")),
        _known(queuing.get("queueLengthLimit")),
        age(obj, now),
    ]


def _known(value: int | None) -> Cell:
    return "<none>" if value is None else value


def _webhooks(obj: Json, now: float) -> list[Cell]:
    return [name_of(obj), len(obj.get("webhooks") or ()), age(obj, now)]


def _definition(obj: Json, now: float) -> list[Cell]:
    return [name_of(obj), obj["metadata"].get("creationTimestamp", "<unknown>")]


def _api_service(obj: Json, now: float) -> list[Cell]:
    service = member(obj, "spec", "service")
    available: Json = next((c for c in member(obj, "status", "conditions") or () if c.get("type") == "Available"), {})
    status = available.get("status", "Unknown")
    shown = status if status == "True" or not available.get("reason") else f"{status} ({available['reason']})"
    return [
        name_of(obj),
        f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local",
        shown,
        age(obj, now),
    ]


_WIDE = 1
_CREATED = Column("Created At", "date", "", "When the object was created.")

NODE = Printer(
    (
        NAME,
        Column("Status", "string", "", "The status of the node"),
        Column("Roles", "string", "", "The roles of the node"),
        AGE,
        Column("Version", "string", "", "The version of its kubelet."),
        Column("Internal-IP", priority=_WIDE),
        Column("External-IP", priority=_WIDE),
        Column("OS-Image", priority=_WIDE),
        Column("Kernel-Version", priority=_WIDE),
        Column("Container-Runtime", priority=_WIDE),
    ),
    _node,
)
NAMESPACE = Printer((NAME, Column("Status", "string", "", "The status of the namespace"), AGE), _namespace)
EVENT = Printer(
    (
        Column("Last Seen"),
        Column("Type"),
        Column("Reason"),
        Column("Object"),
        Column("Subobject", priority=_WIDE),
        Column("Source", priority=_WIDE),
        Column("Message"),
        Column("First Seen", priority=_WIDE),
        Column("Count", priority=_WIDE),
        Column("Name", "string", "name", "", _WIDE),
    ),
    _event,
)
SECRET = Printer((NAME, Column("Type"), Column("Data"), AGE), _secret)
CONFIG_MAP = Printer((NAME, Column("Data"), AGE), _config_map)
SERVICE_ACCOUNT = Printer((NAME, Column("Secrets"), AGE), _service_account)
RESOURCE_QUOTA = Printer(
    (
        NAME,
        Column("Request", "string", "", "Used and hard requests."),
        Column("Limit", "string", "", "Used and hard limits."),
        AGE,
    ),
    _quota,
)
LIMIT_RANGE = Printer((NAME, _CREATED), _limit_range)
COMPONENT_STATUS = Printer((NAME, Column("Status"), Column("Message"), Column("Error")), _component_status)
ROLE = Printer((NAME, _CREATED), _role)
ROLE_BINDING = Printer(
    (
        NAME,
        Column("Role"),
        AGE,
        Column("Users", priority=_WIDE),
        Column("Groups", priority=_WIDE),
        Column("ServiceAccounts", priority=_WIDE),
    ),
    _role_binding,
)
CERTIFICATE_SIGNING_REQUEST = Printer(
    (
        NAME,
        AGE,
        Column("SignerName"),
        Column("Requestor"),
        Column("RequestedDuration"),
        Column("Condition"),
    ),
    _signing_request,
)
LEASE = Printer((NAME, Column("Holder"), AGE), _lease)
PRIORITY_CLASS = Printer(
    (NAME, Column("Value", "integer"), Column("Global-Default", "boolean"), AGE, Column("PreemptionPolicy")),
    _priority_class,
)
RUNTIME_CLASS = Printer((NAME, Column("Handler"), AGE), _runtime_class)
FLOW_SCHEMA = Printer(
    (
        NAME,
        Column("PriorityLevel"),
        Column("MatchingPrecedence", "integer"),
        Column("DistinguisherMethod"),
        AGE,
        Column("MissingPL"),
    ),
    _flow_schema,
)
PRIORITY_LEVEL = Printer(
    (
        NAME,
        Column("Type"),
        Column("NominalConcurrencyShares"),
        Column("Queues"),
        Column("HandSize"),
        Column("QueueLengthLimit"),
        AGE,
    ),
    _priority_level,
)
WEBHOOKS = Printer((NAME, Column("Webhooks", "integer"), AGE), _webhooks)
CUSTOM_RESOURCE_DEFINITION = Printer((NAME, _CREATED), _definition)
API_SERVICE = Printer((NAME, Column("Service"), Column("Available"), AGE), _api_service)
