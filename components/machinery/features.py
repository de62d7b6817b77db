"""Feature gates, and the release a component emulates: the two flags that change what a binary is.

The gates are those that mean something here, with upstream's stage and default in v1.36. Parsing follows
k8s.io/component-base/featuregate and k8s.io/component-base/compatibility.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from kubeglass import KUBERNETES_VERSION
from kubeglass.telemetry.metrics.lifecycle import Version

BINARY: Final = Version.parse(KUBERNETES_VERSION)
OLDEST_EMULATED: Final = Version(1, 20)


@dataclass(frozen=True, slots=True)
class Gate:
    """One feature gate. Stage `` is GA."""

    stage: str
    default: bool


GATES: Final[Mapping[str, Gate]] = {
    "AllAlpha": Gate("ALPHA", default=False),
    "AllBeta": Gate("BETA", default=False),
    "ComponentFlagz": Gate("BETA", default=True),
    "ComponentStatusz": Gate("BETA", default=True),
    "ContextualLogging": Gate("BETA", default=True),
    "LoggingAlphaOptions": Gate("ALPHA", default=False),
    "LoggingBetaOptions": Gate("BETA", default=True),
    "NativeHistograms": Gate("ALPHA", default=False),
}
_GROUPS: Final = {"AllAlpha": "ALPHA", "AllBeta": "BETA"}
_NOT_IN_GROUPS: Final = frozenset({"LoggingAlphaOptions", "LoggingBetaOptions", *_GROUPS})


class FeatureError(ValueError):
    """A flag value that cannot be honoured; the text is upstream's."""


class Features:
    """Which gates are on, once all flags are read."""

    def __init__(self, chosen: Mapping[str, bool]) -> None:
        self._enabled = {name: gate.default for name, gate in GATES.items()}
        for group, stage in _GROUPS.items():
            if group in chosen:
                members = [name for name, gate in GATES.items() if gate.stage == stage and name not in _NOT_IN_GROUPS]
                self._enabled.update(dict.fromkeys(members, chosen[group]))
        self._enabled.update(chosen)

    def enabled(self, name: str) -> bool:
        """Whether a known gate is on."""
        return self._enabled[name]

    def states(self) -> dict[str, tuple[str, bool]]:
        """name → (stage, on), for kubernetes_feature_enabled."""
        return {name: (gate.stage, self._enabled[name]) for name, gate in GATES.items()}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """--feature-gates and --emulated-version."""
    group = parser.add_argument_group("compatibility flags")
    known = ", ".join(f"{name}=true|false ({gate.stage} - default={gate.default})" for name, gate in GATES.items())
    group.add_argument(
        "--feature-gates",
        action="append",
        default=[],
        metavar="NAME=BOOL",
        help=f"pairs that switch features on or off: {known}",
    )
    group.add_argument(
        "--emulated-version",
        default="",
        metavar="[kube=]MAJOR.MINOR",
        help=f"the release whose metrics are shown, {OLDEST_EMULATED.major}.{OLDEST_EMULATED.minor} to "
        f"{BINARY.major}.{BINARY.minor}",
    )


def features_from(arguments: argparse.Namespace) -> Features:
    """The gates of the parsed flags. Raises FeatureError."""
    return Features(parse_gates(arguments.feature_gates))


def parse_gates(texts: Iterable[str]) -> dict[str, bool]:
    """`A=true,B=false`, repeatable; later values win."""
    chosen: dict[str, bool] = {}
    for entry in (part.strip() for text in texts for part in text.split(",")):
        if not entry:
            continue
        name, equals, value = (piece.strip() for piece in entry.partition("="))
        if not equals:
            raise FeatureError(f"missing bool value for {name}")
        if value.lower() not in ("true", "false", "1", "0", "t", "f"):
            problem = f'strconv.ParseBool: parsing "{value}": invalid syntax'
            raise FeatureError(f"invalid value of {name}={value}, err: {problem}")
        if name not in GATES:
            raise FeatureError(f"unrecognized feature gate: {name}")
        chosen[name] = value.lower() in ("true", "1", "t")
    return chosen


def emulated_version_from(arguments: argparse.Namespace) -> Version:
    """The emulated release, the binary's own by default. Raises FeatureError."""
    text = arguments.emulated_version.removeprefix("kube=")
    if not text:
        return BINARY
    try:
        version = Version.parse(text)
    except ValueError as error:
        raise FeatureError(f"emulated version: {error}") from None
    if not OLDEST_EMULATED.release <= version.release <= BINARY.release:
        oldest, newest = (f"{bound.major}.{bound.minor}.0" for bound in (OLDEST_EMULATED, BINARY))
        raise FeatureError(f"emulation version {version.major}.{version.minor} is not between [{oldest}, {newest}]")
    return version
