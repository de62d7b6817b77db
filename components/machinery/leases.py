"""Leader election over a coordination.k8s.io Lease: one of several processes leads, the others wait.

The decision is pure (`decide`); the loop around it reads, decides and writes. Upstream: client-go/tools/leaderelection.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api.errors import AlreadyExists, ApiError, Conflict, NotFound
from kubeglass.components.api.kinds import LEASE
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.metrics import LeaderElectionMetrics
from kubeglass.components.machinery.transport import Unreachable
from kubeglass.telemetry import Telemetry

_JITTER = 1.2
_FIRST_UNREACHABLE_SECONDS = 0.02


class LeadershipLost(Exception):
    """The lease could not be renewed in time; whoever led must stop."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Upstream's defaults: --leader-elect-lease-duration, -renew-deadline, -retry-period."""

    lease_duration_seconds: float = 15.0
    renew_deadline_seconds: float = 10.0
    retry_period_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Observation:
    """A lease as last seen changing: its spec and when we saw it (our clock, never theirs)."""

    spec: dict[str, Any]
    seen_at: float


def may_take(observation: Observation | None, identity: str, now: float, timing: Timing) -> bool:
    """Whether `identity` may hold the lease now: it is free, ours, or its holder was silent for a lease duration."""
    if observation is None:
        return True
    holder = observation.spec.get("holderIdentity") or ""
    if holder in ("", identity):
        return True
    duration = observation.spec.get("leaseDurationSeconds") or timing.lease_duration_seconds
    return observation.seen_at + float(duration) < now


class LeaderElector:
    """Takes a lease and keeps it."""

    def __init__(
        self,
        client: Client,
        name: str,
        identity: str,
        telemetry: Telemetry,
        *,
        namespace: str = "kube-system",
        timing: Timing | None = None,
    ) -> None:
        self._client = client
        self._name, self._namespace, self._identity = name, namespace, identity
        self._timing = timing or Timing()
        self._log = telemetry.log
        self._metrics = LeaderElectionMetrics(telemetry.metrics, name)
        self._observation: Observation | None = None
        self._renewed_at = 0.0

    @property
    def leading(self) -> bool:
        """Whether the lease is ours and fresh."""
        return self._renewed_at > 0

    async def acquire(self) -> None:
        """Wait until the lease is ours."""
        self._log.info("Attempting to acquire leader lease...", lock=f"{self._namespace}/{self._name}")
        self._metrics.leading(False)
        unreachable_seconds = _FIRST_UNREACHABLE_SECONDS
        while True:
            try:
                if await self._try():
                    break
                wait = self._timing.retry_period_seconds * random.uniform(1, _JITTER)
            except Unreachable as error:
                # The server is starting, as we are: look again soon, but ever less often.
                self._log.v(4).info("API server not reachable yet", err=str(error))
                wait = unreachable_seconds = min(unreachable_seconds * 1.5, self._timing.retry_period_seconds)
            await asyncio.sleep(wait)
        self._metrics.leading(True)
        self._log.info("Successfully acquired lease", lock=f"{self._namespace}/{self._name}")

    async def renew_forever(self, started: Callable[[], None] = lambda: None) -> None:
        """Keep the lease. Raises LeadershipLost when it could not be renewed within the deadline."""
        started()
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._timing.retry_period_seconds)
            if await self._renewed():
                continue
            self._metrics.slow()
            if loop.time() - self._renewed_at > self._timing.renew_deadline_seconds:
                self._renewed_at = 0.0
                self._metrics.leading(False)
                raise LeadershipLost(f"failed to renew lease {self._namespace}/{self._name}: timed out")

    async def release(self) -> None:
        """Give the lease back, so that the next process need not wait for it to expire."""
        if not self.leading:
            return
        self._renewed_at = 0.0
        self._metrics.leading(False)
        try:
            lease = await self._client.get(LEASE, self._name, self._namespace)
            if lease["spec"].get("holderIdentity") == self._identity:
                lease["spec"].update(holderIdentity="", leaseDurationSeconds=1, renewTime=clock.now_micro())
                await self._client.update(LEASE, lease)
        except (ApiError, Unreachable) as error:
            self._log.v(2).info("Failed to release lease", lock=f"{self._namespace}/{self._name}", err=str(error))

    async def _renewed(self) -> bool:
        try:
            return await self._try()
        except Unreachable as error:
            self._log.error(error, "Failed to update lease", lock=f"{self._namespace}/{self._name}")
            return False

    async def _try(self) -> bool:
        """Whether the lease is ours now. Raises Unreachable."""
        try:
            return await self._take_or_renew()
        except (Conflict, AlreadyExists):
            return False
        except ApiError as error:
            self._log.error(error, "Error retrieving lease lock", lock=f"{self._namespace}/{self._name}")
            return False

    async def _take_or_renew(self) -> bool:
        now = asyncio.get_running_loop().time()
        try:
            lease = await self._client.get(LEASE, self._name, self._namespace)
        except NotFound:
            await self._client.create(LEASE, self._new_lease(), self._namespace)
            self._renewed_at = now
            return True
        spec = lease.setdefault("spec", {})
        if self._observation is None or self._observation.spec != spec:
            self._observation = Observation(dict(spec), now)
        if not may_take(self._observation, self._identity, now, self._timing):
            return False
        stamp = clock.now_micro()
        if spec.get("holderIdentity") != self._identity:
            spec["acquireTime"] = stamp
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
        spec["holderIdentity"] = self._identity
        spec["leaseDurationSeconds"] = int(self._timing.lease_duration_seconds)
        spec["renewTime"] = stamp
        updated = await self._client.update(LEASE, lease)
        self._observation = Observation(dict(updated["spec"]), now)
        self._renewed_at = now
        return True

    def _new_lease(self) -> dict[str, Any]:
        stamp = clock.now_micro()
        return {
            "apiVersion": LEASE.api_version,
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": int(self._timing.lease_duration_seconds),
                "acquireTime": stamp,
                "renewTime": stamp,
                "leaseTransitions": 0,
            },
        }
