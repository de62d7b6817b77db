"""The record shapes of Kubernetes 1.22 (klog v2.9, the JSON logger of component-base 0.22), for who asks for them.

Text: one line always, composites as Go's %+v, repeated keys stay. JSON: `v` on errors too,
object references as strings, odd arguments dropped in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import FrameType
from typing import Any

from kubeglass.logging import gojson
from kubeglass.logging.goformat import float_text, tree_text
from kubeglass.logging.goquote import quote
from kubeglass.logging.jsonline import JsonFormat
from kubeglass.logging.jsonvalue import JsonValues
from kubeglass.logging.record import STRANGE_KEY, Complaint, Context, Pair, Severity, complete_with_complaints
from kubeglass.logging.textline import TextFormat
from kubeglass.logging.textvalue import TextValues
from kubeglass.logging.values import KRef, LogMarshaler, Nil, key_text
from kubeglass.logging.valuetext import Way


class TextValues122(TextValues):
    """`%q` for strings, `%+v` for everything without a text of its own."""

    def _form(self, clean: str) -> str:
        return quote(clean)

    def _rules(self) -> tuple[tuple[Any, Way], ...]:
        return ((type(None), lambda value: "<nil>"), *super()._rules())

    def _float(self, value: float) -> str:
        return float_text(value)

    def _nil(self, value: Nil) -> str:
        return "[]" if value is Nil.LIST else "map[]"

    def _marshal_log(self, value: LogMarshaler) -> str:
        return self.composite(value)

    def composite(self, value: object) -> str:
        return tree_text(self._sanitizer.tree(gojson.plain(value)))


class TextFormat122(TextFormat):
    """klog v2.9 text."""

    def pairs_line(
        self,
        severity: Severity,
        level: int,
        context: Context,
        message: str,
        error: BaseException | None,
        pairs: Sequence[Pair],
        frame: FrameType,
    ) -> str:
        shown = [
            f" {key_text(key)}={self._values.keyed(key_text(key), value)}"
            for key, value in self._all_pairs(context, error, pairs)
        ]
        return f"{self._header(severity, frame)}{self._values.message(message)}{''.join(shown)}\n"


class JsonValues122(JsonValues):
    """Object references print as strings."""

    def _reference(self, value: KRef) -> str:
        return self.string(str(value))


class JsonFormat122(JsonFormat):
    """The JSON records of 1.22."""

    values_type = JsonValues122

    def line(
        self,
        severity: Severity,
        level: int,
        context: Context,
        message: str,
        error: BaseException | None,
        values: Any,
        frame: FrameType,
    ) -> str:
        return self.pairs_line(severity, level, context, message, error, tuple(values.items()), frame)

    def text_line(self, severity: Severity, level: int, context: Context, text: str, frame: FrameType) -> str:
        return self.pairs_line("I", level, context, text.removesuffix("\n") + "\n", None, (), frame)

    def complaint_line(self, context: Context, complaint: Complaint, frame: FrameType) -> str:
        return self.pairs_line("I", 0, context, complaint.message, None, (), frame)

    def complete(self, arguments: Sequence[Any]) -> tuple[list[Pair], list[Complaint]]:
        pairs, complaints = complete_with_complaints(arguments)
        return pairs, [complaint for complaint in complaints if complaint.message == STRANGE_KEY]

    def _members(
        self,
        severity: Severity,
        level: int,
        context: Context,
        message: str,
        error: BaseException | None,
        pairs: Sequence[Pair],
        frame: FrameType,
    ) -> list[tuple[str, str]]:
        members = self._start(context, message, frame)
        shown = [self._values.member(key, value) for key, value in (*context.pairs, *pairs)]
        verbosity = [("v", str(level))]
        failure = [] if error is None else [self._values.member("err", error)]
        return members + (verbosity + shown + failure if shown else failure + verbosity)
