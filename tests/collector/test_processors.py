"""The memory limit and tail sampling."""

from __future__ import annotations

import pytest

from kubeglass.collector.processors import MemoryLimiter, SamplingPolicy, TailSampler
from kubeglass.collector.segments import CHANGE, ERROR, Group, Segment

GROUP = Group("s", b"", b"", "", "", {})


def segment(trace: int, flags: int = 0, longest: int = 0) -> Segment:
    return Segment(trace.to_bytes(16, "big"), GROUP, 0, 0, longest, flags, set(), b"", 1)


def test_limiter() -> None:
    """What fits is admitted; one request always is, however large, when nothing is held."""
    limiter = MemoryLimiter(100)
    assert limiter.admits(1000)
    limiter.hold(60)
    assert limiter.admits(40) and not limiter.admits(41)
    limiter.release(60)
    assert limiter.held == 0


def test_default_keeps_everything_at_once() -> None:
    """Without a policy nothing waits."""
    offered = [segment(1), segment(2)]
    assert TailSampler(SamplingPolicy()).offer(offered, 0) == (offered, [])


@pytest.mark.parametrize(
    ("one", "kept"),
    [
        (segment(1 << 60), False),
        (segment(1 << 60, flags=ERROR), True),
        (segment(1 << 60, flags=CHANGE), True),
        (segment(1 << 60, longest=2_000_000_000), True),
        (segment(1 << 60, longest=999_999_999), False),
    ],
)
def test_policy(one: Segment, kept: bool) -> None:
    """Errors, slow spans and changes are kept, the rest by share."""
    sampler = TailSampler(SamplingPolicy(share=0.0, wait_seconds=5))
    assert sampler.offer([one], 0) == ([], [])
    assert sampler.judge(4.9) == ([], [])
    assert sampler.judge(5) == (([one], []) if kept else ([], [one]))


def test_the_whole_trace_is_judged() -> None:
    """One failed span keeps all segments of its trace, earlier and later ones."""
    sampler = TailSampler(SamplingPolicy(share=0.0, wait_seconds=5))
    early, failed, late = segment(7), segment(7, flags=ERROR), segment(7)
    sampler.offer([early], 0)
    sampler.offer([failed], 1)
    assert sampler.judge(5) == ([early, failed], [])
    assert sampler.offer([late], 6) == ([late], [])


def test_late_spans_of_a_dropped_trace() -> None:
    """They are thrown away too, unless one of them alone is a reason to keep."""
    sampler = TailSampler(SamplingPolicy(share=0.0, wait_seconds=1))
    sampler.offer([segment(9)], 0)
    sampler.judge(1)
    calm, failed = segment(9), segment(9, flags=ERROR)
    assert sampler.offer([calm, failed], 2) == ([failed], [calm])


def test_share_is_decided_by_trace_id() -> None:
    """The same half is kept everywhere."""
    policy = SamplingPolicy(share=0.5)
    kept = sum(policy.keeps((n << 55).to_bytes(16, "big"), 0, 0) for n in range(512))
    assert kept == 256


def test_everything_is_judged_at_the_end() -> None:
    """A stopping collector decides about what still waits."""
    sampler = TailSampler(SamplingPolicy(share=0.0, wait_seconds=100))
    failed, calm = segment(1, flags=ERROR), segment(2)
    sampler.offer([failed, calm], 0)
    assert sampler.judge(0, everything=True) == ([failed], [calm])
