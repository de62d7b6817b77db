"""Who may take a lease."""

from kubeglass.components.machinery.leases import Observation, Timing, may_take

TIMING = Timing()


def held_by(holder: str, seen_at: float) -> Observation:
    return Observation({"holderIdentity": holder, "leaseDurationSeconds": 15}, seen_at)


def test_a_free_lease_may_be_taken():
    """Without a lease, or with an empty holder, anybody may."""
    assert may_take(None, "me", 0.0, TIMING)
    assert may_take(held_by("", 0.0), "me", 0.0, TIMING)


def test_the_holder_may_renew():
    """The holder may always write."""
    assert may_take(held_by("me", 0.0), "me", 1.0, TIMING)


def test_others_wait_until_it_expired():
    """Another holder's lease may be taken only a whole duration after it was last seen to change."""
    assert not may_take(held_by("other", 100.0), "me", 115.0, TIMING)
    assert may_take(held_by("other", 100.0), "me", 115.1, TIMING)
