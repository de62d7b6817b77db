"""flowcontrol.apiserver.k8s.io: the older versions as v1 and back. Rows are (group, version, plural)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Convert = Callable[[dict[str, Any]], dict[str, Any]]

FLOWCONTROL: Mapping[tuple[str, str, str], tuple[Convert, Convert]] = {}
