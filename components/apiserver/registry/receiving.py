"""From request bytes to an object the store can take: syntax, kind, unknown and duplicate fields.

Answers to the apiserver's decoders: a JSON or YAML body, `fieldValidation` Strict, Warn or Ignore, upstream's texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from kubeglass.components.api.errors import BadRequest, UnsupportedMediaType
from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.schema import decoding
from kubeglass.components.api.schema.decoding import DecodeError
from kubeglass.components.api.schema.types import Struct
from kubeglass.components.apiserver.registry.context import WriteContext

Object = dict[str, Any]
_JSON = ("application/json", "")
_YAML = ("application/yaml", "application/vnd.kubernetes.yaml")
_SUPPORTED = "application/json, application/yaml"


def parse_body(data: bytes, content_type: str, kind_name: str, context: WriteContext) -> Object:
    """The object in a request body. Raises BadRequest, UnsupportedMediaType."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in _YAML:
        obj = _load_yaml(data)
    elif media_type in _JSON:
        obj = _load_json(data, kind_name, context)
    else:
        text = f"the body of the request was in an unknown format - accepted media types include: {_SUPPORTED}"
        raise UnsupportedMediaType(text)
    if not isinstance(obj, dict):
        shown = "array" if isinstance(obj, list) else "string" if isinstance(obj, str) else "number"
        text = f"json: cannot unmarshal {shown} into Go value of type struct {{ APIVersion string; Kind string }}"
        raise BadRequest(f"couldn't get version/kind; json parse error: {text}")
    return obj


def check_kind(obj: Object, api_version: str, kind_name: str) -> None:
    """An object may leave out its kind and apiVersion, but not name others. Raises BadRequest."""
    given_version, given_kind = obj.get("apiVersion") or api_version, obj.get("kind") or kind_name
    if given_kind != kind_name:
        text = f'{given_kind} in version "{given_version.rpartition("/")[2]}" cannot be handled as a {kind_name}'
        group, _, version = given_version.rpartition("/")
        detail = f'no kind "{given_kind}" is registered for version "{given_version}"'
        if group or version:
            raise BadRequest(f"{text}: {detail}")
        raise BadRequest(text)
    if given_version != api_version:
        raise BadRequest(
            f"the API version in the data ({given_version}) does not match the expected API version ({api_version})"
        )


def conformed(obj: Object, kind: Kind, struct: Struct, context: WriteContext, trusted: Object | None = None) -> Object:
    """The object with unknown fields dealt with as the request wishes. Raises BadRequest.

    `trusted` is the stored state, whose members need no second look.
    """
    check_kind(obj, kind.api_version, kind.kind)
    try:
        kept, problems = decoding.conform(struct, obj, trusted)
    except DecodeError as error:
        raise BadRequest(_cannot_handle(kind.kind, kind.version, str(error))) from error
    _report(problems, kind.kind, kind.version, context)
    kept["kind"], kept["apiVersion"] = kind.kind, kind.api_version
    return kept


def _report(problems: Iterable[str], kind_name: str, version: str, context: WriteContext) -> None:
    listed = list(problems)
    if not listed or context.field_validation == "Ignore":
        return
    if context.field_validation == "Strict":
        raise BadRequest(_cannot_handle(kind_name, version, "strict decoding error: " + ", ".join(listed)))
    context.warnings.extend(listed)


def _cannot_handle(kind_name: str, version: str, why: str) -> str:
    return f'{kind_name} in version "{version}" cannot be handled as a {kind_name}: {why}'


def _load_json(data: bytes, kind_name: str, context: WriteContext) -> Any:
    try:
        obj = decoding.load(data)
    except DecodeError as error:
        raise BadRequest(f"couldn't get version/kind; json parse error: {error}") from error
    if context.field_validation != "Ignore":
        version = str(obj.get("apiVersion", "")).rpartition("/")[2] if isinstance(obj, dict) else ""
        _report(decoding.duplicate_fields(data, obj), kind_name, version, context)
    return obj


def _load_yaml(data: bytes) -> Any:
    try:
        return yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise BadRequest(f"error converting YAML to JSON: {yaml_problem(error)}") from error


def yaml_problem(error: yaml.YAMLError) -> str:
    """`yaml: line 3: …`, as Go says it: without the lines themselves, which may be secret."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return "yaml: control characters are not allowed"
    return f"yaml: line {error.problem_mark.line + 1}: {error.problem}"
