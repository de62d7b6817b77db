"""What a simulated node answers to requests that want a container's process: why there is nothing to give. Pure."""

from __future__ import annotations

_WHY = {
    "containerLogs": "it has no logs",
    "exec": "there is none to execute a command in",
    "attach": "there is none to attach to",
    "portForward": "nothing listens on its ports",
}


def refusal(path: str) -> str:
    """The answer to a path of the kubelet's API; empty for others."""
    first, *rest = path.strip("/").split("/")
    why = _WHY.get(first)
    if why is None or len(rest) < 2:
        return ""
    pod = f'pod "{rest[1]}"'
    whose = f'container "{rest[-1]}" in {pod}' if len(rest) > 2 and first != "portForward" else pod
    return f"{whose} is simulated: no process runs, so {why}"
