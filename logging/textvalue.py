"""How klog text prints one value: Go quoting, the block form, JSON for composites. See klog's internal/serialize."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from kubeglass.logging import gojson
from kubeglass.logging.goquote import quote, quote_bytes
from kubeglass.logging.values import (
    Format,
    KObjSlice,
    KRef,
    LogMarshaler,
    Nil,
    NotObjects,
    has_own_text,
    said,
    time_text,
)
from kubeglass.logging.valuetext import Values, Way


class TextValues(Values):
    """Today's value format (klog v2.140): a string is a quoted literal, or a block when it has several lines."""

    def message(self, text: str) -> str:
        """A message: always one quoted literal."""
        return quote(self._sanitizer.text(text)) if "\n" in text else self.known[text]

    def keyed(self, key: str, value: object) -> str:
        """A value under a key that may itself say that the value is secret."""
        rule = self._sanitizer.key_rule(key)
        return self.any(self._sanitizer.under(rule, value) if rule else value)

    def any(self, value: Any) -> str:
        """Any value. Never raises: what a value does wrong is printed in its place."""
        kind = type(value)
        try:
            way = self._ways.get(kind) or self._way_of(kind)
            return way(value)
        except gojson.Unencodable as error:
            return self._failure(f"<internal error: {error}>")
        except NotObjects as error:
            return f"[{quote(str(error))}]" if error.listed else quote(str(error))
        except Exception as error:
            return self._failure(f"<panic: {said(error)}>")

    def composite(self, value: object) -> str:
        """Compact JSON, for whatever has no text of its own."""
        return gojson.encode(self._sanitizer.tree(gojson.plain(value)), html=True)

    def _form(self, clean: str) -> str:
        return block(clean) if "\n" in clean else quote(clean)

    def _failure(self, text: str) -> str:
        return quote(self._sanitizer.text(text))

    def _unruled(self, kind: type) -> Way:
        if not issubclass(kind, msgspec.Struct) and has_own_text(kind):
            return self._own_text
        if hasattr(kind, "marshal_log"):
            return self._marshal_log
        return self.composite

    def _marshal_log(self, value: LogMarshaler) -> str:
        said = value.marshal_log()
        return self.string(said) if isinstance(said, str) else self.composite(said)

    def _reference(self, value: KRef) -> str:
        return self._own_text(value)

    def _references(self, value: KObjSlice) -> str:
        references = value.references()
        tree = None if references is None else [None if ref is None else str(ref) for ref in references]
        return gojson.encode(tree, html=True)

    def _nil(self, value: Nil) -> str:
        return "null"

    def _float(self, value: float) -> str:
        return gojson.number(value)

    def _bytes(self, value: bytes) -> str:
        clean = self._sanitizer.text(bytes(value).decode("utf-8", "surrogateescape"))
        return quote_bytes(clean.encode("utf-8", "surrogateescape"))

    def _datetime(self, value: datetime) -> str:
        return f'"{time_text(value)}"'

    def _format(self, value: Format) -> str:
        return block(gojson.encode_indented(self._sanitizer.tree(gojson.plain(value.value))))


def block(text: str) -> str:
    """The multi-line form: each line behind a tab, nothing escaped, one final newline not shown."""
    lines = text.removesuffix("\n").replace("\n", "\n\t")
    return f"<\n\t{lines}\n >"
