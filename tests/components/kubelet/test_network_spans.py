"""CNI calls in the trace: the kubelet's own span, and the one that the plugin's process tells of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubeglass.components.kubelet.network import CniNetwork, NetworkError, write_loopback_network
from kubeglass.telemetry.tracing.tracer import CLIENT, ERROR, SERVER, RecordedSpan, Tracer


class Kept:
    """A sink that keeps."""

    def __init__(self) -> None:
        self.spans: list[RecordedSpan] = []

    def offer(self, span: RecordedSpan) -> None:
        self.spans.append(span)


@pytest.fixture
def kept() -> Kept:
    return Kept()


def network(tmp_path: Path, tracer: Tracer) -> CniNetwork:
    conf, plugins = write_loopback_network(tmp_path, "127.150.0.0/24")
    return CniNetwork(conf, (plugins,), tmp_path / "results", tracer)


async def test_the_plugins_process_is_a_child_of_the_call(tmp_path: Path, kept: Kept) -> None:
    """ADD and DEL are each a client span with the plugin's server span inside, of another process."""
    made = network(tmp_path, Tracer(kept))
    await made.attach("uid-0", "default", "web", "uid")
    await made.detach("uid-0")
    inner, outer, *_ = kept.spans
    assert [span.name for span in kept.spans] == ["ADD network", "CNI ADD", "DEL network", "CNI DEL"]
    assert (inner.kind, outer.kind) == (SERVER, CLIENT)
    assert inner.parent is not None and inner.parent.span_id == outer.context.span_id
    assert outer.start_ns <= inner.start_ns <= inner.end_ns <= outer.end_ns
    assert outer.attributes["k8s.pod.uid"] == "uid" and inner.attributes["process.pid"]
    assert (outer.attributes["k8s.namespace.name"], outer.attributes["k8s.pod.name"]) == ("default", "web")


async def test_a_plugin_that_fails_is_an_error(tmp_path: Path, kept: Kept) -> None:
    """Both spans say why, and the message for the Event has no span in it."""
    made = network(tmp_path, Tracer(kept))
    (tmp_path / "networks").write_text("in the way of the folder")
    with pytest.raises(NetworkError) as failed:
        await made.attach("uid-0", "default", "web", "uid")
    assert "kubeglass-span" not in str(failed.value)
    assert {span.status for span in kept.spans if "ADD" in span.name} == {ERROR}


async def test_without_tracing_nothing_is_asked_for(tmp_path: Path) -> None:
    """A tracer that is off passes no context and reads no spans."""
    assert (await network(tmp_path, Tracer()).attach("uid-0", "default", "web", "uid")).startswith("127.150.0.")
