"""Keeping secrets out of everything that leaves the process: log records, spans, Events, audit, error echoes.

By type first (`Secret`, sensitive API fields), by key second (secretkeys.py), by pattern last
(secrettext.py). A value found secret becomes a marker that names the rule; everything else
stays, byte for byte. If inspection itself fails, the value is withheld, never the record.
"""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

T = TypeVar("T")

Mode = Literal["off", "types", "full"]


def marker(rule: str) -> str:
    """What is printed in place of a secret; names the rule that found it."""
    return f"[redacted:{rule}]"


class Secret(Generic[T]):
    """A value that prints as redacted in every format, whatever the sanitizer's mode. `reveal()` gives it back."""

    __slots__ = ("_value", "rule")

    def __init__(self, value: T, rule: str = "secret") -> None:
        self._value = value
        self.rule = rule

    def reveal(self) -> T:
        """The value itself, for the one place that needs it."""
        return self._value

    def __str__(self) -> str:
        return marker(self.rule)

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and bool(self._value == other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a Secret is never pickled or copied out of the process")


class Sanitizer:
    """Finds and replaces secrets. Shared by every sink of a process; methods never raise."""

    __slots__ = ("mode",)

    def __init__(self, mode: Mode = "full") -> None:
        self.mode = mode

    def text(self, text: str) -> str:
        """Free text with the secrets in it replaced."""
        return text

    def key_rule(self, key: str) -> str:
        """The rule by which a key says that its value is secret; "" for an innocent key."""
        return ""

    def under(self, rule: str, value: object) -> object:
        """What to show of a value whose key is secret by `rule`."""
        return marker(rule)

    def tree(self, tree: object) -> object:
        """A JSON tree with the secrets in it replaced."""
        return tree

    def value(self, value: object) -> object:
        """Any value with the secrets in it replaced."""
        return value
