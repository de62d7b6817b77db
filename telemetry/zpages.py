"""/statusz and /flagz: what a component is and how it was started, as text or as config.k8s.io objects.

Text is for people: upstream even varies its delimiter to keep scripts away; ours is always the documented one.
Follows k8s.io/component-base/zpages of v1.36 (v1beta1; v1alpha1 carries a deprecation warning).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec
import yaml

from kubeglass.telemetry.metrics.negotiation import parse_accept

_WARNING: Final = (
    "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees "
    "and is for debugging purposes only."
)
_DEPRECATED: Final = '299 - "This version of the %s endpoint is deprecated. Please use a newer version."'
_LISTED_ELSEWHERE: Final = ("/apis", "/api", "/openid", "/openapi", "/.well-known")


@dataclass(frozen=True, slots=True)
class About:
    """The facts /statusz shows. `runtime` stands where upstream names its Go version; times are UTC."""

    component: str
    binary_version: str
    emulation_version: str
    runtime: str
    started: datetime


class Page(NamedTuple):
    """A rendered page; status 406 when the Accept header asks for something we do not write."""

    status: int
    content_type: str
    body: str
    warning: str = ""


def statusz(about: About, paths: Sequence[str], accept: str, now: datetime) -> Page:
    """The /statusz page."""
    listed = sorted(path for path in paths if not path.startswith(_LISTED_ELSEWHERE))
    seconds = max(int((now - about.started).total_seconds()), 0)
    minutes, rest = divmod(seconds, 60)
    text = (
        f"\n{about.component} statusz\n{_WARNING}\n\n"
        f"Started: {about.started.astimezone(UTC):%a %b %e %H:%M:%S UTC %Y}\n"
        f"Up: {minutes // 60} hr {minutes % 60:02d} min {rest:02d} sec\n"
        f"Go version: {about.runtime}\n"
        f"Binary version: {about.binary_version}\n"
        f"Emulation version: {about.emulation_version}\n"
        f"Paths: {' '.join(listed)}\n"
    )
    fields = {
        "startTime": f"{about.started.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "uptimeSeconds": seconds,
        "goVersion": about.runtime,
        "binaryVersion": about.binary_version,
        "emulationVersion": about.emulation_version,
        "paths": listed,
    }
    return _page("Statusz", about.component, text, fields, accept)


def flagz(component: str, flags: Mapping[str, str], accept: str) -> Page:
    """The /flagz page. Values arrive as they may be shown: the caller redacts secrets."""
    ordered = dict(sorted(flags.items()))
    lines = "".join(f"{name}={value}\n" for name, value in ordered.items())
    return _page("Flagz", component, f"\n{component} flagz\n{_WARNING}\n\n{lines}", {"flags": ordered}, accept)


def _page(kind: str, component: str, text: str, fields: Mapping[str, object], accept: str) -> Page:
    for media in parse_accept(accept or "*/*"):
        if media.type in ("*/*", "text/*", "text/plain"):
            return Page(200, "text/plain; charset=utf-8", text)
        version = media.parameters.get("v", "")
        asked = media.parameters.get("g"), media.parameters.get("as")
        if asked != ("config.k8s.io", kind) or version not in ("v1beta1", "v1alpha1"):
            continue
        document = {
            "kind": kind,
            "apiVersion": f"config.k8s.io/{version}",
            "metadata": {"name": component},
            **fields,
        }
        warning = _DEPRECATED % f"/{kind.lower()}" if version == "v1alpha1" else ""
        if media.type == "application/json":
            return Page(200, "application/json", msgspec.json.encode(document).decode() + "\n", warning)
        if media.type == "application/yaml":
            return Page(200, "application/yaml", yaml.safe_dump(document, sort_keys=True), warning)
    return Page(406, "text/plain; charset=utf-8", "the server could not find an acceptable representation\n")
