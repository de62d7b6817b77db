"""Asking a real Prometheus."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any


class Prometheus:
    """The query API of one server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an API call. Raises AssertionError with Prometheus's words."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def query(self, expression: str) -> list[Any]:
        """An instant vector (or scalar, as one sample)."""
        data = self.get("query", query=expression)
        result: list[Any] = data["result"]
        return [{"metric": {}, "value": result}] if data["resultType"] == "scalar" else result

    def value(self, expression: str) -> float:
        """The one value of an expression."""
        (sample,) = self.query(expression)
        return float(sample["value"][1])

    def series(self, name: str) -> list[dict[str, str]]:
        """The label sets that a metric has now."""
        return [sample["metric"] for sample in self.query(name)]

    def targets(self) -> list[Any]:
        """The active targets."""
        targets: list[Any] = self.get("targets", state="active")["activeTargets"]
        return targets

    def targets_are_up(self) -> bool:
        """Whether there are targets, and every one has been scraped well. Raises AssertionError with what is wrong."""
        targets = self.targets()
        bad = {target["scrapeUrl"]: target["lastError"] for target in targets if target["health"] != "up"}
        assert targets and not bad, bad
        return True

    def alerts(self) -> dict[str, set[str]]:
        """Alerts that are pending or firing: name to states."""
        found: dict[str, set[str]] = {}
        for alert in self.get("alerts")["alerts"]:
            found.setdefault(alert["labels"]["alertname"], set()).add(alert["state"])
        return found
