"""The request record has upstream's keys in upstream's order."""

from __future__ import annotations

import io

from kubeglass.logging import httplog
from kubeglass.logging.options import LoggingOptions
from kubeglass.logging.setup import build
from kubeglass.logging.values import Duration

REQUEST = {
    "verb": "LIST",
    "uri": "/api/v1/nodes?limit=500",
    "latency": Duration(1_512_000),
    "user_agent": "kubectl/v1.36.2 (linux/amd64) kubernetes/abcdef0",
    "audit_id": "0f1e2d3c",
    "source": "10.56.1.19:51756",
}


def line(**more: object) -> str:
    stream = io.StringIO()
    log = build(LoggingOptions(verbosity=3), stream)
    log.v(httplog.LEVEL).info(httplog.MESSAGE, **httplog.request_values(**{**REQUEST, **more}))  # type: ignore[arg-type]
    return stream.getvalue().partition("] ")[2]


START = (
    '"HTTP" verb="LIST" URI="/api/v1/nodes?limit=500" latency="1.512ms" '
    'userAgent="kubectl/v1.36.2 (linux/amd64) kubernetes/abcdef0" audit-ID="0f1e2d3c" srcIP="10.56.1.19:51756" '
)


def test_order() -> None:
    """What filters added stands between the source address and the response."""
    added = [("apf_pl", "global-default"), ("apf_fs", "global-default"), ("apf_iseats", 1)]
    shown = 'apf_pl="global-default" apf_fs="global-default" apf_iseats=1 resp=200\n'
    assert line(status=200, added=added) == START + shown


def test_hijacked() -> None:
    """A hijacked connection has no response status."""
    assert line(hijacked=True) == f"{START}hijacked=true\n"


def test_stack() -> None:
    """A server error shows the stack and what the handler wrote."""
    shown = line(status=500, status_stack="\nframe 1\n", added_info='logging error output: "boom\\n"\n')
    assert (
        shown
        == START + 'resp=500 statusStack=<\n\t\n\tframe 1\n > addedInfo=<\n\tlogging error output: "boom\\n"\n >\n'
    )
    assert [status for status in (101, 200, 404, 500, 503) if httplog.has_stack(status)] == [500, 503]


def test_slow_filters() -> None:
    """Only a filter slower than 100 ms is named."""
    assert httplog.slow_filter("authentication", Duration(100_000_000)) is None
    assert httplog.slow_filter("authentication", Duration(100_100_000)) == ("fl_authentication", "100.1ms")
