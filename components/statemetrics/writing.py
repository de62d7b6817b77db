"""How metrics about objects are written down: a Family is a row and the function that reads it off an object.

Names, labels and values are kube-state-metrics'. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api import quantity
from kubeglass.components.api.objects import ObjectMeta
from kubeglass.components.machinery import clock
from kubeglass.telemetry.metrics.definitions import NONE, Counter, Gauge

Sample = tuple[tuple[str, ...], float]
Read = Callable[[Any], Iterable[Sample]]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric about one kind. `read` gives the samples of one object, without the identity labels."""

    row: Gauge | Counter
    read: Read


@dataclass(frozen=True, slots=True)
class Families:
    """All metrics about one kind, and the labels that say which object a sample is of."""

    identity: tuple[str, ...]
    identify: Callable[[Any], tuple[str, ...]]
    prefix: str

    def gauge(self, name: str, help: str, read: Read, *labels: str) -> Family:
        return Family(Gauge(f"{self.prefix}_{name}", help, (*self.identity, *labels), stability=NONE), read)

    def counter(self, name: str, help: str, read: Read, *labels: str) -> Family:
        return Family(Counter(f"{self.prefix}_{name}", help, (*self.identity, *labels), stability=NONE), read)


def namespaced(prefix: str, label: str, *, uid: bool = False) -> Families:
    """Identity labels `namespace` and the kind's own, and `uid` where kube-state-metrics gives it."""

    def identify(obj: Any) -> tuple[str, ...]:
        meta = obj.metadata
        return (meta.namespace, meta.name, meta.uid) if uid else (meta.namespace, meta.name)

    return Families(("namespace", label, "uid") if uid else ("namespace", label), identify, prefix)


def cluster_scoped(prefix: str, label: str) -> Families:
    """The identity label is the name alone."""
    return Families((label,), lambda obj: (obj.metadata.name,), prefix)


def one(value: float, *labels: str) -> Iterator[Sample]:
    """A single sample."""
    yield labels, float(value)


def when(stamp: str, *labels: str) -> Iterator[Sample]:
    """A time in seconds since the epoch; nothing for an absent one."""
    if stamp:
        yield labels, clock.parse(stamp)


def some(value: float | None, *labels: str) -> Iterator[Sample]:
    """A sample where there is a value."""
    if value is not None:
        yield labels, float(value)


def choice(value: str, among: Iterable[str], *labels: str) -> Iterator[Sample]:
    """1 for the value, 0 for the others."""
    for each in among:
        yield (*labels, each), float(each == value)


def condition(status: str, *labels: str) -> Iterator[Sample]:
    """A condition's status: exactly one of true, false, unknown is 1."""
    return choice(status.lower(), ("true", "false", "unknown"), *labels)


def created(obj: Any) -> Iterator[Sample]:
    return when(obj.metadata.creation_timestamp)


def deleted(obj: Any) -> Iterator[Sample]:
    return when(obj.metadata.deletion_timestamp)


_BYTES = ("memory", "storage", "ephemeral-storage")


def amounts(resources: Mapping[str, str]) -> Iterator[tuple[str, str, float]]:
    """(resource, unit, value); the resource as a label value holds it: `nvidia_com_gpu`."""
    for name, text in resources.items():
        amount = quantity.parse(text)
        if name == "cpu":
            yield name, "core", amount.as_float()
        elif name in _BYTES or name.startswith("hugepages-"):
            yield sanitized(name), "byte", float(amount.value())
        else:
            yield sanitized(name), "integer", float(amount.value())


def sanitized(name: str) -> str:
    """Everything but letters, digits and `_` turned into `_`."""
    return "".join(character if character.isalnum() or character == "_" else "_" for character in name)


def owners(meta: ObjectMeta) -> Iterator[Sample]:
    """(kind, name, is controller) of each owner; empty strings when there is none."""
    if not meta.owner_references:
        yield ("", "", ""), 1.0
    for reference in meta.owner_references:
        yield (reference.kind, reference.name, "true" if reference.controller else "false"), 1.0


OWNER_LABELS = ("owner_kind", "owner_name", "owner_is_controller")
