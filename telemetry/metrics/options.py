"""The flags that steer the metric life cycle: reading, validating and turning them into a Policy.

Texts follow k8s.io/component-base/metrics (options.go, validation.go) of v1.36.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec
import yaml

from kubeglass.telemetry.metrics.lifecycle import Policy, Version

EMULATED: Final = Version(1, 36, 2)

_METRIC = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*"

AllowLists = Mapping[str, Mapping[str, frozenset[str]]]
"""metric → label → allowed values."""


class InvalidOptions(ValueError):
    """The flags contradict the rules; the text lists every field error as upstream words it."""


@dataclass(frozen=True, slots=True)
class MetricsOptions:
    """What a component was told about its metrics. `allow_labels` maps `metric,label` to comma-separated values."""

    version: Version = EMULATED
    show_hidden_for_version: str = ""
    disabled: tuple[str, ...] = ()
    allow_labels: Mapping[str, str] = field(default_factory=dict)
    allow_labels_manifest: str = ""
    native_histograms: bool = False

    def policy(self) -> Policy:
        """The life-cycle inputs. Any accepted --show-hidden-metrics-for-version shows all hidden metrics."""
        return Policy(
            version=replace_prerelease(self.version),
            show_hidden=bool(self.show_hidden_for_version),
            disabled=frozenset(name for name in self.disabled if name),
        )

    def errors(self) -> list[str]:
        """Field errors in upstream's order and words; empty when the options are valid."""
        found = [*self._show_hidden_errors(), *self._disabled_errors(), *self._allow_list_errors()]
        if self.allow_labels and self.allow_labels_manifest:
            both = "cannot specify both allowListMapping and allowListMappingManifest"
            found.append(_field_error("metrics", _json(self._as_configuration()), both))
        return found

    def checked(self) -> MetricsOptions:
        """The same options with the manifest read in; InvalidOptions when a rule is broken."""
        if found := self.errors():
            raise InvalidOptions(found[0] if len(found) == 1 else f"[{', '.join(found)}]")
        if not self.allow_labels_manifest:
            return self
        return replace(self, allow_labels=_read_manifest(self.allow_labels_manifest), allow_labels_manifest="")

    def allow_lists(self) -> AllowLists:
        """`allow_labels` by metric and label. An empty text allows only the empty value."""
        lists: dict[str, dict[str, frozenset[str]]] = {}
        for key, values in self.allow_labels.items():
            metric, _, label = key.partition(",")
            lists.setdefault(metric, {})[label] = frozenset(values.split(","))
        return lists

    def _show_hidden_errors(self) -> Iterable[str]:
        shown, previous = self.show_hidden_for_version, self.version.previous_minor()
        if shown and shown != previous:
            detail = f"must be omitted or have the value '{previous}'; only the previous minor version is allowed"
            yield _field_error("metrics.showHiddenMetricsForVersion", _quote(shown), detail)

    def _disabled_errors(self) -> Iterable[str]:
        wrong = next((name for name in self.disabled if name and not re.fullmatch(_METRIC, name)), None)
        if wrong is not None:
            detail = f'must be fully qualified metric names matching "^{_METRIC}$", got {_quote(wrong)}'
            yield _field_error("metrics.disabledMetrics", _json(self.disabled), detail)

    def _allow_list_errors(self) -> Iterable[str]:
        yield from _key_errors(self.allow_labels)
        if not self.allow_labels_manifest:
            return
        where = "metrics.allowListMappingManifest"
        try:
            inside = list(_key_errors(_read_manifest(self.allow_labels_manifest)))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            detail = f"failed to read allow list manifest: open {self.allow_labels_manifest}: {reason}"
            yield _field_error(where, _quote(self.allow_labels_manifest), detail)
        except (yaml.YAMLError, TypeError) as error:
            detail = f"failed to parse allow list manifest: {error}"
            yield _field_error(where, _quote(self.allow_labels_manifest), detail)
        else:
            if inside:
                detail = f"invalid allow list mapping in manifest: [{', '.join(inside)}]"
                yield _field_error(where, _quote(self.allow_labels_manifest), detail)

    def _as_configuration(self) -> dict[str, object]:
        return {
            "showHiddenMetricsForVersion": self.show_hidden_for_version,
            "disabledMetrics": self.disabled,
            "allowListMapping": self.allow_labels,
            "allowListMappingManifest": self.allow_labels_manifest,
        }


def replace_prerelease(version: Version) -> Version:
    """Registries compare releases only: the pre-release tag is stripped, as upstream's registry does."""
    return version._replace(prerelease="")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Upstream's metrics flags."""
    group = parser.add_argument_group("Metrics flags")
    group.add_argument(
        "--show-hidden-metrics-for-version",
        default="",
        metavar="VERSION",
        help="The previous version for which you want to show hidden metrics. Only the previous minor version is "
        "meaningful, other values will not be allowed. The format is <major>.<minor>, e.g.: '1.35'.",
    )
    group.add_argument(
        "--disabled-metrics",
        action="append",
        default=[],
        metavar="NAMES",
        help="Fully qualified metric names to switch off, comma separated; this takes precedence over showing hidden "
        "metrics.",
    )
    group.add_argument(
        "--allow-metric-labels",
        action="append",
        default=[],
        metavar="METRIC,LABEL=VALUES",
        help="Allowed values of a metric's label; any other value is counted as 'unexpected'. "
        "E.g. metric1,label1='v1,v2'.",
    )
    group.add_argument(
        "--allow-metric-labels-manifest",
        default="",
        metavar="FILE",
        help="The path to a YAML file that maps metric,label to allowed values.",
    )


def options_from(
    arguments: argparse.Namespace, version: Version = EMULATED, *, native_histograms: bool = False
) -> MetricsOptions:
    """The parsed flags, validated. InvalidOptions (a ValueError) says which flag is wrong and why."""
    return MetricsOptions(
        version=version,
        show_hidden_for_version=arguments.show_hidden_metrics_for_version,
        disabled=tuple(name.strip() for text in arguments.disabled_metrics for name in text.split(",")),
        allow_labels=parse_allow_labels(arguments.allow_metric_labels),
        allow_labels_manifest=arguments.allow_metric_labels_manifest,
        native_histograms=native_histograms,
    ).checked()


def parse_allow_labels(texts: Iterable[str]) -> dict[str, str]:
    """`metric,label=v1,v2`, or several such pairs as CSV with each pair quoted; later pairs win."""
    pairs: dict[str, str] = {}
    for text in texts:
        fields = [text] if text.count("=") == 1 else next(csv.reader([text], skipinitialspace=True), [])
        for entry in fields:
            key, equals, values = entry.partition("=")
            if not equals:
                raise InvalidOptions(f"{entry} must be formatted as key=value")
            pairs[key.strip().strip('"')] = values.strip().strip("\"'")
    return pairs


def _read_manifest(path: str) -> dict[str, str]:
    with open(path, encoding="utf-8") as manifest:
        content = yaml.safe_load(manifest) or {}
    if not isinstance(content, dict):
        raise TypeError(f"cannot unmarshal {type(content).__name__} into map[string]string")
    for key, values in content.items():
        if not isinstance(key, str) or not isinstance(values, str):
            raise TypeError(f"cannot unmarshal {type(values).__name__} into string for key {_quote(str(key))}")
    return content


def _key_errors(mapping: Mapping[str, str]) -> Iterable[str]:
    if any(not re.fullmatch(f"{_METRIC},{_LABEL}", key) for key in mapping):
        detail = (
            "must have keys with format `metricName,labelName` "
            f'where metricName matches "{_METRIC}" and labelName matches "{_LABEL}"'
        )
        yield _field_error("metrics.allowListMapping", _json(mapping), detail)


def _field_error(where: str, value: str, detail: str) -> str:
    return f"{where}: Invalid value: {value}: {detail}"


def _json(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _quote(text: str) -> str:
    return _json(text)
