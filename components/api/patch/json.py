"""JSON patch (RFC 6902), with the messages and leniencies of the library upstream uses (evanphx/json-patch)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubeglass.components.api.patch.errors import PatchError

MAX_OPERATIONS = 10_000
_MISSING = object()


def apply_json_patch(document: Any, patch: Any) -> Any:
    """The document after all operations. Raises PatchError and leaves nothing half done."""
    operations = _operations(patch)
    for operation in operations:
        document = _apply(document, operation)
    return document


def _operations(patch: Any) -> list[Mapping[str, Any]]:
    if not isinstance(patch, list):
        kind = "object" if isinstance(patch, Mapping) else type(patch).__name__
        raise PatchError(f"json: cannot unmarshal {kind} into Go value of type jsonpatch.Patch")
    if len(patch) > MAX_OPERATIONS:
        raise PatchError(f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}")
    for operation in patch:
        if not isinstance(operation, Mapping):
            raise PatchError("json: cannot unmarshal array into Go value of type jsonpatch.Operation")
    return patch


def _apply(document: Any, operation: Mapping[str, Any]) -> Any:
    name = operation.get("op", "unknown")
    path = operation.get("path")
    if not isinstance(path, str):
        raise _refused(f"{name} operation failed to decode path: missing value")
    match name:
        case "add" | "replace":
            if "value" not in operation and name == "replace":
                raise _refused(f"replace operation failed to decode value: missing value at path {path!r}")
            return _set(document, _tokens(path), operation.get("value"), name, path)
        case "remove":
            return _remove(document, _tokens(path), "remove", path)[0]
        case "test":
            found = _get(document, _tokens(path), _MISSING)
            wanted = operation.get("value")
            if found is _MISSING and wanted is None:
                return document
            if found is _MISSING or not _equal(found, wanted):
                raise _refused(f"testing value {path} failed: test failed")
            return document
        case "move" | "copy":
            return _transfer(document, operation, name, path)
    raise _refused(f"Unexpected kind: {name}")


def _transfer(document: Any, operation: Mapping[str, Any], name: str, path: str) -> Any:
    source = operation.get("from")
    if not isinstance(source, str):
        raise _refused(f"{name} operation failed to decode from: missing value")
    if name == "move":
        document, value = _remove(document, _tokens(source), "move", source)
    else:
        value = _get(document, _tokens(source), _MISSING)
        if value is _MISSING:
            raise _missing("copy", source)
    return _set(document, _tokens(path), value, "add", path)


def _tokens(path: str) -> list[str]:
    if not path:
        return []
    if not path.startswith("/"):
        raise _refused(f"add operation does not apply: doc is missing path: {path!r}: missing value")
    return [token.replace("~1", "/").replace("~0", "~") for token in path[1:].split("/")]


def _get(document: Any, tokens: list[str], missing: Any) -> Any:
    for token in tokens:
        if isinstance(document, Mapping) and token in document:
            document = document[token]
        elif isinstance(document, list) and (index := _index(token, len(document) - 1)) is not None:
            document = document[index]
        else:
            return missing
    return document


def _set(document: Any, tokens: list[str], value: Any, name: str, path: str) -> Any:
    if not tokens:
        return value
    token, *rest = tokens
    if isinstance(document, Mapping):
        if rest or name == "replace":
            if token not in document:
                raise _missing(name, path)
            return {**document, token: _set(document[token], rest, value, name, path)}
        return {**document, token: value}
    if isinstance(document, list):
        if rest or name == "replace":
            index = _index(token, len(document) - 1)
            if index is None:
                raise _missing(name, path)
            return [*document[:index], _set(document[index], rest, value, name, path), *document[index + 1 :]]
        index = len(document) if token == "-" else _index(token, len(document))
        if index is None:
            raise _refused(f"add operation does not apply: doc is missing path: {path!r}: invalid index referenced")
        return [*document[:index], value, *document[index:]]
    raise _missing(name, path)


def _remove(document: Any, tokens: list[str], name: str, path: str) -> tuple[Any, Any]:
    if not tokens:
        raise _missing(name, path)
    token, *rest = tokens
    if isinstance(document, Mapping) and token in document:
        if rest:
            child, removed = _remove(document[token], rest, name, path)
            return {**document, token: child}, removed
        return {key: item for key, item in document.items() if key != token}, document[token]
    if isinstance(document, list) and (index := _index(token, len(document) - 1)) is not None:
        if rest:
            child, removed = _remove(document[index], rest, name, path)
            return [*document[:index], child, *document[index + 1 :]], removed
        return [*document[:index], *document[index + 1 :]], document[index]
    raise _missing(name, path)


def _index(token: str, last: int) -> int | None:
    """A position up to `last`; negative ones count from the end, as upstream's library allows."""
    digits = token.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or (len(digits) > 1 and digits[0] == "0"):
        return None
    index = int(token)
    if index < 0:
        index += last + 1
    return index if 0 <= index <= last else None


def _equal(left: Any, right: Any) -> bool:
    """JSON equality: true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_equal(item, right[key]) for key, item in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return bool(left == right)


def _missing(name: str, path: str) -> PatchError:
    return _refused(f"{name} operation does not apply: doc is missing path: {path}: missing value")


def _refused(message: str) -> PatchError:
    return PatchError(message, "operation")
