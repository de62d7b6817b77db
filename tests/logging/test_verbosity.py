"""Levels, --vmodule and their parsing are klog's and component-base's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kubeglass.logging.verbosity import (
    FlagError,
    ModuleLevel,
    Verbosity,
    format_vmodule,
    matches,
    parse_klog_vmodule,
    parse_level,
    parse_vmodule,
)

LINES: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "upstream_lines.json").read_text())


@pytest.mark.parametrize("case", LINES["klog_v_flag"], ids=lambda case: repr(case["in"]))
def test_level_flag(case: dict[str, Any]) -> None:
    """-v takes what klog takes and refuses in its words."""
    if "error" in case:
        with pytest.raises(FlagError) as refused:
            parse_level(case["in"])
        assert str(refused.value) == case["error"]
    else:
        assert parse_level(case["in"]) == case["value"]


@pytest.mark.parametrize("case", LINES["klog_vmodule_flag"], ids=lambda case: repr(case["in"]))
def test_klog_vmodule_flag(case: dict[str, Any]) -> None:
    """klog's own --vmodule parser."""
    if "error" in case:
        with pytest.raises(FlagError) as refused:
            parse_klog_vmodule(case["in"])
        assert str(refused.value) == case["error"]
    else:
        assert format_vmodule(parse_klog_vmodule(case["in"])) == case["effective"]


@pytest.mark.parametrize("case", LINES["component_base_vmodule_flag"], ids=lambda case: repr(case["in"]))
def test_component_vmodule_flag(case: dict[str, Any]) -> None:
    """A component's --vmodule parser."""
    if "error" in case:
        with pytest.raises(FlagError) as refused:
            parse_vmodule(case["in"])
        assert str(refused.value) == case["error"]
    else:
        entries = parse_vmodule(case["in"])
        assert [[entry.pattern, entry.level] for entry in entries] == case["items"]
        assert format_vmodule(entries) == case["string"]


@pytest.mark.parametrize("case", LINES["vmodule_match"], ids=lambda case: case["pattern"])
def test_match(case: dict[str, Any]) -> None:
    """Patterns match file names as Go's path.Match does."""
    assert matches(case["pattern"], case["file_base_without_ext"]) == case["match"]


def test_module_raises_but_never_lowers() -> None:
    """A --vmodule entry lets its files say more than -v does, never less; the first match decides."""
    verbosity = Verbosity(2, (ModuleLevel("kube*", 5), ModuleLevel("kubelet", 9)))
    assert verbosity.enabled(5, "/a/kubelet.py")
    assert not verbosity.enabled(6, "/a/kubelet.py")
    assert verbosity.enabled(2, "/a/other.py")
    assert not verbosity.enabled(3, "/a/other.py")


def test_changes_while_running() -> None:
    """A new level is in force at once, cached module decisions are forgotten, watchers are told."""
    verbosity, told = Verbosity(0), list[int]()
    verbosity.watch(told.append)
    assert not verbosity.enabled(4, "a.py")
    verbosity.set(4)
    assert verbosity.enabled(4, "a.py")
    verbosity.set_modules((ModuleLevel("a", 8),))
    assert verbosity.enabled(8, "a.py")
    assert told == [4]
