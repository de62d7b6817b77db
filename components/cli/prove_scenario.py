"""What a proof is about: a scenario says which faults to inject and which alerts must answer. Pure: a YAML document
becomes a value, or a ScenarioError that names the field. What the faults do is in prove_faults.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from kubeglass.logging.goduration import parse_duration


class ScenarioError(Exception):
    """A scenario that cannot be read; the text names the file and the field."""


class _Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="fault", rename="camel"):
    """One thing that goes wrong, and is put right again."""


class Apply(_Fault, frozen=True, forbid_unknown_fields=True, tag="apply"):
    """Objects that should not be there: `manifest` is YAML, or `file` names one beside the scenario."""

    manifest: str = ""
    file: str = ""


class Kill(_Fault, frozen=True, forbid_unknown_fields=True, tag="kill"):
    """A component ends as by `kill -9`; healed by `kubeglass up`."""

    component: str


class Freeze(_Fault, frozen=True, forbid_unknown_fields=True, tag="freeze"):
    """A component stops as by SIGSTOP: its sockets accept, nobody answers. Healed by SIGCONT."""

    component: str


class Partition(_Fault, frozen=True, forbid_unknown_fields=True, tag="partition"):
    """The wire between a component and the API server is cut: connections hang, nobody is told. Both go on living."""

    component: str


class SkewClock(_Fault, frozen=True, forbid_unknown_fields=True, tag="skewClock"):
    """A component's wall clock is wrong `by` so much; its timers are right. Healed by a start with the right time."""

    component: str
    by: str = "1h"


class StallStore(_Fault, frozen=True, forbid_unknown_fields=True, tag="stallStore"):
    """Another process holds the embedded store's write lock for `hold`, lets go for `pause`, and so on."""

    hold: str = "2s"
    pause: str = "200ms"


class Requests(_Fault, frozen=True, forbid_unknown_fields=True, tag="requests"):
    """A client sends the same request over and over."""

    path: str
    method: str = "GET"
    body: str = ""
    connections: int = 1
    per_second: float = 0.0  # of each connection; 0: as fast as it is answered
    user: str = "kubernetes-admin"
    groups: tuple[str, ...] = ()
    certificate_lifetime: str = "24h"
    token: str = ""  # a bearer token instead of a certificate


class StalledWatch(_Fault, frozen=True, forbid_unknown_fields=True, tag="stalledWatch"):
    """A client watches `path` and never reads what comes; after `hold` it hangs up and watches again."""

    path: str
    hold: str = "10s"


Fault = Apply | Kill | Freeze | Partition | SkewClock | StallStore | Requests | StalledWatch


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An alert that must fire, with these labels at least."""

    alert: str
    labels: dict[str, str] = {}

    @property
    def selector(self) -> str:
        """The series of the alert, as PromQL."""
        labels = {"alertname": self.alert, **self.labels}
        return (
            "ALERTS{"
            + ",".join(f"{name}={msgspec.json.encode(value).decode()}" for name, value in labels.items())
            + "}"
        )

    def __str__(self) -> str:
        labels = ", ".join(f"{name}={value}" for name, value in self.labels.items())
        return f"{self.alert}{{{labels}}}" if labels else self.alert


class ClusterNeeds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cluster that a scenario wants; one that is booted for it gets exactly this."""

    nodes: int = 1
    flags: tuple[str, ...] = ()  # of `kubeglass up`


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A story: what is there, what goes wrong, who must notice."""

    faults: tuple[Fault, ...]
    expect: tuple[str | Expectation, ...]
    name: str = ""
    description: str = ""
    cluster: ClusterNeeds = ClusterNeeds()
    prepare: tuple[Apply, ...] = ()
    within: str = "90s"  # to fire, and again to resolve

    @property
    def expectations(self) -> tuple[Expectation, ...]:
        return tuple(Expectation(one) if isinstance(one, str) else one for one in self.expect)

    @property
    def within_seconds(self) -> float:
        return parse_duration(self.within) / 1e9

    def only(self, alert: str) -> Scenario:
        """The same story, told for one alert."""
        return msgspec.structs.replace(self, expect=tuple(one for one in self.expectations if one.alert == alert))


def parse(document: bytes | str, source: str) -> Scenario:
    """A scenario; `source` is named in errors. Raises ScenarioError."""
    import yaml

    try:
        content = yaml.safe_load(document)
        scenario = msgspec.convert(content, Scenario)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise ScenarioError(f"{source}: {error}") from error
    if not scenario.expect:
        raise ScenarioError(f"{source}: expect: names no alert")
    return scenario if scenario.name else msgspec.structs.replace(scenario, name=Path(source).stem)


def read(file: Path) -> Scenario:
    """The scenario in a file; what `apply` takes from files is read beside it. Raises ScenarioError."""
    try:
        scenario = parse(file.read_bytes(), str(file))
        return msgspec.structs.replace(
            scenario,
            faults=tuple(_inlined(fault, file.parent) for fault in scenario.faults),
            prepare=tuple(_inlined(fault, file.parent) for fault in scenario.prepare),
        )
    except OSError as error:
        raise ScenarioError(f"cannot read {error.filename}: {error.strerror}") from error


def _inlined(fault: Any, folder: Path) -> Any:
    if isinstance(fault, Apply) and fault.file:
        return Apply(manifest=(folder / fault.file).read_text())
    return fault


def built_in(folder: Path) -> Iterator[Scenario]:
    """The scenarios that come with kubeglass."""
    for file in sorted(folder.glob("*.yaml")):
        yield read(file)


def for_alert(alert: str, scenarios: Mapping[str, Scenario] | Iterator[Scenario]) -> Scenario | None:
    """The first scenario that expects an alert, told for it alone."""
    found = scenarios.values() if isinstance(scenarios, Mapping) else scenarios
    return next((one.only(alert) for one in found if any(wanted.alert == alert for wanted in one.expectations)), None)
