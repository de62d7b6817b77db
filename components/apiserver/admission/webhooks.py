"""MutatingAdmissionWebhook and ValidatingAdmissionWebhook: others may change or refuse a write over HTTPS.

The call itself is handed in (`Call`), so this file decides and never opens a socket. Mutating webhooks run one after
another and may be asked a second time (reinvocationPolicy IfNeeded); validating ones run side by side.
matchConditions (CEL) are not evaluated: a webhook with some is called whenever its rules match.
Upstream: k8s.io/apiserver/pkg/admission/plugin/webhook, with its texts.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kubeglass.components.api import kinds, selectors
from kubeglass.components.api.errors import ApiError, BadRequest, InternalError
from kubeglass.components.api.objects import LabelSelector, Object, decode
from kubeglass.components.api.objects.admissionregistration import (
    MutatingWebhook,
    MutatingWebhookConfiguration,
    RuleWithOperations,
    ValidatingWebhook,
    ValidatingWebhookConfiguration,
    WebhookClientConfig,
)
from kubeglass.components.api.patch import PatchError, apply_json_patch
from kubeglass.components.apiserver.admission.chain import Attributes, Operation, Plugin
from kubeglass.components.apiserver.admission.metrics import WebhookMetrics
from kubeglass.components.apiserver.admission.reader import Reader
from kubeglass.telemetry.tracing.tracer import Tracer

Webhook = MutatingWebhook | ValidatingWebhook
Json = dict[str, Any]

Call = Callable[[WebhookClientConfig, bytes, float], Awaitable[tuple[int, bytes]]]
"""(where, AdmissionReview JSON, timeout in seconds) → (HTTP status, body). Raises CallFailed."""

_OPERATIONS: frozenset[Operation] = frozenset({"CREATE", "UPDATE", "DELETE", "CONNECT"})
_NEVER_ASKED = frozenset({kinds.MUTATING_WEBHOOK_CONFIGURATION, kinds.VALIDATING_WEBHOOK_CONFIGURATION})
_DRY_RUN_SAFE = ("None", "NoneOnDryRun")


class CallFailed(Exception):
    """The webhook could not be reached or did not answer in time."""


class Review(Object):
    """The response part of an AdmissionReview."""

    uid: str = ""
    allowed: bool = False
    patch: str = ""
    patch_type: str = ""
    warnings: tuple[str, ...] = ()
    status: Any = None


@dataclass(frozen=True, slots=True)
class Registered:
    """A webhook, and the name of the configuration that it stands in."""

    configuration: str
    hook: Webhook


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Both webhook plugins."""

    reader: Reader
    call: Call
    metrics: WebhookMetrics | None = None
    tracer: Tracer = field(default_factory=Tracer)

    def mutating(self) -> Plugin:
        return Plugin("MutatingAdmissionWebhook", _OPERATIONS, admit=self._mutate)

    def validating(self) -> Plugin:
        return Plugin("ValidatingAdmissionWebhook", _OPERATIONS, validate=self._validate)

    async def _mutate(self, attributes: Attributes) -> None:
        if attributes.kind in _NEVER_ASKED:
            return
        found = await self.reader.list(kinds.MUTATING_WEBHOOK_CONFIGURATION)
        asked = await self._matching(_registered(MutatingWebhookConfiguration, found), attributes)
        seen = []
        for registered in asked:
            await self._ask(registered, attributes, "admit")
            seen.append((registered, attributes.obj))
        for registered, after in seen:
            hook = registered.hook
            if isinstance(hook, MutatingWebhook) and hook.reinvocation_policy == "IfNeeded" and after != attributes.obj:
                await self._ask(registered, attributes, "admit")

    async def _validate(self, attributes: Attributes) -> None:
        if attributes.kind in _NEVER_ASKED:
            return
        found = await self.reader.list(kinds.VALIDATING_WEBHOOK_CONFIGURATION)
        asked = await self._matching(_registered(ValidatingWebhookConfiguration, found), attributes)
        if not asked:
            return
        async with asyncio.TaskGroup() as group:
            verdicts = [group.create_task(self._verdict(registered, attributes)) for registered in asked]
        for verdict in verdicts:
            refusal = verdict.result()
            if refusal is not None:
                raise refusal

    async def _verdict(self, registered: Registered, attributes: Attributes) -> ApiError | None:
        try:
            await self._ask(registered, attributes, "validating")
        except ApiError as error:
            return error
        return None

    async def _matching(self, registered: Iterable[Registered], attributes: Attributes) -> list[Registered]:
        matching = [each for each in registered if any(rule_matches(rule, attributes) for rule in each.hook.rules)]
        if not matching:
            return []
        namespace_labels = await self._namespace_labels(attributes)
        return [
            each
            for each in matching
            if _selects(each.hook.namespace_selector, namespace_labels)
            and any(_selects(each.hook.object_selector, labels) for labels in _object_labels(attributes))
        ]

    async def _namespace_labels(self, attributes: Attributes) -> Mapping[str, str] | None:
        """None for a cluster-scoped object, which every namespaceSelector lets through."""
        if attributes.kind == kinds.NAMESPACE:
            return next(iter(_object_labels(attributes)), {})
        if not attributes.namespace:
            return None
        namespace = await self.reader.get(kinds.NAMESPACE, "", attributes.namespace)
        return ((namespace or {}).get("metadata") or {}).get("labels") or {}

    async def _ask(self, registered: Registered, attributes: Attributes, phase: str) -> None:
        hook = registered.hook
        if attributes.dry_run and hook.side_effects not in _DRY_RUN_SAFE:
            raise BadRequest(f'admission webhook "{hook.name}" does not support dry run')
        started = time.perf_counter()
        code, rejected = 0, True
        try:
            code, review = await self._call(registered, attributes, phase)
            rejected = not review.allowed
            attributes.warnings.extend(review.warnings)
            if rejected:
                raise denied(hook.name, review.status or {})
        except CallFailed as error:
            self._count_failure(hook, phase, attributes.operation)
            if hook.failure_policy != "Ignore":
                text = f'failed calling webhook "{hook.name}": failed to call webhook: {error}'
                raise InternalError(f"Internal error occurred: {text}") from error
            rejected = False
            attributes.annotations[f"failed-open.{phase}.webhook.admission.k8s.io/{hook.name}"] = hook.name
        finally:
            self._observe(hook, phase, attributes.operation, code, rejected, time.perf_counter() - started)

    async def _call(self, registered: Registered, attributes: Attributes, phase: str) -> tuple[int, Review]:
        """Ask one webhook, and take over what it changed: one span, with upstream's attributes and events."""
        hook, request = registered.hook, review_request(attributes)
        described = {
            "configuration": registered.configuration,
            "webhook": hook.name,
            "resource": _resource_text(attributes),
            "subresource": attributes.subresource,
            "operation": attributes.operation,
            "UID": request["uid"],
        }
        name = "Call mutating webhook" if phase == "admit" else "Call validating webhook"
        with self.tracer.span(name, attributes=described) as span:
            code, review = await self._answer(hook, request)
            span.event("Request completed")
            if review.allowed and review.patch and phase == "admit":
                attributes.obj = _patched(hook.name, review, attributes.obj)
                span.event("Patch applied")
        return code, review

    async def _answer(self, hook: Webhook, request: Json) -> tuple[int, Review]:
        body = msgspec.json.encode({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
        code, answer = await self.call(hook.client_config, body, float(hook.timeout_seconds or 10))
        if code != 200:
            raise CallFailed(f"the server responded with status {code}")
        try:
            response = msgspec.json.decode(answer).get("response")
            review = decode(Review, response)
        except (msgspec.MsgspecError, AttributeError, TypeError) as error:
            raise CallFailed("expected response to be an AdmissionReview") from error
        if review.uid != request["uid"]:
            raise CallFailed(f'expected response.uid="{request["uid"]}", got "{review.uid}"')
        return code, review

    def _observe(self, hook: Webhook, phase: str, operation: str, code: int, rejected: bool, seconds: float) -> None:
        if self.metrics is None:
            return
        labels = (hook.name, phase, operation, "true" if rejected else "false")
        self.metrics.webhook_admission_duration_seconds.labels(*labels).observe(seconds)
        self.metrics.webhook_request_total.labels(hook.name, phase, operation, str(code), labels[3]).inc()
        if rejected and code:
            self.metrics.webhook_rejection_count.labels(hook.name, phase, operation, "no_error", str(code)).inc()

    def _count_failure(self, hook: Webhook, phase: str, operation: str) -> None:
        if self.metrics is None:
            return
        if hook.failure_policy == "Ignore":
            self.metrics.webhook_fail_open_count.labels(hook.name, phase).inc()
        else:
            error = "calling_webhook_error"
            self.metrics.webhook_rejection_count.labels(hook.name, phase, operation, error, "0").inc()


def rule_matches(rule: RuleWithOperations, attributes: Attributes) -> bool:
    """Whether a rule speaks of this operation on this resource."""
    kind = attributes.kind
    scopes = {"Namespaced": kind.namespaced, "Cluster": not kind.namespaced}
    return (
        _listed(attributes.operation, rule.operations)
        and _listed(kind.group, rule.api_groups)
        and _listed(kind.version, rule.api_versions)
        and scopes.get(rule.scope, True)
        and any(_resource_matches(pattern, kind.plural, attributes.subresource) for pattern in rule.resources)
    )


def _resource_matches(pattern: str, plural: str, subresource: str) -> bool:
    resource, _, sub = pattern.partition("/")
    return resource in ("*", plural) and (sub == subresource or (sub == "*" and "/" in pattern))


def _listed(value: str, values: tuple[str, ...]) -> bool:
    return "*" in values or value in values


def _selects(selector: LabelSelector | None, labels: Mapping[str, str] | None) -> bool:
    return selector is None or labels is None or selectors.from_label_selector(selector).matches(labels)


def _object_labels(attributes: Attributes) -> list[Mapping[str, str]]:
    found = [obj for obj in (attributes.obj, attributes.old) if obj is not None]
    return [((obj.get("metadata") or {}).get("labels") or {}) for obj in found] or [{}]


def _registered(view: type[Any], found: Iterable[Json]) -> list[Registered]:
    configurations = sorted((decode(view, item) for item in found), key=lambda item: item.metadata.name)
    return [Registered(each.metadata.name, hook) for each in configurations for hook in each.webhooks]


def _resource_text(attributes: Attributes) -> str:
    """As Go prints a GroupVersionResource: `apps/v1, Resource=deployments`."""
    kind = attributes.kind
    return f"{kind.group}/{kind.version}, Resource={kind.plural}"


def review_request(attributes: Attributes) -> Json:
    """The request part of an AdmissionReview."""
    kind = attributes.kind
    gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    gvr = {"group": kind.group, "version": kind.version, "resource": kind.plural}
    request: Json = {
        "uid": str(uuid.uuid4()),
        "kind": gvk,
        "resource": gvr,
        "requestKind": gvk,
        "requestResource": gvr,
        "name": attributes.name,
        "namespace": attributes.namespace,
        "operation": attributes.operation,
        "userInfo": attributes.user.to_json(),
        "object": attributes.obj,
        "oldObject": attributes.old,
        "dryRun": attributes.dry_run,
        "options": attributes.options or None,
    }
    if attributes.subresource:
        request["subResource"] = request["requestSubResource"] = attributes.subresource
    return {name: value for name, value in request.items() if value != ""}


def denied(name: str, status: Json) -> ApiError:
    """`admission webhook "x" denied the request: <message>`."""
    head = f'admission webhook "{name}" denied the request'
    message, reason = status.get("message"), status.get("reason")
    text = f"{head}: {message}" if message else f"{head}: {reason}" if reason else f"{head} without explanation"
    code = status.get("code") or 403
    return ApiError(text, code=code if code >= 400 else 403, reason=reason or "")


def _patched(name: str, review: Review, obj: Json | None) -> Json:
    if review.patch_type != "JSONPatch":
        raise CallFailed(f"webhook returned response.patch but patchType is {review.patch_type!r}")
    try:
        patched: Json = apply_json_patch(obj, msgspec.json.decode(base64.b64decode(review.patch)))
    except (binascii.Error, msgspec.DecodeError, PatchError) as error:
        raise InternalError(f"Internal error occurred: {error}") from error
    return patched
