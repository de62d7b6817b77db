"""Query parameters of reads, checked as upstream checks ListOptions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kubeglass.components.api import fields, selectors
from kubeglass.components.api.errors import BadRequest, Cause, invalid
from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver.requestinfo import truthy
from kubeglass.components.apiserver.storage.reads import EXACT, NOT_OLDER_THAN, ListOptions
from kubeglass.components.apiserver.storage.records import ALL_FIELDS, Filter
from kubeglass.components.apiserver.wire import Request

_MATCHES = (EXACT, NOT_OLDER_THAN)


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How a WATCH was asked for."""

    resource_version: str
    bookmarks: bool
    initial_events: bool | None
    timeout_seconds: int


def wanted(request: Request, kind: Kind, selectable: Mapping[str, str]) -> Filter:
    """Which objects a list or watch is about. Raises BadRequest."""
    info = request.info
    try:
        labels = selectors.parse(request.param("labelSelector"))
        text = request.param("fieldSelector")
        chosen = fields.parse_for(kind, text, selectable) if text else ALL_FIELDS
    except selectors.SelectorError as error:
        raise BadRequest(str(error)) from error
    name = chosen.required_value("metadata.name") or ""
    return Filter(kind, info.namespace if kind.namespaced else "", name, labels, chosen, selectable)


def list_options(request: Request) -> ListOptions:
    """Raises BadRequest, Invalid."""
    options = ListOptions(
        request.param("resourceVersion"),
        request.param("resourceVersionMatch"),
        integer(request, "limit"),
        request.param("continue"),
    )
    causes = list(_list_complaints(options, request))
    if causes:
        raise invalid("ListOptions", "meta.k8s.io", "", causes)
    return options


def watch_options(request: Request) -> WatchOptions:
    """Raises BadRequest, Invalid."""
    initial = truthy(request.query, "sendInitialEvents") if "sendInitialEvents" in request.query else None
    causes = list(_watch_complaints(request, initial))
    if causes:
        raise invalid("ListOptions", "meta.k8s.io", "", causes)
    return WatchOptions(
        request.param("resourceVersion"),
        truthy(request.query, "allowWatchBookmarks"),
        initial,
        integer(request, "timeoutSeconds"),
    )


def integer(request: Request, name: str) -> int:
    """A whole number parameter, 0 when absent. Raises BadRequest with Go's words."""
    text = request.param(name) if request.query_string else ""
    if not text:
        return 0
    try:
        return int(text)
    except ValueError as error:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error


def _forbidden(field: str, text: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {text}", field)


def _unsupported(match: str, known: tuple[str, ...]) -> Cause:
    shown = ", ".join(f'"{value}"' for value in known)
    return Cause(
        "FieldValueNotSupported", f'Unsupported value: "{match}": supported values: {shown}', "resourceVersionMatch"
    )


def _list_complaints(options: ListOptions, request: Request) -> list[Cause]:
    causes = []
    field = "resourceVersionMatch"
    if options.match:
        if not options.resource_version:
            causes.append(_forbidden(field, f"{field} is forbidden unless resourceVersion is provided"))
        if options.continue_:
            causes.append(_forbidden(field, f"{field} is forbidden when continue is provided"))
        if options.match not in _MATCHES:
            causes.append(_unsupported(options.match, (*_MATCHES, "")))
        if options.match == EXACT and options.resource_version == "0":
            causes.append(_forbidden(field, f'{field} "exact" is forbidden for resourceVersion "0"'))
    if "sendInitialEvents" in request.query:
        causes.append(_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return causes


def _watch_complaints(request: Request, initial: bool | None) -> list[Cause]:
    causes = []
    field, match = "resourceVersionMatch", request.param("resourceVersionMatch")
    if initial is not None and match != NOT_OLDER_THAN:
        causes.append(_forbidden(field, f"sendInitialEvents requires setting {field} to {NOT_OLDER_THAN}"))
    if match:
        if initial is None:
            causes.append(_forbidden(field, f"{field} is forbidden for watch unless sendInitialEvents is provided"))
        if match != NOT_OLDER_THAN:
            causes.append(_unsupported(match, (NOT_OLDER_THAN,)))
        if request.param("continue"):
            causes.append(_forbidden(field, f"{field} is forbidden when continue is provided"))
    return causes
