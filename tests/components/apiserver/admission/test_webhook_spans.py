"""Webhook calls in the trace: upstream's span around each, its events, and the HTTP request inside."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.components.apiserver.admission.test_plugins import (
    ACCOUNT,
    DEFAULT,
    Objects,
    admitted,
    answering,
    hook,
    pod,
    registered,
)

from kubeglass.components.api import errors, kinds
from kubeglass.components.api.objects.admissionregistration import WebhookClientConfig
from kubeglass.components.apiserver.admission.webhooks import CallFailed, Webhooks
from kubeglass.components.apiserver.webhookclient import WebhookClient
from kubeglass.components.testing.signals import Traces
from kubeglass.telemetry.tracing.tracer import CLIENT, ERROR, UNSET, Tracer

PATCH = base64.b64encode(b'[{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]').decode()


async def test_a_mutating_call() -> None:
    """The span names configuration, webhook, resource, operation and review; the patch is an event."""
    traces = Traces()
    reader = Objects(DEFAULT, ACCOUNT, registered(kinds.MUTATING_WEBHOOK_CONFIGURATION, hook("m.example.com")))
    call = answering(allowed=True, patch=PATCH, patchType="JSONPatch")
    await admitted(reader, pod(), webhooks=Webhooks(reader, call, tracer=Tracer(traces.sink("apiserver"))))
    (seen,) = traces.spans()
    assert seen.span.name == "Call mutating webhook" and seen.span.status == UNSET
    said = dict(seen.span.attributes)
    assert said.pop("UID")
    assert said == {
        "configuration": "config",
        "webhook": "m.example.com",
        "resource": "/v1, Resource=pods",
        "subresource": "",
        "operation": "CREATE",
    }
    assert [event.name for event in seen.span.events or ()] == ["Request completed", "Patch applied"]


async def test_a_refusal_is_no_failure_of_the_call_but_silence_is() -> None:
    """Who says no has answered; who cannot be reached makes the span an error."""
    traces = Traces()
    tracer = Tracer(traces.sink("apiserver"))
    reader = Objects(DEFAULT, ACCOUNT, registered(kinds.VALIDATING_WEBHOOK_CONFIGURATION, hook("v.example.com")))

    async def silent(where: Any, body: bytes, seconds: float) -> tuple[int, bytes]:
        raise CallFailed("connection refused")

    for call in (answering(allowed=False), silent):
        with pytest.raises(errors.ApiError):
            await admitted(reader, pod(), webhooks=Webhooks(reader, call, tracer=tracer))
    refused, failed = (each.span for each in traces.spans("Call validating webhook"))
    assert (refused.status, failed.status) == (UNSET, ERROR)
    assert [event.name for event in refused.events or ()] == ["Request completed"]


async def test_the_http_request() -> None:
    """A client span as otelhttp makes them; what the URL lets slip of a password is cut."""
    traces = Traces()
    client = WebhookClient(None, Tracer(traces.sink("apiserver")))  # type: ignore[arg-type]  # a URL needs no Service
    with pytest.raises(CallFailed):
        await client.call(WebhookClientConfig(url="https://me:secret@127.0.0.1:1/ask"), b"{}", 1.0)
    await client.close()
    (seen,) = traces.spans()
    assert (seen.span.name, seen.span.kind, seen.span.status) == ("HTTP POST", CLIENT, ERROR)
    assert seen.span.attributes == {
        "http.request.method": "POST",
        "url.full": "https://127.0.0.1:1/ask",
        "server.address": "127.0.0.1",
        "server.port": 1,
    }
