"""The apiserver's request record: its keys and their order, as k8s.io/apiserver/pkg/server/httplog writes them.

Pure. The record is made once per request, when its handler has returned, as `log.v(LEVEL).info(MESSAGE, **values)`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kubeglass.logging.values import Duration

MESSAGE = "HTTP"
LEVEL = 3
MAX_ID_LENGTH = 64
SLOW_FILTER_NANOSECONDS = 100_000_000


def request_values(
    *,
    verb: str,
    uri: str,
    latency: Duration,
    user_agent: str,
    audit_id: str,
    source: str,
    added: Iterable[tuple[str, Any]] = (),
    status: int = 0,
    hijacked: bool = False,
    status_stack: str = "",
    added_info: str = "",
) -> dict[str, Any]:
    """The values of a request record in upstream's order.

    `verb` is the request's verb in upper case (LIST, WATCH, APPLY, CONNECT …), `source` address:port, `added` what
    filters contributed (apf_pl, apf_fs, fl_… in order). `status_stack` only goes with statuses that have one.
    """
    values: dict[str, Any] = {
        "verb": verb,
        "URI": uri,
        "latency": latency,
        "userAgent": user_agent,
        "audit-ID": audit_id[:MAX_ID_LENGTH],
        "srcIP": source,
        **dict(added),
    }
    if hijacked:
        values["hijacked"] = True
        return values
    values["resp"] = status
    if status_stack:
        values["statusStack"] = status_stack
    if added_info:
        values["addedInfo"] = added_info
    return values


def has_stack(status: int) -> bool:
    """Whether a response with this status is logged with the stack of its handler."""
    return (status < 200 or status >= 500) and status != 101


def slow_filter(name: str, latency: Duration) -> tuple[str, str] | None:
    """The pair that a filter's latency adds, None when it was fast."""
    return (f"fl_{name}", str(latency)) if latency > SLOW_FILTER_NANOSECONDS else None
