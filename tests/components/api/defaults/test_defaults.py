from typing import Any

import pytest

from kubeglass.components.api import defaults, kinds
from kubeglass.components.api.defaults.pods import pull_policy


def defaulted(kind: kinds.Kind, obj: dict[str, Any]) -> dict[str, Any]:
    defaults.apply(kind, obj)
    return obj


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("registry:5000/nginx", "Always"),
        ("registry:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:abc", "IfNotPresent"),
    ],
)
def test_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    """Only `latest` and untagged images are always pulled; a registry's port is no tag."""
    assert pull_policy(image) == policy


def test_a_deployment_is_filled_in() -> None:
    """Replicas, strategy, history and deadline get upstream's numbers; a probe gets its timings."""
    probe = {"httpGet": {"port": 80}}
    made = defaulted(
        kinds.DEPLOYMENT,
        {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "x:1", "livenessProbe": probe}]}}}},
    )
    spec = made["spec"]
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (1, 10, 600)
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    template = spec["template"]["spec"]
    assert "enableServiceLinks" not in template
    assert template["containers"][0]["livenessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }


def test_limits_become_requests_of_a_pod_but_not_of_a_template() -> None:
    """A Pod's container that only limits a resource requests as much."""
    resources = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}}
    containers = [{"name": "a", "image": "x", "resources": resources}]
    made = defaulted(kinds.POD, {"spec": {"containers": containers}})
    assert made["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "100m", "memory": "1Gi"}


def test_a_service_is_filled_in() -> None:
    """Type, affinity, protocol, target port and traffic policies."""
    made = defaulted(
        kinds.SERVICE, {"spec": {"ports": [{"port": 80}], "sessionAffinity": "ClientIP", "type": "NodePort"}}
    )
    assert made["spec"] == {
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
        "type": "NodePort",
        "externalTrafficPolicy": "Cluster",
        "internalTrafficPolicy": "Cluster",
    }


@pytest.mark.parametrize(
    "kind", [kind for kind in kinds.KINDS if kind.storable], ids=lambda kind: f"{kind.group}/{kind.plural}"
)
def test_defaulting_twice_changes_nothing(kind: kinds.Kind) -> None:
    """Defaults are stable: an object that was stored is not changed when it is stored again."""
    once = defaulted(kind, {"metadata": {"name": "x"}, "spec": {}})
    again = defaulted(kind, {name: dict(value) if isinstance(value, dict) else value for name, value in once.items()})
    assert again == once
