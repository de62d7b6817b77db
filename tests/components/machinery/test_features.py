"""Feature gates and the emulated version, as flags say them."""

from __future__ import annotations

import argparse

import pytest

from kubeglass.components.machinery import features
from kubeglass.components.machinery.features import GATES, FeatureError, Features, parse_gates
from kubeglass.telemetry.metrics.lifecycle import Version


def _emulated(text: str) -> Version:
    return features.emulated_version_from(argparse.Namespace(emulated_version=text))


def test_defaults_are_the_gates_own() -> None:
    """Without flags every gate is as its row says."""
    assert Features({}).states() == {name: (gate.stage, gate.default) for name, gate in GATES.items()}


def test_a_group_switches_its_stage() -> None:
    """AllAlpha turns alpha gates on, except the logging ones; a gate named itself wins."""
    chosen = Features(parse_gates(["AllAlpha=true"]))
    assert chosen.enabled("NativeHistograms")
    assert not chosen.enabled("LoggingAlphaOptions")
    assert not Features(parse_gates(["AllAlpha=true,NativeHistograms=false"])).enabled("NativeHistograms")


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("Nonsense=true", "unrecognized feature gate: Nonsense"),
        ("AllAlpha", "missing bool value for AllAlpha"),
        (
            "AllAlpha=maybe",
            'invalid value of AllAlpha=maybe, err: strconv.ParseBool: parsing "maybe": invalid syntax',
        ),
    ],
)
def test_wrong_gates_are_refused(text: str, refusal: str) -> None:
    """In upstream's words."""
    with pytest.raises(FeatureError) as raised:
        parse_gates([text])
    assert str(raised.value) == refusal


@pytest.mark.parametrize(
    ("text", "version"), [("", (1, 36)), ("1.29", (1, 29)), ("kube=1.30", (1, 30)), ("v1.36.0", (1, 36))]
)
def test_emulated_versions(text: str, version: tuple[int, int]) -> None:
    """A release by itself or named as kube's; the binary's own without the flag."""
    assert _emulated(text).release == version


@pytest.mark.parametrize("text", ["1.37", "1.19", "2.0", "latest"])
def test_other_releases_cannot_be_emulated(text: str) -> None:
    """Nothing newer than the binary, nothing older than what is known."""
    with pytest.raises(FeatureError):
        _emulated(text)
