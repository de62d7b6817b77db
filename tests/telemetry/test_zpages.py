"""/statusz and /flagz, as text and as objects."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from kubeglass.telemetry.zpages import About, flagz, statusz

STARTED = datetime(2026, 1, 5, 3, 4, 5, tzinfo=UTC)
ABOUT = About("kube-scheduler", "v1.36.2+kubeglass", "1.36", "python3.11.7", STARTED)
NOW = STARTED + timedelta(hours=26, minutes=3, seconds=9)
WARNING = (
    "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees "
    "and is for debugging purposes only.\n"
)


def test_statusz_for_people() -> None:
    """The documented lines; API paths are left out of the list."""
    page = statusz(ABOUT, ["/statusz", "/metrics", "/apis/apps"], "", NOW)
    assert (page.status, page.content_type) == (200, "text/plain; charset=utf-8")
    assert page.body == (
        f"\nkube-scheduler statusz\n{WARNING}\n"
        "Started: Mon Jan  5 03:04:05 UTC 2026\n"
        "Up: 26 hr 03 min 09 sec\n"
        "Go version: python3.11.7\n"
        "Binary version: v1.36.2+kubeglass\n"
        "Emulation version: 1.36\n"
        "Paths: /metrics /statusz\n"
    )


def test_flagz_for_people() -> None:
    """Sorted flags."""
    page = flagz("kube-scheduler", {"v": "2", "leader-elect": "true"}, "text/plain")
    assert page.body == f"\nkube-scheduler flagz\n{WARNING}\nleader-elect=true\nv=2\n"


@pytest.mark.parametrize(("version", "warned"), [("v1beta1", False), ("v1alpha1", True)])
def test_structured_pages(version: str, warned: bool) -> None:
    """Asked for by group, version and kind they are objects; the alpha version says that it is deprecated."""
    accept = f"application/json;v={version};g=config.k8s.io;as=Flagz"
    page = flagz("kube-scheduler", {"v": "2"}, accept)
    assert json.loads(page.body) == {
        "kind": "Flagz",
        "apiVersion": f"config.k8s.io/{version}",
        "metadata": {"name": "kube-scheduler"},
        "flags": {"v": "2"},
    }
    assert bool(page.warning) is warned


def test_statusz_as_yaml() -> None:
    """The same facts with typed fields."""
    page = statusz(ABOUT, ["/metrics"], "application/yaml;v=v1beta1;g=config.k8s.io;as=Statusz", NOW)
    document = yaml.safe_load(page.body)
    assert document["uptimeSeconds"] == 26 * 3600 + 189
    assert document["paths"] == ["/metrics"]
    assert document["binaryVersion"] == "v1.36.2+kubeglass"


@pytest.mark.parametrize(
    "accept", ["application/json", "image/png", "application/json;v=v9;g=config.k8s.io;as=Statusz"]
)
def test_what_we_do_not_write_is_not_acceptable(accept: str) -> None:
    """406, as upstream answers."""
    assert statusz(ABOUT, [], accept, NOW).status == 406
