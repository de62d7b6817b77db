"""What is counted about requests, in upstream's vocabulary of verbs, scopes and components.

Recorded when the handler has returned; for a watch that is when its stream ends.
Answers to k8s.io/apiserver/pkg/endpoints/metrics.
"""

from __future__ import annotations

from kubeglass.components.apiserver.metrics import LoadMetrics, RequestMetrics
from kubeglass.components.apiserver.registry.served import ServedKinds
from kubeglass.components.apiserver.requestinfo import RequestInfo, truthy
from kubeglass.components.apiserver.wire import Request, Response
from kubeglass.telemetry.metrics.registry import Registry

_CONNECT = frozenset({"log", "exec", "attach", "portforward", "proxy"})
_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_APPLY = "application/apply-patch+"
_HEALTH = ("/healthz", "/livez", "/readyz")
_PATHS = (
    *_HEALTH, "/metrics/slis", "/metrics", "/openapi/v2", "/openapi/v3", "/version", "/statusz", "/flagz",
    "/.well-known/openid-configuration", "/openid/v1/jwks", "/debug/api_priority_and_fairness", "/debug/flags",
    "/apis", "/api",
)  # fmt: skip
LOOPBACK_USER = "system:apiserver"
_DEPRECATED = {
    ("", "v1", "endpoints"): "",
    ("", "v1", "componentstatuses"): "",
    ("flowcontrol.apiserver.k8s.io", "v1beta1", "flowschemas"): "1.26",
    ("flowcontrol.apiserver.k8s.io", "v1beta1", "prioritylevelconfigurations"): "1.26",
    ("flowcontrol.apiserver.k8s.io", "v1beta2", "flowschemas"): "1.29",
    ("flowcontrol.apiserver.k8s.io", "v1beta2", "prioritylevelconfigurations"): "1.29",
    ("flowcontrol.apiserver.k8s.io", "v1beta3", "flowschemas"): "1.32",
    ("flowcontrol.apiserver.k8s.io", "v1beta3", "prioritylevelconfigurations"): "1.32",
}
"""Deprecated API versions (group, version, resource) → the release that removes them, "" when none is set."""


def reported_verb(request: Request) -> str:
    """The `verb` label: from the HTTP method, with the cases upstream tells apart."""
    info = request.info
    if info.is_resource and info.subresource in _CONNECT:
        return "CONNECT"
    method = request.method
    if method in ("GET", "HEAD"):
        if info.verb == "watch" or (request.query_string and truthy(request.query, "watch")):
            return "WATCH"
        return "LIST" if info.scope not in ("resource", "") else "GET"
    if method == "PATCH" and request.headers.get("Content-Type", "").startswith(_APPLY):
        return "APPLY"
    return method if method in _METHODS else "other"


def dry_run_label(request: Request) -> str:
    """The `dry_run` label: what was asked for, "invalid" for anything unknown."""
    asked = request.query.get("dryRun", []) if request.query_string else []
    if not asked:
        return ""
    return "All" if all(value == "All" for value in asked) else "invalid"


def path_label(path: str) -> str:
    """The label of a path outside the resources: what is served there, and "" for anything else."""
    return next((known for known in _PATHS if path == known or path.startswith(f"{known}/")), "")


class _Series:
    """The children one kind of answer moves, looked up once."""

    __slots__ = ("deprecated", "duration", "size", "sli", "slo", "total")

    def __init__(
        self, rows: RequestMetrics, verb: str, dry_run: str, labels: tuple[str, str, str, str, str, str], status: int
    ) -> None:
        self.total = rows.request_total.labels(verb, dry_run, *labels, str(status))
        self.duration = rows.request_duration_seconds.labels(verb, dry_run, *labels)
        self.sli = None if dry_run else rows.request_sli_duration_seconds.labels(verb, *labels)
        self.slo = rows.request_slo_duration_seconds.labels(verb, *labels)
        self.size = rows.response_sizes.labels(verb, *labels) if verb in ("GET", "LIST") else None
        removed = _DEPRECATED.get(labels[:3])
        self.deprecated = None if removed is None else rows.requested_deprecated_apis.labels(*labels[:4], removed)


class RequestRecorder:
    """Binds the request rows and fills them.

    Callers choose paths, groups and resources, so only those that are served become label values.
    """

    def __init__(self, registry: Registry, served: ServedKinds) -> None:
        self.rows = RequestMetrics(registry)
        self._load = LoadMetrics(registry)
        self._served = served
        self._series: dict[tuple[str, str, tuple[str, str, str, str, str, str], int], _Series] = {}

    def labels_of(self, info: RequestInfo) -> tuple[str, str, str, str, str, str]:
        """group, version, resource, subresource, scope, component. For other paths the subresource holds the path."""
        if not info.is_resource:
            path = path_label(info.path)
            return "", "", "", path, "", "" if path in _HEALTH else "apiserver"
        kind = self._served.find(info.group, info.version, info.resource)
        if kind is None:
            return "", "", "", "", info.scope, "apiserver"
        subresource = info.subresource if info.subresource and kind.subresource(info.subresource) else ""
        return info.group, info.version, info.resource, subresource, info.scope, "apiserver"

    def done(self, request: Request, response: Response, seconds: float) -> None:
        """A handler has returned after `seconds` since the request arrived."""
        key = (reported_verb(request), dry_run_label(request), self.labels_of(request.info), response.status)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(self.rows, *key)
        series.total.inc()
        series.duration.observe(seconds)
        if series.sli is not None:
            counted = max(0.0, seconds - request.not_counted_seconds)
            series.sli.observe(counted)
            series.slo.observe(counted)
        if series.size is not None:
            series.size.observe(response.body_size)
        if series.deprecated is not None:
            series.deprecated.set(1)
        if request.user.name == LOOPBACK_USER:
            group, _, resource, subresource, *_ = key[2]
            self.rows.selfrequest_total.labels(key[0], group, resource, subresource).inc()

    def body_read(self, request: Request, size: int) -> None:
        """The body of a write was read."""
        group, _, resource = self.labels_of(request.info)[:3]
        verb = request.info.verb.replace("deletecollection", "delete_collection")
        self.rows.request_body_size_bytes.labels(group, resource, verb).observe(size)

    def rejected(self, request: Request) -> None:
        """A request was turned away for overload before it reached a handler."""
        verb, labels = reported_verb(request), self.labels_of(request.info)
        self.rows.request_total.labels(verb, dry_run_label(request), *labels, "429").inc()
        self.terminated(request, 429)
        kind = "readOnly" if request.info.verb in ("get", "list", "watch") else "mutating"
        self.rows.dropped_requests_total.labels(kind).inc()

    def terminated(self, request: Request, code: int) -> None:
        """A request was ended in self-defence."""
        labels = self.labels_of(request.info)
        self.rows.request_terminations_total.labels(reported_verb(request), *labels, str(code)).inc()

    def aborted(self, request: Request) -> None:
        """The client went away before its answer."""
        labels = self.labels_of(request.info)[:5]
        self.rows.request_aborts_total.labels(reported_verb(request), *labels).inc()

    def long_running(self, request: Request, change: int) -> None:
        """A long-running request began (+1) or ended (-1)."""
        self._load.longrunning_requests.labels(reported_verb(request), *self.labels_of(request.info)).inc(change)
