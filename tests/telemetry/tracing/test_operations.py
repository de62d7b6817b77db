"""A slow operation leaves upstream's text in the log, whether or not its span is kept; a quick one leaves none."""

import io
import re
import time

import pytest

from kubeglass.logging.options import LoggingOptions
from kubeglass.logging.setup import build
from kubeglass.telemetry.tracing.operations import OperationTracer
from kubeglass.telemetry.tracing.tracer import Fixed, Tracer, current_span


def traced(verbosity=2, threshold=0.02):
    stream = io.StringIO()
    log = build(LoggingOptions(verbosity=verbosity), stream)
    return OperationTracer(Tracer(), log, threshold), stream


def shape(text):
    """The text without times and numbers."""
    text = re.sub(r"^[IWEF]\d{4} [^\]]*\] ", "", text, flags=re.M)
    text = re.sub(r"Trace\[\d+\]", "Trace[N]", text)
    text = re.sub(r"\d{2}-\w{3}-\d{4} \d{2}:\d{2}:\d{2}\.\d{3}", "DATE", text)
    text = re.sub(r"\d{2}:\d{2}:\d{2}\.\d{3}", "CLOCK", text)
    text = re.sub(r"\[[\d.]+ms\]", "[TIME]", text)
    return re.sub(r"\d+ms", "Xms", text)


def test_a_slow_operation_is_told_with_its_steps():
    """Attributes become fields, events steps, inner operations nested traces; the outermost prints."""
    tracer, stream = traced()
    with tracer.span("Create", attributes={"verb": "POST", "name": "a"}) as span:
        span.event("About to store")
        with tracer.span("Create sqlite", attributes={"key": "/registry/a"}) as inner:
            time.sleep(0.03)
            inner.event("Txn call succeeded", len=3)
    assert shape(stream.getvalue()) == (
        'Trace[N]: "Create" verb:POST,name:a (DATE) (total time: Xms):\n'
        'Trace[N]: ["Create sqlite" key:/registry/a Xms (CLOCK)\n'
        'Trace[N]:  ---"Txn call succeeded" len:3 Xms (CLOCK)]\n'
        "Trace[N]: [TIME] [TIME] END\n"
    )


@pytest.mark.parametrize(("verbosity", "threshold"), [(2, 10.0), (1, 0.0)])
def test_quick_or_quiet_operations_leave_nothing(verbosity, threshold):
    """Below the threshold, and below -v=2, nothing is printed."""
    tracer, stream = traced(verbosity, threshold)
    with tracer.span("Get") as span:
        span.event("About to Get from storage")
    assert stream.getvalue() == ""


def test_a_slow_part_of_a_quick_whole_is_told_alone():
    """The outermost operation prints what was slow inside it."""
    stream = io.StringIO()
    log = build(LoggingOptions(verbosity=2), stream)
    outer, inner = OperationTracer(Tracer(), log, 10.0), OperationTracer(Tracer(), log, 0.0)
    with outer.span("List"), inner.span("List sqlite"):
        pass
    assert shape(stream.getvalue()).startswith('Trace[N]: "List sqlite" (DATE)')


def test_secrets_do_not_reach_the_text():
    """Fields are cleaned as every other text."""
    tracer, stream = traced(threshold=0.0)
    with tracer.span("Get", attributes={"url": "/x?access_token=hunter2hunter2"}):
        pass
    assert "hunter2" not in stream.getvalue()
    assert "[redacted:token]" in stream.getvalue()


def test_an_operation_shows_what_its_span_shares():
    """Whoever asks the current span for what a request's spans have in common finds it behind an operation, too."""

    class Nowhere:
        def offer(self, span):
            pass

    common = Fixed({"audit-id": "a"})
    tracer = OperationTracer(Tracer(Nowhere()), build(LoggingOptions(verbosity=2), io.StringIO()), 1e6)
    with tracer.span("Get", shared=(common,)) as operation:
        operation.share(Fixed({"group": ""}))
        assert [dict(part) for part in current_span().shared] == [{"audit-id": "a"}, {"group": ""}]
