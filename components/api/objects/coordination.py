"""Read-only views: Leases (coordination.k8s.io/v1)."""

from __future__ import annotations

from kubeglass.components.api.objects.meta import Resource
from kubeglass.components.api.objects.struct import Object


class LeaseSpec(Object):
    acquire_time: str = ""
    holder_identity: str = ""
    lease_duration_seconds: int | None = None
    lease_transitions: int = 0
    preferred_holder: str = ""
    renew_time: str = ""
    strategy: str = ""


class Lease(Resource):
    spec: LeaseSpec = LeaseSpec()
