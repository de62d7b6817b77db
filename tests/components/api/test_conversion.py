from kubeglass.components.api import conversion, kinds


def test_autoscalers_of_the_old_version() -> None:
    """A CPU target of autoscaling/v1 is a cpu metric at rest and comes back as it was."""
    sent = {"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 70}, "status": {}}
    kept = conversion.to_stored(kinds.HORIZONTAL_POD_AUTOSCALER_V1, sent)
    assert kept["apiVersion"] == "autoscaling/v2"
    assert kept["spec"]["metrics"] == [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
    ]
    shown = conversion.from_stored(kinds.HORIZONTAL_POD_AUTOSCALER_V1, kept)
    assert shown == {"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v1", **sent}


def test_kinds_at_rest_need_no_conversion() -> None:
    """Only rows with another storage version are converted."""
    needing = [kind for kind in kinds.KINDS if conversion.needed(kind)]
    assert kinds.EVENTS_EVENT in needing and kinds.HORIZONTAL_POD_AUTOSCALER_V1 in needing
    assert kinds.POD not in needing and kinds.FLOW_SCHEMA not in needing
    obj = {"metadata": {}}
    assert conversion.to_stored(kinds.POD, obj) is obj
