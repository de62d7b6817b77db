"""Attaches pods to the network by running CNI plugins, as a container runtime does (CNI specification 1.1, libcni).

The first *.conflist of the configuration directory names the plugins; each is an executable of the plugin
directories. Results are kept, since CHECK and DEL want them back.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import kubeglass
from kubeglass.components.api.kinds import POD
from kubeglass.components.api.semantics import about
from kubeglass.telemetry.tracing.context import format_traceparent
from kubeglass.telemetry.tracing.tracer import CLIENT, SERVER, Tracer

_PLUGIN = Path(kubeglass.__file__).parent / "components/cni/main.py"
_INTERFACE = "eth0"
_TIMEOUT_SECONDS = 30.0
_TRACED = frozenset({"ADD", "DEL"})
REPORT_SPANS = {"KUBEGLASS_SPANS": "stderr"}
"""A plugin lives for milliseconds and exports nothing itself: asked so, it tells its spans on stderr, a line each."""
SPAN_PREFIX = "kubeglass-span: "


class NetworkError(Exception):
    """A CNI plugin that failed or is missing; the text is fit for an event."""


def write_loopback_network(directory: Path, subnet: str) -> tuple[Path, Path]:
    """Set up the built-in network of a node: (configuration directory, plugin directory)."""
    conf, plugins = directory / "net.d", directory / "bin"
    conf.mkdir(parents=True, exist_ok=True)
    plugins.mkdir(parents=True, exist_ok=True)
    (conf / "10-kubeglass.conflist").write_text(
        json.dumps(
            {
                "cniVersion": "1.1.0",
                "name": "kubeglass",
                "plugins": [
                    {"type": "kubeglass-loopback", "ipam": {"subnet": subnet, "dataDir": str(directory / "networks")}}
                ],
            },
            indent=2,
        )
    )
    plugin = plugins / "kubeglass-loopback"
    python = shlex.quote(os.path.realpath(sys.executable))
    plugin.write_text(f"#!/bin/sh\nexec {python} -I -S {shlex.quote(str(_PLUGIN))}\n")
    plugin.chmod(0o755)
    return conf, plugins


class CniNetwork:
    """The network of one node."""

    def __init__(self, conf_dir: Path, plugin_dirs: Sequence[Path], cache_dir: Path, tracer: Tracer = Tracer()) -> None:
        self._tracer = tracer
        self._conf_dir = conf_dir
        self._plugin_dirs = tuple(plugin_dirs)
        self._cache_dir = cache_dir

    async def attach(self, sandbox: str, namespace: str, name: str, uid: str) -> str:
        """ADD: the pod's address. `sandbox` identifies the attachment. Raises NetworkError."""
        config = self._load()
        result: dict[str, Any] | None = None
        try:
            for plugin in config["plugins"]:
                result = await self._run("ADD", config, plugin, sandbox, result, _arguments(namespace, name, uid))
        except NetworkError:
            await self.detach(sandbox)
            raise
        if not result or not result.get("ips"):
            raise NetworkError("the CNI plugins gave no address")
        self._cache_dir.mkdir(parents=True, exist_ok=True)
        (self._cache_dir / sandbox).write_text(json.dumps(result))
        return str(result["ips"][0]["address"]).partition("/")[0]

    async def detach(self, sandbox: str) -> None:
        """DEL, last plugin first. Raises NetworkError."""
        config = self._load()
        result = self._cached(sandbox)
        for plugin in reversed(config["plugins"]):
            await self._run("DEL", config, plugin, sandbox, result)
        (self._cache_dir / sandbox).unlink(missing_ok=True)

    async def check(self, sandbox: str) -> None:
        """CHECK. Raises NetworkError when the attachment is not as it was made."""
        config = self._load()
        for plugin in config["plugins"]:
            await self._run("CHECK", config, plugin, sandbox, self._cached(sandbox))

    async def status(self) -> None:
        """STATUS. Raises NetworkError when no pod could be attached now."""
        config = self._load()
        for plugin in config["plugins"]:
            await self._run("STATUS", config, plugin)

    async def collect_garbage(self, valid: Sequence[str]) -> None:
        """GC: free what belongs to no sandbox in `valid`."""
        config = self._load()
        attachments = [{"containerID": sandbox, "ifname": _INTERFACE} for sandbox in valid]
        for plugin in config["plugins"]:
            await self._run("GC", config, {**plugin, "cni.dev/valid-attachments": attachments})

    def _load(self) -> dict[str, Any]:
        files = sorted(self._conf_dir.glob("*.conflist"))
        if not files:
            raise NetworkError(f"no networks found in {self._conf_dir}")
        try:
            config: dict[str, Any] = json.loads(files[0].read_text())
        except (OSError, ValueError) as error:
            raise NetworkError(f"cannot read {files[0]}: {error}") from error
        return config

    def _cached(self, sandbox: str) -> dict[str, Any] | None:
        try:
            cached: dict[str, Any] = json.loads((self._cache_dir / sandbox).read_text())
        except (OSError, ValueError):
            return None
        return cached

    async def _run(
        self,
        verb: str,
        network: Mapping[str, Any],
        plugin: Mapping[str, Any],
        sandbox: str = "",
        previous: Mapping[str, Any] | None = None,
        arguments: str = "",
    ) -> dict[str, Any] | None:
        """One plugin, one verb."""
        config = {**plugin, "name": network["name"], "cniVersion": network["cniVersion"]}
        if previous is not None:
            config["prevResult"] = previous
        environment = {
            **os.environ,  # as libcni hands its own on
            "CNI_COMMAND": verb,
            "CNI_PATH": ":".join(str(folder) for folder in self._plugin_dirs),
        }
        if sandbox:
            environment |= {
                "CNI_CONTAINERID": sandbox,
                "CNI_IFNAME": _INTERFACE,
                "CNI_NETNS": "/proc/self/ns/net",
                "CNI_ARGS": arguments,
            }
        if verb not in _TRACED:
            return await self._call(verb, plugin["type"], environment, config)
        attributes = {"cni.command": verb, "cni.plugin": plugin["type"], **_about_pod(sandbox, arguments)}
        with self._tracer.span(f"CNI {verb}", kind=CLIENT, attributes=attributes) as span:
            if span.recording:
                environment |= {"TRACEPARENT": format_traceparent(span.context), **REPORT_SPANS}
            return await self._call(verb, plugin["type"], environment, config)

    async def _call(
        self, verb: str, kind: str, environment: Mapping[str, str], config: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        code, stdout, stderr = await _execute(self._find(kind), environment, json.dumps(config).encode())
        said = self._took_spans(kind, stderr.decode(errors="replace"))
        answer: dict[str, Any] | None = _decode(stdout)
        if code != 0:
            message = (answer or {}).get("msg") or said or f"exit status {code}"
            raise NetworkError(f'plugin type="{kind}" failed ({verb.lower()}): {message}')
        return answer

    def _took_spans(self, kind: str, stderr: str) -> str:
        """Record what a plugin says of its own work (see REPORT_SPANS); the rest of what it wrote."""
        rest = []
        for line in stderr.splitlines():
            if not line.startswith(SPAN_PREFIX):
                rest.append(line)
            elif isinstance(told := _decode(line.removeprefix(SPAN_PREFIX).encode()), dict):
                span = self._tracer.named("kubeglass/cni").span(
                    str(told.get("name")),
                    kind=SERVER,
                    start_ns=told.get("start"),
                    attributes={"process.pid": told.get("pid")},
                )
                if told.get("error"):
                    span.error(str(told["error"]))
                span.end(told.get("end"))
        return "\n".join(rest).strip()

    def _find(self, kind: str) -> str:
        for folder in self._plugin_dirs:
            if os.access(folder / kind, os.X_OK):
                return str(folder / kind)
        places = ", ".join(str(folder) for folder in self._plugin_dirs)
        raise NetworkError(f'failed to find plugin "{kind}" in path [{places}]')


def _about_pod(sandbox: str, arguments: str) -> dict[str, str]:
    """Whose network it is: DEL is told no more than the sandbox, which begins with the Pod's uid."""
    told = dict(pair.split("=", 1) for pair in arguments.split(";") if "=" in pair)
    uid = sandbox.rpartition("-")[0]
    return about(POD, told.get("K8S_POD_NAMESPACE", ""), told.get("K8S_POD_NAME", ""), uid)


async def _execute(program: str, environment: Mapping[str, str], stdin: bytes) -> tuple[int, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        program,
        env=dict(environment),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            stdout, stderr = await process.communicate(stdin)
    except TimeoutError as error:
        raise NetworkError(f"{program} did not end within {_TIMEOUT_SECONDS:g} seconds") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, stdout, stderr


def _decode(stdout: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(stdout) if stdout.strip() else None
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _arguments(namespace: str, name: str, uid: str) -> str:
    return f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_UID={uid}"
