"""The metrics flags: upstream's texts for what is refused, and what the accepted ones mean."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from kubeglass.telemetry.metrics import options
from kubeglass.telemetry.metrics.lifecycle import Version
from kubeglass.telemetry.metrics.options import InvalidOptions, MetricsOptions

KEYS = (
    'must have keys with format `metricName,labelName` where metricName matches "[a-zA-Z_:][a-zA-Z0-9_:]*" '
    'and labelName matches "[a-zA-Z_][a-zA-Z0-9_]*"'
)


@pytest.mark.parametrize(
    ("given", "errors"),
    [
        (MetricsOptions(), []),
        (MetricsOptions(show_hidden_for_version="1.35"), []),
        (
            MetricsOptions(show_hidden_for_version="1.34"),
            [
                'metrics.showHiddenMetricsForVersion: Invalid value: "1.34": must be omitted or have the value '
                "'1.35'; only the previous minor version is allowed"
            ],
        ),
        (
            MetricsOptions(show_hidden_for_version="1.35.0"),
            [
                'metrics.showHiddenMetricsForVersion: Invalid value: "1.35.0": must be omitted or have the value '
                "'1.35'; only the previous minor version is allowed"
            ],
        ),
        (
            MetricsOptions(disabled=("fine_total", "not-fine", "2nd")),
            [
                'metrics.disabledMetrics: Invalid value: ["fine_total","not-fine","2nd"]: must be fully qualified '
                'metric names matching "^[a-zA-Z_:][a-zA-Z0-9_:]*$", got "not-fine"'
            ],
        ),
        (
            MetricsOptions(allow_labels={"metric": "a"}),
            [f'metrics.allowListMapping: Invalid value: {{"metric":"a"}}: {KEYS}'],
        ),
    ],
)
def test_validation_texts(given: MetricsOptions, errors: list[str]) -> None:
    """Every refusal is worded as upstream words it."""
    assert given.errors() == errors


def test_the_previous_minor_is_that_of_the_emulated_version() -> None:
    """Under --emulated-version=1.29 only 1.28 is the previous minor."""
    assert MetricsOptions(version=Version(1, 29), show_hidden_for_version="1.28").errors() == []
    assert "'1.28'" in MetricsOptions(version=Version(1, 29), show_hidden_for_version="1.35").errors()[0]


def test_manifest_is_a_plain_map(tmp_path: Path) -> None:
    """A manifest maps metric,label to values; an empty value allows only the empty value."""
    manifest = tmp_path / "allow.yaml"
    manifest.write_text('"m1,l1": "a,b"\n"m1,l2": ""\n')
    lists = MetricsOptions(allow_labels_manifest=str(manifest)).checked().allow_lists()
    assert lists == {"m1": {"l1": frozenset({"a", "b"}), "l2": frozenset({""})}}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "failed to read allow list manifest: open {path}: no such file or directory"),
        ("allowListMapping:\n  m,l: v\n", "failed to parse allow list manifest: cannot unmarshal dict into string"),
        ("[1, 2]", "failed to parse allow list manifest: cannot unmarshal list into map[string]string"),
        (
            "m: v\n",
            f'invalid allow list mapping in manifest: [metrics.allowListMapping: Invalid value: {{"m":"v"}}: {KEYS}]',
        ),
    ],
)
def test_broken_manifests_are_refused(tmp_path: Path, content: str | None, text: str) -> None:
    """Unreadable, unparsable and wrongly keyed manifests each have their text; the nested form is no map of strings."""
    manifest = tmp_path / "allow.yaml"
    if content is not None:
        manifest.write_text(content)
    (error,) = MetricsOptions(allow_labels_manifest=str(manifest)).errors()
    assert error.startswith(f'metrics.allowListMappingManifest: Invalid value: "{manifest}": ')
    assert text.format(path=manifest) in error if content is None else text in error


def test_mapping_and_manifest_exclude_each_other(tmp_path: Path) -> None:
    """Giving both is one error on the whole."""
    manifest = tmp_path / "allow.yaml"
    manifest.write_text('"m,l": "v"\n')
    (error,) = MetricsOptions(allow_labels={"m,l": "v"}, allow_labels_manifest=str(manifest)).errors()
    assert error.startswith("metrics: Invalid value: {")
    assert error.endswith(": cannot specify both allowListMapping and allowListMappingManifest")


@pytest.mark.parametrize(
    ("flags", "mapping"),
    [
        (["m,l=a,b"], {"m,l": "a,b"}),
        (['m,l="a,b"'], {"m,l": "a,b"}),
        (['"m1,l1=a,b","m2,l2=c"'], {"m1,l1": "a,b", "m2,l2": "c"}),
        (["m1,l1=a", "m2,l2=b", "m1,l1=c"], {"m1,l1": "c", "m2,l2": "b"}),
        (["m,l="], {"m,l": ""}),
    ],
)
def test_allow_lists_on_the_command_line(flags: list[str], mapping: dict[str, str]) -> None:
    """One pair needs no quotes, several pairs in one flag are CSV, repeats merge."""
    assert options.parse_allow_labels(flags) == mapping


def test_flags_become_options() -> None:
    """Disabled names may be repeated and comma separated; the emulated version comes from the process."""
    parser = argparse.ArgumentParser()
    options.add_flags(parser)
    flags = ["--disabled-metrics=a_total,b_total", "--disabled-metrics=c", "--show-hidden-metrics-for-version=1.28"]
    found = options.options_from(parser.parse_args(flags), Version(1, 29))
    assert found.disabled == ("a_total", "b_total", "c")
    assert found.policy().show_hidden


def test_invalid_flags_stop_the_start() -> None:
    """A wrong flag raises with the text that is shown to the user."""
    parser = argparse.ArgumentParser()
    options.add_flags(parser)
    with pytest.raises(InvalidOptions, match=r"metrics\.disabledMetrics"):
        options.options_from(parser.parse_args(["--disabled-metrics=a-b"]))
