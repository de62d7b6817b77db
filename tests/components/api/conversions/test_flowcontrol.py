"""What the older versions of the flowcontrol API say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kubeglass.components.api.conversions import flowcontrol as conversion
from kubeglass.components.api.objects.flowcontrol import priority_level

DATA = Path(__file__).parents[2] / "apiserver" / "flowcontrol" / "data" / "defaults.json"
RELEASES: Any = json.loads(DATA.read_text())["release120"]


def _to_v1(obj: Any) -> dict[str, Any]:
    return conversion.to_v1(obj["apiVersion"].rpartition("/")[2], obj)


@pytest.mark.parametrize("obj", RELEASES["priorityLevelConfigurations"], ids=lambda o: o["metadata"]["name"])
def test_levels_of_120_convert(obj: Any) -> None:
    """assuredConcurrencyShares of the old versions are nominalConcurrencyShares today, and back."""
    converted = _to_v1(obj)
    assert converted["apiVersion"] == "flowcontrol.apiserver.k8s.io/v1"
    if "limited" in obj["spec"]:
        assert priority_level(converted).shares == obj["spec"]["limited"]["assuredConcurrencyShares"]
    assert conversion.from_v1("v1beta1", converted) == obj


@pytest.mark.parametrize("version", ["v1alpha1", "v1beta1", "v1beta2"])
def test_zero_meant_the_default(version: str) -> None:
    """In the older versions an absent or zero share meant thirty."""
    obj = {
        "apiVersion": f"flowcontrol.apiserver.k8s.io/{version}",
        "spec": {"limited": {"assuredConcurrencyShares": 0}},
    }
    assert _to_v1(obj)["spec"]["limited"] == {"nominalConcurrencyShares": 30}


def test_v1beta3_keeps_a_marked_zero() -> None:
    """v1beta3 needs an annotation to say zero, and says it itself."""
    jail = {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "metadata": {"name": "jail"},
        "spec": {"limited": {"nominalConcurrencyShares": 0}},
    }
    old = conversion.from_v1("v1beta3", jail)
    assert old["metadata"]["annotations"] == {conversion.PRESERVE_ZERO_ANNOTATION: ""}
    assert _to_v1(old) == jail
    old["metadata"] = {"name": "jail"}
    assert _to_v1(old)["spec"]["limited"]["nominalConcurrencyShares"] == 30
