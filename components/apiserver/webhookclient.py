"""Calls admission webhooks: HTTPS to a URL or to a Service's cluster address, trusting the caBundle alone.

Connections are kept per authority. Upstream: k8s.io/apiserver/pkg/util/webhook.
"""

from __future__ import annotations

import base64
import ssl
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from kubeglass.components.api import kinds
from kubeglass.components.api.objects.admissionregistration import WebhookClientConfig
from kubeglass.components.apiserver.admission.webhooks import CallFailed
from kubeglass.components.apiserver.storage.reads import Reads
from kubeglass.components.machinery.loopback import host_port
from kubeglass.telemetry.tracing.context import inject
from kubeglass.telemetry.tracing.tracer import CLIENT, Tracer

_SCOPE = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"


class WebhookClient:
    """One HTTP session for all webhooks."""

    def __init__(self, reads: Reads, tracer: Tracer) -> None:
        self._reads = reads
        self._tracer = tracer.named(_SCOPE)
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def close(self) -> None:
        """Give back every connection."""
        if self._session is not None:
            await self._session.close()

    async def call(self, config: WebhookClientConfig, body: bytes, timeout_seconds: float) -> tuple[int, bytes]:
        """POST an AdmissionReview. Raises CallFailed with the reason."""
        url, name = await self._target(config)
        headers = {"Content-Type": "application/json", "Accept": "application/json, */*"}
        options: dict[str, Any] = {"server_hostname": name} if name else {}
        with self._tracer.span("HTTP POST", kind=CLIENT, attributes=_describe(url)) as span:
            inject(headers)
            try:
                async with self._open().post(
                    url,
                    data=body,
                    headers=headers,
                    ssl=self._trusting(config.ca_bundle),
                    timeout=aiohttp.ClientTimeout(total=timeout_seconds),
                    **options,
                ) as response:
                    span.set("http.response.status_code", response.status)
                    if response.status >= 400:
                        span.error("")
                    return response.status, await response.read()
            except TimeoutError as error:
                raise CallFailed(f'Post "{url}": context deadline exceeded') from error
            except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
                raise CallFailed(f'Post "{url}": {error}') from error

    async def _target(self, config: WebhookClientConfig) -> tuple[str, str]:
        """The URL to call, and the name its certificate must carry when that is not the URL's host."""
        if config.url:
            return config.url, ""
        service = config.service
        if service is None:
            raise CallFailed("webhook configuration must have either service or URL")
        record = await self._reads.get(kinds.SERVICE, service.namespace, service.name)
        if record is None:
            raise CallFailed(f'service "{service.name}" not found')
        address = (record.decode().get("spec") or {}).get("clusterIP", "")
        port = host_port(service.port or 443)
        path = (service.path or "").lstrip("/")
        return f"https://{address}:{port}/{path}", f"{service.name}.{service.namespace}.svc"

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session

    def _trusting(self, bundle: str) -> ssl.SSLContext:
        """TLS that trusts the bundle; without one, the system's authorities."""
        context = self._contexts.get(bundle)
        if context is None:
            try:
                pem = base64.b64decode(bundle).decode() if bundle else None
                context = self._contexts[bundle] = ssl.create_default_context(cadata=pem)
            except (ValueError, ssl.SSLError) as error:
                raise CallFailed(f"unable to load root certificates: {error}") from error
        return context


def _describe(url: str) -> dict[str, Any]:
    """A call as otelhttp's transport shows it; a password in the URL is nobody's business."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    return {
        "http.request.method": "POST",
        "url.full": parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),
        "server.address": host,
        "server.port": port,
    }
