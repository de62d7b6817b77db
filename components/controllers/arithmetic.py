"""Small arithmetic of workloads: percentages, template hashes, conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec

_SAFE_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_FNV_OFFSET, _FNV_PRIME = 0x811C9DC5, 0x01000193


def scaled(value: int | str | None, total: int, *, round_up: bool) -> int:
    """An int-or-percentage of `total`. Raises ValueError on other text."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        raise ValueError(f"invalid value for IntOrString: invalid type: string is not a percentage: {value!r}")
    hundredths = int(value[:-1]) * total
    return -(-hundredths // 100) if round_up else hundredths // 100


def fnv32a(data: bytes, seed: int = _FNV_OFFSET) -> int:
    """The 32-bit FNV-1a hash."""
    state = seed
    for byte in data:
        state = ((state ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return state


def safe_encode(text: str) -> str:
    """Upstream's rand.SafeEncodeString: no vowels and no look-alikes, so no words appear in names."""
    return "".join(_SAFE_ALPHABET[ord(character) % len(_SAFE_ALPHABET)] for character in text)


def template_hash(template: Any, collision_count: int = 0) -> str:
    """The value of pod-template-hash: FNV-1a over the canonical JSON of the template and the collision count."""
    state = fnv32a(msgspec.json.encode(template, order="deterministic"))
    if collision_count:
        state = fnv32a(collision_count.to_bytes(8, "little"), state)
    return safe_encode(str(state))


class Condition(Protocol):
    """What all status conditions have."""

    @property
    def type(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def reason(self) -> str: ...


Json = dict[str, Any]


def condition_of(conditions: Iterable[Mapping[str, Any]], type: str) -> Mapping[str, Any] | None:
    """A raw condition by type."""
    return next((found for found in conditions if found["type"] == type), None)


def with_condition(conditions: Iterable[Mapping[str, Any]], new: Json) -> list[Json]:
    """The conditions with `new` in place of the one of its type.

    One with the same status and reason is left as it is; the transition time moves only when the status does.
    """
    kept = [dict(found) for found in conditions]
    old = condition_of(kept, new["type"])
    if old is not None:
        if old["status"] == new["status"] and old.get("reason", "") == new.get("reason", ""):
            return kept
        if old["status"] == new["status"] and old.get("lastTransitionTime"):
            new = {**new, "lastTransitionTime": old["lastTransitionTime"]}
    return [found for found in kept if found["type"] != new["type"]] + [new]


def without_condition(conditions: Iterable[Mapping[str, Any]], type: str) -> list[Json]:
    """The conditions without the one of that type."""
    return [dict(found) for found in conditions if found["type"] != type]
