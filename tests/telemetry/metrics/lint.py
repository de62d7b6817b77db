"""`promtool check metrics` on a page, without what lint_accepted.yaml accepts."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import yaml

_PARSED = (0, 3)
"""Exit codes: clean, and parsed with complaints."""


@cache
def accepted() -> frozenset[str]:
    """Names whose complaints are known and stay."""
    entries = yaml.safe_load(Path(__file__).with_name("lint_accepted.yaml").read_text())
    return frozenset(name for entry in entries for name in entry["names"])


def complaints(page: bytes) -> list[str]:
    """What promtool has to say that is not accepted; a page it cannot parse is one complaint."""
    found = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
    lines = (found.stdout + found.stderr).decode().splitlines()
    if found.returncode not in _PARSED:
        return ["\n".join(lines)]
    return [line for line in lines if line.split(maxsplit=1)[0] not in accepted()]
