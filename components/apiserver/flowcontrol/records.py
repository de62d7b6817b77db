"""What is remembered of a request: who sent it, how it was treated, and what became of it."""

from __future__ import annotations

import msgspec

from kubeglass.components.apiserver.flowcontrol.schemas import RequestDigest

EXECUTED = "executed"


class Caller(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Where a request came from, as far as it says so itself; for diagnosis only, never matched on."""

    source: str = ""  # host:port
    user_agent: str = ""
    audit_id: str = ""
    trace_id: str = ""


class Record(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One request and what became of it. Times are wall-clock nanoseconds."""

    digest: RequestDigest
    caller: Caller
    flow_schema: str
    priority_level: str
    rule: int  # the index of the schema's rule that matched; -1: none (catch-all as last resort)
    distinguisher: str
    hash_value: int
    hand: tuple[int, ...]
    queue: int  # -1: no queue
    initial_seats: int
    final_seats: int
    additional_latency_ns: int
    arrived_ns: int
    waited_ns: int
    executed_ns: int
    outcome: str  # executed, or the reason of the rejection (time-out: cancelled tells who gave up)
    cancelled: bool  # the client left before its wait was over
    limit: int  # of the level, when it was decided
    seats_in_use: int  # of the level, when it was decided
    query: dict[str, str] = {}  # what the width estimate read
