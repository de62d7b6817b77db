"""The value types a log call may be given, and what a value "says" when it is printed.

Object references, durations, `Format`, and the rules that find a value's own text. How the
result is written is the business of the formats (textline.py, jsonline.py). Answers to
klog's internal/serialize and k8sReferences.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol, runtime_checkable

from kubeglass.logging.goduration import duration_text


class Duration(int):
    """Nanoseconds that print as Go prints a time.Duration ("1.512ms"); inside lists and maps, as the integer."""

    __slots__ = ()

    @classmethod
    def of_seconds(cls, seconds: float) -> Duration:
        """A duration from the seconds the clocks of Python count in."""
        return cls(round(seconds * 1_000_000_000))

    @classmethod
    def of(cls, delta: timedelta) -> Duration:
        """A duration from a timedelta, exactly."""
        return cls((delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1_000)

    def __str__(self) -> str:
        return duration_text(int(self))

    __repr__ = __str__


class KRef(NamedTuple):
    """A reference to an API object: "namespace/name" in text, an object in JSON."""

    name: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def as_object(self) -> dict[str, str]:
        """The JSON form: name first, no empty namespace."""
        return {"name": self.name, "namespace": self.namespace} if self.namespace else {"name": self.name}


NO_OBJECT = KRef("")


def kref(namespace: str, name: str) -> KRef:
    """klog.KRef: the argument order is upstream's."""
    return KRef(name, namespace)


def kobj(obj: object) -> KRef:
    """klog.KObj: a reference to a decoded object (mapping or typed view), to its metadata, or to None."""
    found = _reference(obj)
    return NO_OBJECT if found is None else found


def kobjs(objects: Iterable[object]) -> list[dict[str, str]]:
    """klog.KObjs: references built at once; text prints them as JSON objects."""
    return [kobj(obj).as_object() for obj in objects]


class KObjSlice:
    """klog.KObjSlice: a list of objects whose references are only built when the line is printed."""

    __slots__ = ("objects",)

    def __init__(self, objects: object) -> None:
        self.objects = objects

    def references(self) -> Sequence[KRef | None] | None:
        """The references, None for no list. Raises NotObjects when the value is something else."""
        if self.objects is None:
            return None
        if not isinstance(self.objects, Sequence) or isinstance(self.objects, str | bytes):
            raise NotObjects(f"<KObjSlice needs a slice, got type {type_name(self.objects)}>", listed=False)
        found: list[KRef | None] = []
        for obj in self.objects:
            reference = None if obj is None else _reference(obj)
            if obj is not None and reference is None:
                needs = "a slice of values implementing KMetadata"
                raise NotObjects(f"<KObjSlice needs {needs}, got type {type_name(obj)}>", listed=True)
            found.append(reference)
        return found


class NotObjects(TypeError):
    """KObjSlice was given something else; text prints the message alone or as a list's only item (`listed`)."""

    def __init__(self, message: str, *, listed: bool) -> None:
        super().__init__(message)
        self.listed = listed


class Format:
    """klog.Format: text prints the value as indented JSON for human eyes; JSON logging ignores the wrapper."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


class Fields(dict[str, Any]):
    """The fields of a typed record in declaration order; knows the record's type, which may be sensitive."""

    __slots__ = ("type_name",)

    def __init__(self, type_name: str, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self.type_name = type_name


class Nil(enum.Enum):
    """Go's typed nils: what an API field that was never set prints as in an upstream line."""

    LIST = "list"
    MAP = "map"


@runtime_checkable
class LogMarshaler(Protocol):
    """A value that chooses what is logged in its place (logr.Marshaler)."""

    def marshal_log(self) -> object:
        """What to print instead: a string, or anything JSON can hold."""
        ...


def error_text(error: BaseException) -> str:
    """What an exception says; one without words says its type."""
    return str(error) or type(error).__name__


def has_own_text(kind: type) -> bool:
    """Whether a type defines its text itself, as a Go Stringer does."""
    text: object = kind.__str__
    return text is not object.__str__


def key_text(key: object) -> str:
    """A key as printed: strings raw, other things the way Go's %s complains about them. Never raises."""
    if isinstance(key, str):
        return key
    try:
        return _strange_key(key)
    except Exception as error:
        return f"%!s(PANIC={said(error)})"


def _strange_key(key: object) -> str:
    if key is None:
        return "%!s(<nil>)"
    if isinstance(key, bool):
        return f"%!s(bool={'true' if key else 'false'})"
    if isinstance(key, int) and not has_own_text(type(key)):
        return f"%!s(int={key})"
    if isinstance(key, float):
        return f"%!s(float64={key})"
    return str(key)


def said(error: BaseException) -> str:
    """What an exception says, even when saying it fails."""
    try:
        return error_text(error)
    except Exception:
        return type(error).__name__


def type_name(value: object) -> str:
    """The name of a value's type as it appears in error texts."""
    return type(value).__qualname__


def time_text(moment: datetime) -> str:
    """A time as Go's Time.String prints it: "2006-01-02 15:04:05.06789 +0000 UTC"."""
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    offset = moment.strftime("%z")[:5] or "+0000"
    zone = moment.tzname() or "UTC"
    if zone.startswith("UTC") and zone != "UTC":
        zone = offset
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction} {offset} {zone}"


def time_rfc3339(moment: datetime) -> str:
    """A time as Go's encoding/json writes it (RFC 3339, no trailing zeros)."""
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    offset = moment.strftime("%z")[:5] or "+0000"
    zone = "Z" if offset == "+0000" else f"{offset[:3]}:{offset[3:]}"
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}{zone}"


def _reference(obj: object) -> KRef | None:
    """The reference to an object, None when it has no metadata."""
    if isinstance(obj, KRef):
        return obj
    metadata = _member(obj, "metadata")
    name = _member(obj if metadata is None else metadata, "name")
    namespace = _member(obj if metadata is None else metadata, "namespace")
    if not isinstance(name, str):
        return None
    return KRef(name, namespace if isinstance(namespace, str) else "")


def _member(obj: object, name: str) -> Any:
    return obj.get(name) if isinstance(obj, Mapping) else getattr(obj, name, None)
