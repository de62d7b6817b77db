"""Spans say which object they are about, also those of controllers that look at everything now and then."""

from __future__ import annotations

import asyncio

from kubeglass.components.api.kinds import NODE
from kubeglass.telemetry.tracing.tracer import RecordedSpan

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "placed", "namespace": "default"},
    "spec": {"containers": [{"name": "c", "image": "pause"}]},
}


def test_each_extension_point_names_its_pod(cluster):
    """Of a Pod that was placed, from the first filter to the binding."""
    cluster.apply(POD)
    cluster.ready("pod", "placed")
    for point in (
        "PreFilter",
        "Filter",
        "Reserve",
        "Permit",
        "PreBind",
        "Bind",
    ):  # of a single node no scores are asked
        seen = cluster.traces.one(point, "scheduler", k8s__pod__name="placed", k8s__namespace__name="default")
        assert seen.span.attributes["k8s.pod.uid"]


def test_a_look_at_all_nodes_leaves_the_spans_of_what_it_did(cluster):
    """A node that is cordoned is tainted: one span about the node, linked to the change, in a trace of its own."""
    (node,) = cluster.list("nodes")
    name = node["metadata"]["name"]
    cordoned = cluster.run(cluster.plane.server.client().patch(NODE, name, {"spec": {"unschedulable": True}}))
    cause = cordoned["metadata"]["annotations"]["tracing.k8s.io/traceparent"].split("-")[1]

    def looked() -> list[RecordedSpan]:
        return [one.span for one in cluster.traces.spans("reconcile node-lifecycle", k8s__node__name=name)]

    def tainted() -> list[RecordedSpan]:
        return [span for span in looked() if cause in {link.context.trace_hex for link in span.links or ()}]

    cluster.eventually(tainted, "the node is tainted")
    before = len(looked())
    assert all(span.parent is None for span in looked())
    cluster.run(asyncio.sleep(6))  # a whole period, in which nothing is to be done
    assert len(looked()) == before
