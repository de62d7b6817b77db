"""The postStart and preStop hooks of containers. Upstream: pkg/kubelet/lifecycle/handlers.go."""

from __future__ import annotations

import asyncio
import json

from kubeglass import KUBERNETES_VERSION
from kubeglass.components.api.objects import Container, LifecycleHandler, Pod
from kubeglass.components.kubelet.handlers import Handlers

_AGENT = f"kube-lifecycle/{KUBERNETES_VERSION.removeprefix('v').rpartition('.')[0]}"
_HTTP_SECONDS = 30.0


class HookError(Exception):
    """A hook that failed; the text is fit for an event."""


class Hooks:
    """Runs lifecycle hooks."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers

    async def run(
        self, handler: LifecycleHandler, pod: Pod, container: Container, container_id: str, pod_ip: str
    ) -> None:
        """Carry out one hook to its end. Raises HookError."""
        if handler.sleep is not None:
            await asyncio.sleep(handler.sleep.seconds)
        elif handler.exec is not None:
            await self._exec(handler, pod, container, container_id)
        elif handler.http_get is not None:
            await self._http(handler, container, pod_ip)

    async def _exec(self, handler: LifecycleHandler, pod: Pod, container: Container, container_id: str) -> None:
        assert handler.exec is not None
        verdict = await self._handlers.exec(handler.exec, container_id, 0)
        if not verdict.ok:
            command = " ".join(handler.exec.command)
            full_name = f"{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})"
            where = f'Container "{container.name}" in Pod "{full_name}"'
            raise HookError(
                f"Exec lifecycle hook ([{command}]) for {where} failed - error: command '{command}' failed, "
                f"message: {json.dumps(verdict.output)}"
            )

    async def _http(self, handler: LifecycleHandler, container: Container, pod_ip: str) -> None:
        assert handler.http_get is not None
        verdict = await self._handlers.http_get(handler.http_get, container, pod_ip, _HTTP_SECONDS, _AGENT)
        if verdict.ok is not True and not verdict.output.startswith("HTTP probe failed"):
            raise HookError(f'HTTP lifecycle hook ({handler.http_get.path}) failed - error: "{verdict.output}"')
