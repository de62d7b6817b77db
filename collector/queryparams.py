"""Query strings to searches, with jaeger-query's words for what is wrong with them. Pure.

Units differ by generation: legacy times are microseconds (dependencies: milliseconds), v3 times RFC 3339.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from multidict import MultiMapping

from kubeglass.collector.database import Search
from kubeglass.collector.segments import CHANGE, ERROR
from kubeglass.logging.goduration import parse_duration
from kubeglass.logging.goquote import quote

_LOOKBACK_NS = 2 * 24 * 3600 * 10**9
_DAY_MS = 24 * 3600 * 1000
_DEFAULT_LIMIT = 100
_GO_JSON = {bool: "bool", int: "number", float: "number", list: "array", dict: "object"}


class BadParameter(ValueError):
    """400, with this text."""


def trace_id(text: str) -> bytes:
    """A trace id of up to 32 hexadecimal digits."""
    if len(text) > 32:
        raise BadParameter(f"TraceID cannot be longer than 32 hex characters: {text}")
    for part in (text,) if len(text) <= 16 else (text[:-16], text[-16:]):
        if not re.fullmatch("[0-9a-fA-F]+", part, re.ASCII):
            raise BadParameter(f"strconv.ParseUint: parsing {quote(part)}: invalid syntax")
    return int(text, 16).to_bytes(16, "big")


def legacy_search(query: MultiMapping[str], now_ns: int) -> Search:
    """The parameters of GET /api/traces. `flag=error|change|any` is ours: with it `service` may be missing."""
    end = _integer(query, "end", 1000, now_ns)
    start = _integer(query, "start", 1000, now_ns - _LOOKBACK_NS)
    limit = _integer(query, "limit", 1, _DEFAULT_LIMIT)
    shortest, longest = _duration(query, "minDuration"), _duration(query, "maxDuration")
    tags = _tags(query)
    if not query.get("service") and not query.get("flag"):
        raise BadParameter("parameter 'service' is required")
    if shortest and longest and longest < shortest:
        raise BadParameter("'maxDuration' should be greater than 'minDuration'")
    return Search(
        service=query.get("service", ""),
        operation=query.get("operation", ""),
        tags=tags,
        start=start,
        end=end,
        shortest=shortest,
        longest=longest,
        flags={"error": ERROR, "change": CHANGE}.get(query.get("flag", ""), 0),
        limit=limit or _DEFAULT_LIMIT,
    )


def dependency_range(query: MultiMapping[str]) -> tuple[int, int]:
    """(start, end) in Unix nanoseconds of GET /api/dependencies."""
    if not query.get("endTs"):
        raise BadParameter("unable to parse param 'endTs': strconv.ParseInt: parsing \"\": invalid syntax")
    end, lookback = _integer(query, "endTs", 1, 0), _integer(query, "lookback", 1, _DAY_MS)
    return (end - lookback) * 1_000_000, end * 1_000_000


def v3_search(query: MultiMapping[str]) -> Search:
    """The parameters of GET /api/v3/traces, in camelCase or as the older snake_case."""
    start = _v3(query, "startTimeMin", "start_time_min", _rfc3339, None)
    end = _v3(query, "startTimeMax", "start_time_max", _rfc3339, None)
    if start is None or end is None:
        raise BadParameter("query.startTimeMin and query.startTimeMax are required")
    if start >= end:
        raise BadParameter("query.startTimeMin must be before query.startTimeMax")
    limit = _v3(query, "searchDepth", "search_depth", _unsigned, 0)
    return Search(
        service=query.get("query.serviceName") or query.get("query.service_name", ""),
        operation=query.get("query.operationName") or query.get("query.operation_name", ""),
        tags=_v3(query, "attributes", "attributes", _string_map, {}),
        start=start,
        end=end,
        shortest=_v3(query, "durationMin", "duration_min", parse_duration, 0),
        longest=_v3(query, "durationMax", "duration_max", parse_duration, 0),
        limit=limit or _v3(query, "num_traces", "num_traces", _unsigned, 0) or _DEFAULT_LIMIT,
    )


def _integer(query: MultiMapping[str], name: str, scale: int, default: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII):
        raise BadParameter(f"unable to parse param '{name}': strconv.ParseInt: parsing {quote(text)}: invalid syntax")
    if not -(1 << 63) <= int(text) < 1 << 63:
        raise BadParameter(
            f"unable to parse param '{name}': strconv.ParseInt: parsing {quote(text)}: value out of range"
        )
    return max(-(1 << 63), min(int(text) * scale, (1 << 63) - 1))


def _duration(query: MultiMapping[str], name: str) -> int:
    text = query.get(name, "")
    try:
        return parse_duration(text) if text else 0
    except ValueError as error:
        raise BadParameter(f"cannot not parse {name}: {error}") from error


def _tags(query: MultiMapping[str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for text in query.getall("tag", []):
        key, colon, value = text.partition(":")
        if not colon:
            raise BadParameter(f"malformed 'tag' parameter, expecting key:value, received: {text}")
        tags[key] = value
    for text in query.getall("tags", []):
        try:
            tags |= _string_map(text)
        except ValueError as error:
            raise BadParameter(f"malformed 'tags' parameter, cannot unmarshal JSON: {error}") from error
    return tags


def _string_map(text: str) -> dict[str, str]:
    document = json.loads(text)
    if not isinstance(document, dict):
        kind = _GO_JSON.get(type(document), "string")
        raise ValueError(f"json: cannot unmarshal {kind} into Go value of type map[string]string")
    for value in document.values():
        if not isinstance(value, str) and value is not None:
            raise ValueError(f"json: cannot unmarshal {_GO_JSON[type(value)]} into Go value of type string")
    return {key: value or "" for key, value in document.items()}


def _v3(query: MultiMapping[str], name: str, old_name: str, read: Callable[[str], Any], default: Any) -> Any:
    for full in (f"query.{name}", f"query.{old_name}"):
        if text := query.get(full, ""):
            try:
                return read(text)
            except ValueError as error:
                raise BadParameter(f"malformed parameter {full}: {error}") from error
    return default


def _unsigned(text: str) -> int:
    if not re.fullmatch("[0-9]+", text, re.ASCII):
        raise ValueError(f"strconv.ParseUint: parsing {quote(text)}: invalid syntax")
    return int(text)


_RFC3339 = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,9})\d*)?(Z|[+-]\d{2}:\d{2})", re.ASCII)


def _rfc3339(text: str) -> int:
    """Unix nanoseconds."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(
            f'parsing time {quote(text)} as "2006-01-02T15:04:05.999999999Z07:00": cannot parse {quote(text)}'
        )
    whole, fraction, zone = match.groups()
    seconds = datetime.fromisoformat(whole + zone).timestamp()
    return int(seconds) * 10**9 + int((fraction or "").ljust(9, "0"))
