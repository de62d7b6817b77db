"""Go string literals (`strconv.Quote`): the form every klog message and string value is printed in.

Bytes that are no valid UTF-8 live in Python strings as surrogate escapes and print as `\\xNN`, as in Go.
"""

from __future__ import annotations

import re

_NAMED = {
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
    "\\": r"\\",
    '"': r"\"",
}
_PLAIN_RUN = re.compile(r"[ !#-\[\]-~]+|.", re.DOTALL)


def quote(text: str) -> str:
    """`text` as a double-quoted Go literal on one line."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return f'"{"".join(map(_escape_run, _PLAIN_RUN.findall(text)))}"'


def quote_bytes(data: bytes) -> str:
    """`data` as Go prints a byte slice with %+q: ASCII only."""
    text = data.decode("utf-8", "surrogateescape")
    return f'"{"".join(map(_escape_ascii, text))}"'


def _escape_run(run: str) -> str:
    return run if len(run) > 1 else _escape(run)


def _escape(char: str) -> str:
    named = _NAMED.get(char)
    if named is not None:
        return named
    return char if char.isprintable() else _escape_code(char)


def _escape_ascii(char: str) -> str:
    named = _NAMED.get(char)
    if named is not None:
        return named
    return char if " " <= char <= "~" else _escape_code(char)


def _escape_code(char: str) -> str:
    code = ord(char)
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    if 0xD800 <= code <= 0xDFFF:
        return "".join(f"\\x{byte:02x}" for byte in surrogate_bytes(char))
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def surrogate_bytes(char: str) -> bytes:
    """The raw bytes a lone surrogate stands for."""
    code = ord(char)
    return bytes((code - 0xDC00,)) if 0xDC80 <= code <= 0xDCFF else char.encode("utf-8", "surrogatepass")


def encode_line(text: str) -> bytes:
    """`text` as bytes for a stream; surrogate escapes become the bytes they were, nothing ever raises."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return b"".join(surrogate_bytes(char) if "\ud800" <= char <= "\udfff" else char.encode() for char in text)
