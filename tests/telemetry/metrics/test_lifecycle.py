"""The life-cycle rule, as tables and as properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeglass.telemetry.metrics.definitions import (
    ALPHA,
    BETA,
    INTERNAL,
    NONE,
    STABLE,
    Counter,
    Gauge,
    Stability,
    TimingRatioHistogram,
)
from kubeglass.telemetry.metrics.lifecycle import Policy, Verdict, Version, help_text, is_hidden, judge


def _row(stability: Stability = ALPHA, deprecated: str = "", since: str = "", until: str = "") -> Counter:
    return Counter("pod_widgets_total", "Widgets.", (), stability, deprecated, since=since, until=until)


def _policy(version: str, *, show_hidden: bool = False, disabled: frozenset[str] = frozenset()) -> Policy:
    return Policy(Version.parse(version), show_hidden, disabled)


@pytest.mark.parametrize(
    ("stability", "deprecated", "running", "verdict"),
    [
        (STABLE, "", "1.36", Verdict.SHOWN),
        (STABLE, "1.37.0", "1.36", Verdict.SHOWN),
        (STABLE, "1.36.0", "1.36", Verdict.DEPRECATED),
        (STABLE, "1.34.0", "1.36", Verdict.DEPRECATED),
        (STABLE, "1.34.0", "1.37", Verdict.HIDDEN),
        (STABLE, "1.33.0", "1.36", Verdict.HIDDEN),
        (BETA, "1.36.0", "1.36", Verdict.DEPRECATED),
        (BETA, "1.35.0", "1.36", Verdict.HIDDEN),
        (ALPHA, "1.36.0", "1.36", Verdict.HIDDEN),
        (ALPHA, "1.37.0", "1.36", Verdict.SHOWN),
        (INTERNAL, "1.36.0", "1.36", Verdict.HIDDEN),
        (ALPHA, "1.36.3", "1.36.1", Verdict.HIDDEN),
        (STABLE, "0.99.0", "1.36", Verdict.HIDDEN),
        (STABLE, "2.0.0", "1.36", Verdict.SHOWN),
    ],
)
def test_windows_since_1_35(stability: Stability, deprecated: str, running: str, verdict: Verdict) -> None:
    """STABLE stays for three minors, BETA for one, ALPHA and INTERNAL for none."""
    assert judge(_row(stability, deprecated), _policy(running)) is verdict


@pytest.mark.parametrize("stability", [INTERNAL, ALPHA, BETA, STABLE])
@pytest.mark.parametrize(
    ("running", "verdict"),
    [("1.29", Verdict.SHOWN), ("1.30", Verdict.DEPRECATED), ("1.31", Verdict.HIDDEN), ("1.34", Verdict.HIDDEN)],
)
def test_one_window_for_all_levels_before_1_35(stability: Stability, running: str, verdict: Verdict) -> None:
    """Up to 1.34 a metric is shown in the deprecating minor and hidden from the next, whatever its level."""
    assert judge(_row(stability, "1.30.0"), _policy(running)) is verdict


@pytest.mark.parametrize(
    ("stability", "deprecated"), [(STABLE, "1.34.0"), (BETA, "1.36.0"), (ALPHA, "1.37.0"), (INTERNAL, "1.37.0")]
)
def test_first_alpha_of_the_hiding_minor_still_shows(stability: Stability, deprecated: str) -> None:
    """During alpha.0 of the minor that would hide it a metric is still visible, in every later build it is not."""
    before = Version.parse("1.37.0-alpha.0")
    assert not is_hidden(Version.parse(deprecated), stability, before)
    assert is_hidden(Version.parse(deprecated), stability, Version.parse("1.37.0-alpha.1"))


@pytest.mark.parametrize(
    ("show_hidden", "disabled", "verdict"),
    [
        (False, False, Verdict.HIDDEN),
        (True, False, Verdict.DEPRECATED),
        (False, True, Verdict.DISABLED),
        (True, True, Verdict.DISABLED),
    ],
)
def test_disabling_beats_showing_hidden(show_hidden: bool, disabled: bool, verdict: Verdict) -> None:
    """--disabled-metrics wins over --show-hidden-metrics-for-version."""
    names = frozenset({"pod_widgets_total"} if disabled else ())
    assert judge(_row(deprecated="1.30.0"), _policy("1.36", show_hidden=show_hidden, disabled=names)) is verdict


def test_metrics_outside_the_framework_have_no_life_cycle() -> None:
    """process_* and its like can neither be disabled nor hidden, and their HELP has no prefix."""
    row = Gauge("process_open_fds", "Open.", stability=NONE)
    assert judge(row, _policy("1.36", disabled=frozenset({"process_open_fds"}))) is Verdict.SHOWN
    assert help_text(row, Verdict.SHOWN) == "Open."


@pytest.mark.parametrize(
    ("running", "verdict"),
    [
        ("1.22", Verdict.ABSENT),
        ("1.23", Verdict.SHOWN),
        ("1.27", Verdict.DEPRECATED),
        ("1.28", Verdict.HIDDEN),
        ("1.36", Verdict.HIDDEN),
        ("1.37", Verdict.ABSENT),
    ],
)
def test_a_life_from_introduction_to_deletion(running: str, verdict: Verdict) -> None:
    """apiserver_request_slo_duration_seconds: added in 1.23, deprecated in 1.27, deleted in 1.37."""
    assert judge(_row(ALPHA, "1.27.0", since="1.23", until="1.37"), _policy(running)) is verdict


def test_nothing_brings_back_a_deleted_metric() -> None:
    """Showing hidden metrics does not show deleted ones."""
    row = _row(ALPHA, "1.27.0", until="1.37")
    assert judge(row, _policy("1.37", show_hidden=True)) is Verdict.ABSENT


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        (Verdict.SHOWN, "[STABLE] Widgets."),
        (Verdict.DEPRECATED, "[STABLE] (Deprecated since 1.34.0) Widgets."),
    ],
)
def test_help_says_level_and_deprecation(verdict: Verdict, text: str) -> None:
    """The level comes first, then the full version that deprecated the metric."""
    assert help_text(_row(STABLE, "1.34.0"), verdict) == text


def test_help_of_a_timing_histogram_is_experimental() -> None:
    """The library's prefix stands in front of the level."""
    assert help_text(TimingRatioHistogram("t", "Ratio."), Verdict.SHOWN) == "EXPERIMENTAL: [ALPHA] Ratio."


@pytest.mark.parametrize("text", ["", "1", "v1", "latest", "1.x", "1.36.2.1"])
def test_malformed_versions_are_refused(text: str) -> None:
    """A version that is none is an error, never a guess."""
    with pytest.raises(ValueError, match="could not parse"):
        Version.parse(text)


versions = st.builds(Version, st.integers(0, 3), st.integers(0, 60), st.integers(0, 9))
levels = st.sampled_from([INTERNAL, ALPHA, BETA, STABLE])


@given(deprecated=versions, level=levels, running=versions)
def test_hiding_is_forever_in_one_major(deprecated: Version, level: Stability, running: Version) -> None:
    """A metric that is hidden stays hidden in every later minor, across the change of rules in 1.35 for ALPHA."""
    later = running._replace(minor=running.minor + 1)
    same_rules = (running.release >= (1, 35)) == (later.release >= (1, 35))
    if is_hidden(deprecated, level, running) and (same_rules or level in (ALPHA, INTERNAL)):
        assert is_hidden(deprecated, level, later)


@given(deprecated=versions, running=versions)
def test_stronger_promises_last_longer(deprecated: Version, running: Version) -> None:
    """Whatever hides a STABLE metric hides a BETA one, and whatever hides BETA hides ALPHA."""
    hidden = [is_hidden(deprecated, level, running) for level in (STABLE, BETA, ALPHA)]
    assert hidden == sorted(hidden)


@given(level=levels, deprecated=versions, running=versions, show=st.booleans())
def test_verdicts_agree_with_the_flags(level: Stability, deprecated: Version, running: Version, show: bool) -> None:
    """Showing hidden metrics leaves none hidden, and changes nothing else."""
    row = _row(level, str(deprecated))
    plain = judge(row, Policy(running))
    shown = judge(row, Policy(running, show_hidden=True))
    assert shown.visible
    assert plain is shown or plain is Verdict.HIDDEN
