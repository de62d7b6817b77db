"""Audit: what the policy wants recorded about a request, as audit.k8s.io/v1 Events, one JSON line each.

The policy's first matching rule decides the level; `None` records nothing. Secrets' bodies never pass Metadata unless
the policy says so explicitly, as upstream.  Answers to k8s.io/apiserver/pkg/audit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import IO, Any

import msgspec
import yaml

from kubeglass.components.api.user import UserInfo
from kubeglass.components.apiserver.metrics import AuditMetrics
from kubeglass.components.apiserver.requestinfo import RequestInfo
from kubeglass.components.apiserver.wire import Handler, Request, Response, text_response
from kubeglass.components.machinery import clock
from kubeglass.logging.sanitize import Sanitizer
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.context import format_traceparent
from kubeglass.telemetry.tracing.tracer import ANNOTATION

LEVELS = ("None", "Metadata", "Request", "RequestResponse")
MODES = ("blocking", "blocking-strict")
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")


class PolicyError(ValueError):
    """An audit policy that cannot be used."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the policy; empty selectors match everything."""

    level: str
    users: Sequence[str] = ()
    groups: Sequence[str] = ()
    verbs: Sequence[str] = ()
    resources: Sequence[Mapping[str, Any]] = ()
    namespaces: Sequence[str] = ()
    urls: Sequence[str] = ()
    omit_stages: Sequence[str] = ()

    def matches(self, user: UserInfo, info: RequestInfo) -> bool:
        if self.users and user.name not in self.users:
            return False
        if self.groups and not set(self.groups) & set(user.groups):
            return False
        if self.verbs and info.verb not in self.verbs:
            return False
        if self.urls or self.resources or self.namespaces:
            return self._matches_resource(info) if info.is_resource else self._matches_url(info.path)
        return True

    def _matches_url(self, path: str) -> bool:
        return any(url in ("*", path) or (url.endswith("*") and path.startswith(url.rstrip("*"))) for url in self.urls)

    def _matches_resource(self, info: RequestInfo) -> bool:
        if self.urls or (self.namespaces and info.namespace not in self.namespaces):
            return False
        if not self.resources:
            return True
        combined = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
        for wanted in self.resources:
            if wanted.get("group", "") != info.group:
                continue
            names = wanted.get("resourceNames") or ()
            if names and info.name not in names:
                continue
            kinds = wanted.get("resources") or ("*",)
            if any(
                kind in ("*", combined) or kind in (f"{info.resource}/*", f"*/{info.subresource}") for kind in kinds
            ):
                return True
        return False


def read_policy(file: str | Path) -> list[Rule]:
    """The rules of an audit.k8s.io/v1 Policy. Raises PolicyError, OSError."""
    try:
        document = yaml.safe_load(Path(file).read_bytes())
    except yaml.YAMLError as error:
        raise PolicyError(f"failed to read policy file path {file}: {error}") from error
    if not isinstance(document, dict) or document.get("kind") != "Policy":
        raise PolicyError(f"failed to read policy file path {file}: it is no audit.k8s.io/v1 Policy")
    omitted = tuple(document.get("omitStages") or ())
    rules = [_rule(row, omitted) for row in document.get("rules") or ()]
    if not rules:
        raise PolicyError(f"loaded illegal policy with 0 rules from file {file}")
    return rules


def _rule(row: Mapping[str, Any], omitted: Sequence[str]) -> Rule:
    level = row.get("level", "")
    if level not in LEVELS:
        raise PolicyError(f'level: Unsupported value: "{level}": supported values: {", ".join(LEVELS)}')
    return Rule(
        level=level,
        users=row.get("users") or (),
        groups=row.get("userGroups") or (),
        verbs=row.get("verbs") or (),
        resources=row.get("resources") or (),
        namespaces=row.get("namespaces") or (),
        urls=row.get("nonResourceURLs") or (),
        omit_stages=(*omitted, *(row.get("omitStages") or ())),
    )


class Auditor:
    """Applies the policy and writes events. Without rules or a sink it does nothing.

    `strict`: a request whose first event cannot be written is refused.
    """

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        sink: IO[bytes] | None = None,
        registry: Registry | None = None,
        strict: bool = False,
        sanitizer: Sanitizer | None = None,
    ) -> None:
        self._rules = rules
        self._sanitizer = sanitizer or Sanitizer()
        self._sink = sink
        self._strict = strict
        self._metrics = AuditMetrics(registry or Registry())
        self.enabled = bool(rules and sink)

    def annotate(self, request: Request, key: str, value: str) -> None:
        """Add to the event of this request; the first value of a key stays."""
        if self.enabled:
            request.annotations.setdefault(key, value)

    async def filter(self, request: Request, inner: Handler) -> Response:
        caller = request.user
        rule = next((rule for rule in self._rules if rule.matches(caller, request.info)), None)
        level = rule.level if rule else "None"
        self._metrics.audit_level_total.labels(level).inc()
        if rule is None or level == "None":
            return await inner(request)
        received = clock.now_micro()
        if request.trace is not None and request.trace.sampled:
            self.annotate(request, ANNOTATION, format_traceparent(request.trace))
        event = self._event(request, caller, level, received)
        if not self._write(rule, {**event, "stage": "RequestReceived"}) and self._strict:
            return self._refuse(request)
        if request.info.long_running:
            request.stream_began = partial(self._stream_began, rule, event, request)
        response: Response | None = None
        panicked = False
        try:
            response = await inner(request)
            return response
        except ConnectionError:  # the client has gone
            raise
        except Exception:
            panicked = True
            raise
        finally:
            self._ended(rule, event, request, response, panicked=panicked)

    def _stream_began(self, rule: Rule, event: Mapping[str, Any], request: Request, status: int) -> None:
        now = {**_later(event, request), "stage": "ResponseStarted"}
        self._write(rule, {**now, "responseStatus": {"metadata": {}, "code": status}})

    def _ended(
        self, rule: Rule, event: Mapping[str, Any], request: Request, response: Response | None, *, panicked: bool
    ) -> None:
        done = _later(event, request)
        if panicked:
            self._write(rule, {**done, "stage": "Panic", "responseStatus": {"metadata": {}, "code": 500}})
            return
        done |= {"stage": "ResponseComplete", "responseStatus": _status(request, response)}
        if rule.level in ("Request", "RequestResponse"):
            self._attach(done, "requestObject", request.read_body, request.info)
        if rule.level == "RequestResponse" and response is not None and not response.sent:
            self._attach(done, "responseObject", response.body, request.info)
        self._write(rule, done)

    def _event(self, request: Request, caller: UserInfo, level: str, received: str) -> dict[str, Any]:
        info = request.info
        event: dict[str, Any] = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": level,
            "auditID": request.audit_id,
            "requestURI": request.uri,
            "verb": info.verb,
            "user": _user(caller),
            "sourceIPs": [request.peer.rpartition(":")[0]],
            "userAgent": request.headers.get("User-Agent", ""),
            "requestReceivedTimestamp": received,
            "stageTimestamp": received,
        }
        if info.is_resource:
            named = (
                ("resource", info.resource), ("namespace", info.namespace), ("name", info.name),
                ("apiGroup", info.group), ("apiVersion", info.version), ("subresource", info.subresource),
            )  # fmt: skip
            event["objectRef"] = {key: value for key, value in named if value}
        return event

    def _refuse(self, request: Request) -> Response:
        self._metrics.audit_requests_rejected_total.inc()
        text = f'Internal Server Error: "{escape(request.uri)}": failed to store audit event\n'
        return text_response(text, 500)

    def _attach(self, event: dict[str, Any], key: str, body: bytes, info: RequestInfo) -> None:
        """A body as the object it is, what is secret in it replaced; what is no JSON stays out."""
        try:
            obj = msgspec.json.decode(body) if body[:1] in (b"{", b"[") else None
        except msgspec.DecodeError:
            return
        if obj is not None:
            event[key] = self._sanitizer.object(obj, "Secret" if info.resource == "secrets" else "")

    def _write(self, rule: Rule, event: Mapping[str, Any]) -> bool:
        """Whether the event was written, or need not be."""
        if self._sink is None or event["stage"] in rule.omit_stages:
            return True
        self._metrics.audit_event_total.inc()
        try:
            self._sink.write(msgspec.json.encode(self._sanitizer.value(event)) + b"\n")
            self._sink.flush()
        except OSError:
            self._metrics.audit_error_total.labels("log").inc()
            return False
        return True


def _later(event: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """The event with what became known since: as whom the caller acts, and what was noted about the request."""
    found = {**event, "stageTimestamp": clock.now_micro(), "annotations": dict(request.annotations)}
    if request.impersonated is not None:
        found["impersonatedUser"] = _user(request.impersonated)
    return found


def _status(request: Request, response: Response | None) -> dict[str, Any]:
    """How it ended: the code, and of a refusal its words."""
    code = request.streamed_status if response is None else response.status
    status: dict[str, Any] = {"metadata": {}, "code": code} if code else {"metadata": {}}
    if response is not None and code >= 400 and response.body.startswith(b'{"kind":"Status"'):
        said = msgspec.json.decode(response.body)
        status |= {name: said[name] for name in ("status", "message", "reason", "details") if said.get(name)}
    return status


def _user(user: UserInfo) -> dict[str, Any]:
    shown: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        shown["uid"] = user.uid
    if user.extra:
        shown["extra"] = {key: list(values) for key, values in user.extra.items()}
    return shown
