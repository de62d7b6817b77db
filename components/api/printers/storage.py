"""Volumes, claims, classes and CSI kinds."""

from __future__ import annotations

from collections.abc import Iterable

from kubeglass.components.api.printers.cells import AGE, NAME, Json, age, member, name_of
from kubeglass.components.api.table import Cell, Column, Printer

_SHORT_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def _modes(modes: Iterable[str] | None) -> str:
    return ",".join(dict.fromkeys(_SHORT_MODES.get(mode, mode) for mode in modes or ()))


def _phase(obj: Json) -> str:
    phase: str = member(obj, "status", "phase") or ""
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else phase


def _volume(obj: Json, now: float) -> list[Cell]:
    claim = member(obj, "spec", "claimRef")
    return [
        name_of(obj),
        member(obj, "spec", "capacity", "storage") or "",
        _modes(member(obj, "spec", "accessModes")),
        member(obj, "spec", "persistentVolumeReclaimPolicy") or "",
        _phase(obj),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        member(obj, "spec", "storageClassName") or "",
        member(obj, "spec", "volumeAttributesClassName") or "<unset>",
        member(obj, "status", "reason") or "",
        age(obj, now),
        member(obj, "spec", "volumeMode") or "<unset>",
    ]


def _claim(obj: Json, now: float) -> list[Cell]:
    bound = member(obj, "spec", "volumeName") or ""
    return [
        name_of(obj),
        _phase(obj),
        bound,
        (member(obj, "status", "capacity", "storage") or "") if bound else "",
        _modes(member(obj, "status", "accessModes")) if bound else "",
        member(obj, "spec", "storageClassName") or "",
        member(obj, "spec", "volumeAttributesClassName") or "<unset>",
        age(obj, now),
        member(obj, "spec", "volumeMode") or "<unset>",
    ]


def _class(obj: Json, now: float) -> list[Cell]:
    annotations = obj["metadata"].get("annotations") or {}
    name = name_of(obj) + (" (default)" if annotations.get(_DEFAULT_CLASS) == "true" else "")
    return [
        name,
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"),
        obj.get("volumeBindingMode", "Immediate"),
        bool(obj.get("allowVolumeExpansion")),
        age(obj, now),
    ]


def _attachment(obj: Json, now: float) -> list[Cell]:
    return [
        name_of(obj),
        member(obj, "spec", "attacher") or "",
        member(obj, "spec", "source", "persistentVolumeName") or "",
        member(obj, "spec", "nodeName") or "",
        bool(member(obj, "status", "attached")),
        age(obj, now),
    ]


def _driver(obj: Json, now: float) -> list[Cell]:
    spec = obj.get("spec") or {}
    audiences = ",".join(item.get("audience", "") for item in spec.get("tokenRequests") or ()) or "<unset>"
    return [
        name_of(obj),
        bool(spec.get("attachRequired", True)),
        bool(spec.get("podInfoOnMount")),
        bool(spec.get("storageCapacity")),
        audiences,
        bool(spec.get("requiresRepublish")),
        ",".join(spec.get("volumeLifecycleModes") or ()) or "<none>",
        age(obj, now),
    ]


def _csi_node(obj: Json, now: float) -> list[Cell]:
    return [name_of(obj), len(member(obj, "spec", "drivers") or ()), age(obj, now)]


PERSISTENT_VOLUME = Printer(
    (
        NAME,
        Column("Capacity"),
        Column("Access Modes"),
        Column("Reclaim Policy"),
        Column("Status"),
        Column("Claim"),
        Column("StorageClass"),
        Column("VolumeAttributesClass"),
        Column("Reason"),
        AGE,
        Column("VolumeMode", priority=1),
    ),
    _volume,
)
PERSISTENT_VOLUME_CLAIM = Printer(
    (
        NAME,
        Column("Status"),
        Column("Volume"),
        Column("Capacity"),
        Column("Access Modes"),
        Column("StorageClass"),
        Column("VolumeAttributesClass"),
        AGE,
        Column("VolumeMode", priority=1),
    ),
    _claim,
)
STORAGE_CLASS = Printer(
    (
        NAME,
        Column("Provisioner"),
        Column("ReclaimPolicy"),
        Column("VolumeBindingMode"),
        Column("AllowVolumeExpansion"),
        AGE,
    ),
    _class,
)
VOLUME_ATTACHMENT = Printer(
    (NAME, Column("Attacher", "string", "name"), Column("PV"), Column("Node"), Column("Attached", "boolean"), AGE),
    _attachment,
)
CSI_DRIVER = Printer(
    (
        NAME,
        Column("AttachRequired", "boolean"),
        Column("PodInfoOnMount", "boolean"),
        Column("StorageCapacity", "boolean"),
        Column("TokenRequests"),
        Column("RequiresRepublish", "boolean"),
        Column("Modes"),
        AGE,
    ),
    _driver,
)
CSI_NODE = Printer((NAME, Column("Drivers", "integer"), AGE), _csi_node)
