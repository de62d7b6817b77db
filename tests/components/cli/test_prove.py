"""The pure half of `kubeglass prove`: scenarios, rules on fast forward, timelines, PromQL's parts, reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeglass.components.cli import promql, prove_rules
from kubeglass.components.cli.lookup import CommandError
from kubeglass.components.cli.prove import SCENARIOS, chosen
from kubeglass.components.cli.prove_explain import Watched, explain
from kubeglass.components.cli.prove_rules import Alert, accelerated
from kubeglass.components.cli.prove_scenario import Kill, ScenarioError, built_in, parse
from kubeglass.components.cli.prove_timeline import Timeline, timeline


class TestScenarios:
    """YAML becomes a value or a sentence."""

    def test_a_scenario_is_read(self):
        """Faults by their tag, expectations with and without labels."""
        scenario = parse(
            "expect: [A, {alert: B, labels: {x: y}}]\nfaults: [{fault: kill, component: scheduler}]", "s.yaml"
        )
        assert scenario.name == "s"
        assert scenario.faults == (Kill(component="scheduler"),)
        assert [str(one) for one in scenario.expectations] == ["A", "B{x=y}"]
        assert scenario.expectations[1].selector == 'ALERTS{alertname="B",x="y"}'
        assert scenario.within_seconds == 90

    @pytest.mark.parametrize(
        ("document", "words"),
        [
            ("expect: [A]\nfaults: [{fault: explode}]", "Invalid value 'explode'"),
            ("expect: [A]\nfaults: [{fault: kill}]", "missing required field `component`"),
            ("expect: [A]\nfaults: [{fault: kill, component: a, when: now}]", "unknown field `when`"),
            ("expect: []\nfaults: []", "names no alert"),
            ("expect: [", "expected"),
        ],
    )
    def test_what_is_wrong_is_named(self, document, words):
        """The file and the field are in the message."""
        with pytest.raises(ScenarioError, match=r"s\.yaml") as caught:
            parse(document, "s.yaml")
        assert words in str(caught.value)

    def test_built_in_scenarios_are_good(self):
        """All are read, told, and expect something."""
        scenarios = list(built_in(SCENARIOS))
        assert len(scenarios) >= 10
        assert all(scenario.description for scenario in scenarios)

    def test_an_alert_finds_its_scenario(self):
        """--alert alone plays the built-in scenario for that alert only."""
        (scenario,) = chosen((), ("SchedulerDown",))
        assert scenario.name == "dead-components"
        assert [one.alert for one in scenario.expectations] == ["SchedulerDown"]

    def test_an_alert_of_ones_own_goes_with_any_scenario(self):
        """--alert with --scenario expects that alert of that scenario."""
        (scenario,) = chosen(("dead-kubelet",), ("Mine",))
        assert [str(one) for one in scenario.expectations] == ["Mine"]

    def test_an_alert_nobody_can_provoke(self):
        """The message says what to give."""
        with pytest.raises(CommandError, match="no built-in scenario makes Mine fire"):
            chosen((), ("Mine",))


RULE = {"alert": "A", "expr": "rate(x[5m]) > 0", "for": "15m", "labels": {"severity": "x"}}


class TestFastForward:
    """Durations shrink, meanings stay."""

    def test_durations_are_divided(self):
        """`for`, ranges, subqueries and offsets; ranges keep four scrapes."""
        rule = {**RULE, "expr": "rate(x[5m]) + max_over_time(y[1h:1m] offset 10m) > 600", "keep_firing_for": "2m"}
        (group,) = accelerated({"groups": [{"name": "g", "interval": "3m", "rules": [rule]}]}, 60, 1)["groups"]
        (fast,) = group["rules"]
        assert group["interval"] == "1s"
        assert fast["expr"] == "rate(x[5s]) + max_over_time(y[60s:1s] offset 10s) > 600"
        assert (fast["for"], fast["keep_firing_for"], fast["labels"]) == ("15s", "2s", {"severity": "x"})

    def test_a_range_stays_long_enough(self):
        """No range is shorter than four scrapes, unless it was."""
        documents = {"groups": [{"name": "g", "rules": [RULE, {**RULE, "expr": "rate(x[2s])"}]}]}
        (group,) = accelerated(documents, 1000, 1)["groups"]
        assert [rule["expr"] for rule in group["rules"]] == ["rate(x[4s]) > 0", "rate(x[2s])"]

    @given(st.floats(0.001, 1e6))
    def test_durations_survive_their_text(self, value):
        """What is written is read again, to the millisecond."""
        assert prove_rules.seconds(prove_rules.text(value)) == pytest.approx(value, abs=0.0006)

    def test_the_shipped_rules_survive_speed_one(self):
        """At speed 1 an expression means what it meant."""
        from kubeglass.components.cli.prometheus import rules_folder

        for file in rules_folder().glob("*.yaml"):
            document = prove_rules.load(file.read_bytes(), str(file))
            before = [alert.for_seconds for alert in prove_rules.alerts(document)]
            assert [alert.for_seconds for alert in prove_rules.alerts(accelerated(document, 1, 1))] == before


def samples(pending: list[float], firing: list[float]) -> list[Mapping[str, Any]]:
    return [
        {"metric": {"alertstate": state}, "values": [[at, "1"] for at in moments]}
        for state, moments in (("pending", pending), ("firing", firing))
    ]


class TestTimelines:
    """ALERTS samples become a story."""

    def test_a_whole_life(self):
        """Pending, firing, gone: with the seconds after the fault."""
        found = timeline(samples([103, 104], [105, 106]), 100, 120, 1)
        assert found == Timeline("inactive", 3, 5, 7)
        assert found.proven
        assert str(found) == "inactive at 0.0 s → pending at 3.0 s → firing at 5.0 s → resolved at 7.0 s"

    def test_not_yet_resolved(self):
        """An alert seen at the last evaluation is still there."""
        found = timeline(samples([], [105, 106]), 100, 107, 1)
        assert found.fired and found.resolved is None and not found.proven

    def test_early_is_no_proof(self):
        """What fired before the fault does not prove anything."""
        found = timeline(samples([], [99, 105]), 100, 120, 1)
        assert found.before == "firing" and not found.proven

    def test_nothing(self):
        """No samples, no story."""
        assert timeline([], 100, 120, 1) == Timeline()


class TestPromql:
    """The parts of expressions."""

    @pytest.mark.parametrize(
        ("expression", "expected"),
        [
            ("up == 0", ["up"]),
            ('sum by (job) (rate(a{x="1", y!~"b|c"}[5m])) / sum(b) > 0.1', ['a{x="1",y!~"b|c"}', "b"]),
            ("a * on (x, y) group_left (z) b", ["a", "b"]),
            ("sum(a) by (job) > bool 1", ["a"]),
            ("ns:rec:rate5m{a='}'} offset 5m unless c", ["ns:rec:rate5m{a='}'}", "c"]),
            ("histogram_quantile(0.99, sum by (le) (rate(a_bucket[5m]))) > 1e-3", ["a_bucket"]),
            ("vector(1)", []),
        ],
    )
    def test_selectors(self, expression, expected):
        """Metrics with their matchers; functions, keywords and label lists are none."""
        assert [str(selector) for selector in promql.selectors(expression)] == expected

    def test_comparison_and_parts(self):
        """The threshold at the top, not those inside."""
        assert promql.comparison("sum(a > 1) / b <= 2 * 3") == promql.Comparison("sum(a > 1) / b", "<=", "2 * 3")
        assert promql.comparison("absent(up == 1)") is None
        assert promql.parts("a == 1 and on (x) (b or c) unless d") == [
            ("", "a == 1"),
            ("and", "(b or c)"),
            ("unless", "d"),
        ]


class Data:
    """A Prometheus whose answers are known: per expression, label sets with values, and extremes since the fault."""

    def __init__(self, vectors: Mapping[str, list[dict[str, str]]], ranges: Mapping[str, tuple[float, float]]) -> None:
        self._vectors = vectors
        self._ranges = ranges

    def query(self, expression: str) -> list[Any]:
        return [{"metric": labels, "value": [0, "1"]} for labels in self._vectors.get(expression, [])]

    def extremes(self, expression: str, start: float) -> tuple[float, float] | None:
        return self._ranges.get(expression)


def reasons(expression: str, data: Data, seen: Timeline = Timeline()) -> list[str]:
    return explain(Watched(Alert("A", expression, 10), seen, 0), data)


class TestReasons:
    """Exactly why not."""

    def test_a_missing_metric(self):
        """Nobody exposes it."""
        assert reasons("nope > 1", Data({}, {})) == ["metric missing: nothing exposes nope"]

    def test_a_wrong_label(self):
        """The matcher that fits nothing is named, with what there is instead."""
        data = Data({"a": [{"job": "x"}, {"job": "y"}]}, {})
        assert reasons('a{job="z"} > 1', data) == [
            "label mismatch: no series of a has job=\"z\"; its values are 'x', 'y'"
        ]

    def test_a_label_that_does_not_exist(self):
        """An unknown label is not taken for an empty value."""
        data = Data({"a": [{"job": "x"}]}, {})
        assert reasons('a{zone="z"} > 1', data) == [
            'label mismatch: no series of a has zone="z"; no series has that label'
        ]

    def test_matchers_that_do_not_meet(self):
        """Each fits some series, none fits all."""
        data = Data({"a": [{}], 'a{x="1"}': [{}], 'a{y="2"}': [{}]}, {})
        (reason,) = reasons('a{x="1",y="2"} > 1', data)
        assert "every matcher of a" in reason

    def test_a_threshold_out_of_reach(self):
        """How far it got."""
        data = Data({"a": [{}]}, {"a": (0.5, 2)})
        assert reasons("a > 5", data) == ["threshold never reached: a was at most 2, and > 5 is needed"]
        assert reasons("a < 0.1", data) == ["threshold never reached: a was at least 0.5, and < 0.1 is needed"]

    def test_operands_that_do_not_match(self):
        """Both sides have data, together they have none."""
        (reason,) = reasons("a / b > 1", Data({"a": [{"x": "1"}], "b": [{"y": "1"}]}, {}))
        assert "operands have no labels in common" in reason

    def test_too_short(self):
        """Pending is not firing."""
        assert "did not hold for 10 s" in reasons("a > 1", Data({}, {}), Timeline(pending=3))[0]

    def test_still_there(self):
        """absent() waits for something to go."""
        (reason,) = reasons('absent(up{job="a"})', Data({'up{job="a"}': [{}]}, {}))
        assert "was there all the time" in reason

    def test_does_not_recover(self):
        """It fires and goes on firing."""
        assert "still fires" in reasons("a > 1", Data({}, {}), Timeline(pending=1, firing=2))[0]
