"""The client's own brake: a token bucket, as --kube-api-qps and --kube-api-burst describe it. Pure.

Follows k8s.io/client-go/util/flowcontrol (a reservation is taken at once and waited for).
"""

from __future__ import annotations


class TokenBucket:
    """`burst` requests at once, `qps` per second in the long run, served in the order of their reservations."""

    __slots__ = ("_at", "_burst", "_qps", "_tokens")

    def __init__(self, qps: float, burst: int) -> None:
        if qps <= 0 or burst < 1:
            raise ValueError(f"a rate limit needs a positive rate and burst, not {qps} and {burst}")
        self._qps = qps
        self._burst = float(burst)
        self._tokens = self._burst
        self._at: float | None = None

    def reserve(self, now: float) -> float:
        """Take one token; the seconds until it is there."""
        if self._at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._qps)
        self._at = now
        self._tokens -= 1
        return max(0.0, -self._tokens / self._qps)
