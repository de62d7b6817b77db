"""The filters of the chain, outermost first. Each is built from Parts and answers, or asks the next handler to.

A filter that refuses returns the Status as a response, so that those around it (audit, tracing, access log) see it.
Texts follow k8s.io/apiserver/pkg/endpoints/filters and pkg/server/filters.
"""

from __future__ import annotations

import asyncio
import random
import time
import traceback
from collections.abc import Awaitable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from kubeglass.components.api.errors import BadRequest, InternalError, Timeout, Unauthorized
from kubeglass.components.api.user import SERVICE_ACCOUNT_PREFIX, SERVICE_ACCOUNTS_GROUP, UserInfo
from kubeglass.components.apiserver import requestinfo, requestspan
from kubeglass.components.apiserver.audit import Auditor
from kubeglass.components.apiserver.auth.authenticators import (
    Authentication,
    AuthenticationFailed,
    NoCredentials,
    extra_headers,
    header_values,
    in_standard_group,
)
from kubeglass.components.apiserver.auth.authorizers import Attributes, Authorization, forbidden
from kubeglass.components.apiserver.auth.metrics import AuthenticationMetrics
from kubeglass.components.apiserver.measure import RequestRecorder, reported_verb
from kubeglass.components.apiserver.wire import ANONYMOUS, Filter, Handler, Request, Response, error_response
from kubeglass.components.machinery import clock
from kubeglass.logging import httplog
from kubeglass.logging.goduration import parse_duration
from kubeglass.logging.goquote import quote
from kubeglass.logging.values import Duration
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.tracing.causality import TRUSTED_GROUPS
from kubeglass.telemetry.tracing.tracer import use

_AUDIT_ID_MAX = 64
_NO_VARIANT, _VARIANT = ~(0b11 << 62), 0b10 << 62
_KNOWN_USERS = frozenset({"admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"})


@dataclass(frozen=True, slots=True)
class Parts:
    """What filters are built from."""

    telemetry: Telemetry
    recorder: RequestRecorder
    authentication: Authentication
    authorization: Authorization
    auditor: Auditor
    flow_control: Filter | None = None
    request_timeout_seconds: float = 60.0
    trace_trusted_groups: Collection[str] = TRUSTED_GROUPS


def panic_recovery(parts: Parts) -> Filter:
    """Whatever happens inside, the client gets an answer, and every answer has the audit id."""
    log, clean = parts.telemetry.log, parts.telemetry.sanitizer.body

    async def answer(request: Request, inner: Handler) -> Response:
        request.audit_id = request.headers.get("Audit-Id", "")[:_AUDIT_ID_MAX] or _new_audit_id()
        request.response_headers["Audit-Id"] = request.audit_id
        request.response_headers["Cache-Control"] = "no-cache, private"
        try:
            response = await inner(request)
        except ConnectionError:
            if request.info.verb != "watch":  # a watch ends when its client leaves
                parts.recorder.aborted(request)
            raise
        except Exception as error:
            log.error(error, "apiserver panic'd on request", method=request.method, URI=request.uri,
                      **{"audit-ID": request.audit_id})  # fmt: skip
            response = error_response(InternalError(f"Internal error occurred: {error}"))
        if response.status >= 400 and response.body:
            response.body = clean(response.body)  # errors echo what they were sent
        return response

    return answer


def request_info(parts: Parts) -> Filter:
    """Method, path and query become the RequestInfo everything behind classifies by."""

    def attach(request: Request, inner: Handler) -> Awaitable[Response]:
        try:
            request.info = requestinfo.remembered(request.method, request.path, request.query_string)
        except requestinfo.BadPath as error:
            return _answer(error_response(InternalError(f"failed to create RequestInfo: {error}")))
        return inner(request)

    return attach


def access_log(parts: Parts) -> Filter | None:
    """One "HTTP" record per request at verbosity 3, keys in upstream's order."""
    log = parts.telemetry.log

    async def logged(request: Request, inner: Handler) -> Response:
        response: Response | None = None
        try:
            response = await inner(request)
            return response
        except Exception as error:
            request.failure = error
            raise
        finally:
            with use(request.trace) if request.trace else nullcontext():
                log.v(httplog.LEVEL).info(httplog.MESSAGE, **_access_values(request, response))

    def write(request: Request, inner: Handler) -> Awaitable[Response]:
        return logged(request, inner) if log.v(httplog.LEVEL) else inner(request)

    return write


def deadline(parts: Parts) -> Filter:
    """Requests that should be short end after a minute, or after the `timeout` they ask for if that is less."""

    async def limit(request: Request, inner: Handler) -> Response:
        if request.info.long_running:
            return await inner(request)
        try:
            seconds = _timeout_seconds(request, parts.request_timeout_seconds)
        except ValueError as error:
            return error_response(BadRequest(f"invalid timeout specified in the request URL - {error}"))
        try:
            async with asyncio.timeout(seconds) as scope:
                return await inner(request)
        except TimeoutError:
            if not scope.expired():
                raise
            parts.recorder.terminated(request, 504)
            return error_response(Timeout("Timeout: request did not complete within the allotted timeout"))

    return limit


def authentication(parts: Parts) -> Filter:
    """Find out who is calling; whoever presents something wrong is sent away."""
    metrics = AuthenticationMetrics(parts.telemetry.metrics)
    log, monotonic, now_ns = parts.telemetry.log, time.monotonic, clock.now_ns

    def observe(result: str, started: float) -> None:
        metrics.authentication_attempts.labels(result).inc()
        metrics.authentication_duration_seconds.labels(result).observe(monotonic() - started)

    async def identify(request: Request, inner: Handler) -> Response:
        started, started_ns = monotonic(), now_ns()
        try:
            user = request.user if request.vouched else parts.authentication.authenticate(request)
        except AuthenticationFailed as error:
            observe("failure" if isinstance(error, NoCredentials) else "error", started)
            log.error(error, "Unable to authenticate the request")
            return error_response(Unauthorized("Unauthorized"))
        observe("success", started)
        metrics.authenticated_user_requests.labels(_compressed(user.name)).inc()
        request.user = user
        request.authenticated_ns = (started_ns, now_ns())
        return await inner(request)

    return identify


def tracing(parts: Parts) -> Filter:
    """The request span; see requestspan.py."""
    return requestspan.tracing(parts.telemetry.tracer, parts.trace_trusted_groups)


def audit(parts: Parts) -> Filter | None:
    """Record the request as the policy says."""
    return parts.auditor.filter if parts.auditor.enabled else _pass


def impersonation(parts: Parts) -> Filter:
    """Act as someone else, if the caller may."""

    async def act(request: Request, inner: Handler) -> Response:
        user = _impersonated(request)
        if user is None:
            text = "requested [{}] without impersonating a user"
            return error_response(InternalError(text.format(", ".join(_impersonate_headers(request)))))
        for wanted in _permissions(request.user, user, header_values(request.headers, "Impersonate-Group")):
            verdict = parts.authorization.authorize(wanted)
            if not verdict.allowed:
                return error_response(forbidden(wanted, verdict.reason))
        request.user = request.impersonated = user
        return await inner(request)

    def impersonate(request: Request, inner: Handler) -> Awaitable[Response]:
        return act(request, inner) if _impersonates(request) else inner(request)

    return impersonate


def flow_control(parts: Parts) -> Filter:
    """API Priority and Fairness; see flowcontrol/."""
    return parts.flow_control or _pass


def authorization(parts: Parts) -> Filter:
    """May the caller do this?"""
    log = parts.telemetry.log

    async def decide(request: Request, inner: Handler) -> Response:
        wanted = Attributes.of(request.user, request.info)
        verdict = parts.authorization.authorize(wanted)
        parts.auditor.annotate(request, "authorization.k8s.io/decision", "allow" if verdict.allowed else "forbid")
        parts.auditor.annotate(request, "authorization.k8s.io/reason", verdict.reason)
        if verdict.allowed:
            return await inner(request)
        if log.v(4):
            log.v(4).info("Forbidden", URI=request.uri, reason=verdict.reason)
        return error_response(forbidden(wanted, verdict.reason))

    return decide


def _new_audit_id() -> str:
    """A random UUID (version 4). No secret, so the kernel need not be asked for its bits as uuid4 does."""
    digits = (random.getrandbits(128) & _NO_VARIANT | _VARIANT).to_bytes(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{digits[16:20]}-{digits[20:]}"


def _pass(request: Request, inner: Handler) -> Awaitable[Response]:
    return inner(request)


async def _answer(response: Response) -> Response:
    return response


def _timeout_seconds(request: Request, maximum: float) -> float:
    asked = request.param("timeout") if request.query_string else ""
    if not asked:
        return maximum
    nanoseconds = parse_duration(asked)
    return min(nanoseconds / 1e9, maximum) if nanoseconds > 0 else maximum


def _logged_verb(request: Request) -> str:
    return request.info.verb.upper() if not request.info.is_resource else reported_verb(request)


def _access_values(request: Request, response: Response | None) -> dict[str, object]:
    """What the access log says of a request, in upstream's order."""
    status = response.status if response else request.streamed_status
    failed = httplog.has_stack(status) and not (response and response.hijacked)
    said = response.body.decode(errors="replace") if failed and response else ""
    return httplog.request_values(
        verb=_logged_verb(request),
        uri=request.uri,
        latency=Duration.of_seconds(time.monotonic() - request.received),
        user_agent=request.headers.get("User-Agent", ""),
        audit_id=request.audit_id,
        source=request.peer,
        added=request.log_values.items(),
        status=status,
        hijacked=bool(response and response.hijacked),
        status_stack=_stack(request.failure) if failed else "",
        added_info=f"\nlogging error output: {quote(said)}\n" if said else "",
    )


def _stack(error: BaseException | None) -> str:
    """How the handler came to fail."""
    return "\n" + "".join(traceback.format_exception(error)) if error is not None else ""


def _compressed(username: str) -> str:
    if username in _KNOWN_USERS:
        return username
    return "email_id" if "@" in username else "other"


def _impersonate_headers(request: Request) -> list[str]:
    return [name for name in request.headers if name.lower().startswith("impersonate-")]


def _impersonates(request: Request) -> bool:
    """Whether any header begins so; all names at once, because every request is asked."""
    return "impersonate-" in "\n".join(request.headers).lower() and bool(_impersonate_headers(request))


def _impersonated(request: Request) -> UserInfo | None:
    name = request.headers.get("Impersonate-User", "")
    if not name:
        return None
    groups = tuple(header_values(request.headers, "Impersonate-Group"))
    if name.startswith(SERVICE_ACCOUNT_PREFIX) and not groups:
        namespace = name.removeprefix(SERVICE_ACCOUNT_PREFIX).partition(":")[0]
        groups = (SERVICE_ACCOUNTS_GROUP, f"{SERVICE_ACCOUNTS_GROUP}:{namespace}")
    extra = extra_headers(request.headers, ("Impersonate-Extra-",))
    user = UserInfo(name, request.headers.get("Impersonate-Uid", ""), groups, extra)
    if name == ANONYMOUS.name:
        return replace(user, groups=tuple(dict.fromkeys((*groups, *ANONYMOUS.groups))))
    return in_standard_group(user)


def _permissions(caller: UserInfo, user: UserInfo, groups: Sequence[str]) -> list[Attributes]:
    """What the caller must be allowed to impersonate."""

    def wanted(resource: str, name: str, group: str = "", subresource: str = "", namespace: str = "") -> Attributes:
        return Attributes(
            caller, "impersonate", group=group, version="v1", resource=resource, subresource=subresource,
            namespace=namespace, name=name,
        )  # fmt: skip

    if user.name.startswith(SERVICE_ACCOUNT_PREFIX) and user.name.count(":") == 3:
        namespace, name = user.name.removeprefix(SERVICE_ACCOUNT_PREFIX).split(":")
        needed = [wanted("serviceaccounts", name, namespace=namespace)]
    else:
        needed = [wanted("users", user.name)]
    needed += [wanted("groups", group) for group in groups]
    about = "authentication.k8s.io"
    needed += [
        wanted("userextras", value, subresource=key, group=about)
        for key, values in user.extra.items()
        for value in values
    ]
    if user.uid:
        needed.append(wanted("uids", user.uid, group=about))
    return needed
