# ruff: noqa: E501
from typing import Any

import pytest

from kubeglass.components.api import defaults, kinds, names, validation
from kubeglass.components.api.kinds import Kind

LABELS = {"app": "web"}


def pod_spec(**changes: Any) -> dict[str, Any]:
    return {"containers": [{"name": "a", "image": "nginx"}], **changes}


def container(**changes: Any) -> dict[str, Any]:
    return {"containers": [{"name": "a", "image": "nginx", **changes}]}


def pod(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web", "namespace": "default", **metadata}, "spec": spec}


def deployment(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": LABELS}, "spec": pod_spec()}
    return pod({"selector": {"matchLabels": LABELS}, "template": template, **spec})


def stateful_set_with_claims() -> dict[str, Any]:
    mounted = container(volumeMounts=[{"name": "data", "mountPath": "/data"}])
    template = {"metadata": {"labels": LABELS}, "spec": mounted}
    return deployment(template=template, serviceName="web", volumeClaimTemplates=[{"metadata": {"name": "data"}}])


def service(**spec: Any) -> dict[str, Any]:
    return pod({"ports": [{"port": 80}], **spec})


LABEL, QUALIFIED = names.dns1123_label("Web")[0], names.qualified_name("a b")[0]


def endpoint_slice(*ports: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": "web-1", "namespace": "d"}
    return {"metadata": metadata, "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [*ports]}


def causes(kind: Kind, obj: dict[str, Any]) -> list[str]:
    defaults.apply(kind, obj)
    return [f"{cause.field}: {cause.message}" for cause in validation.created(kind, obj)]


@pytest.mark.parametrize(
    ("kind", "obj"),
    [
        (kinds.POD, pod(pod_spec())),
        (
            kinds.POD,
            pod(
                pod_spec(volumes=[{"name": "v", "emptyDir": {}}])
                | container(volumeMounts=[{"name": "v", "mountPath": "/x"}])
            ),
        ),
        (
            kinds.POD,
            pod(container(livenessProbe={"httpGet": {"port": "http"}}, ports=[{"containerPort": 80, "name": "http"}])),
        ),
        (kinds.DEPLOYMENT, deployment()),
        (kinds.STATEFUL_SET, stateful_set_with_claims()),
        (kinds.SERVICE, service()),
        (kinds.SERVICE, service(clusterIP="None", ports=[])),
        (kinds.ENDPOINT_SLICE, endpoint_slice({"port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"})),
        (kinds.CONFIG_MAP, {"metadata": {"name": "c", "namespace": "d"}, "data": {"a.b_c-d": "x"}}),
        (
            kinds.CLUSTER_ROLE,
            {"metadata": {"name": "system:x"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]},
        ),
    ],
)
def test_good_objects_pass(kind: Kind, obj: dict[str, Any]) -> None:
    """What upstream accepts is accepted."""
    assert causes(kind, obj) == []


@pytest.mark.parametrize(
    ("kind", "obj", "expected"),
    [
        (kinds.POD, pod(pod_spec(containers=[])), ["spec.containers: Required value"]),
        (
            kinds.POD,
            pod({"containers": [{"name": "a", "image": "x"}, {"name": "a", "image": "y"}]}),
            ['spec.containers[1].name: Duplicate value: "a"'],
        ),
        (
            kinds.POD,
            pod(container(imagePullPolicy="Sometimes")),
            [
                'spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"'
            ],
        ),
        (
            kinds.POD,
            pod(pod_spec(restartPolicy="Maybe")),
            ['spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "Never", "OnFailure"'],
        ),
        (
            kinds.POD,
            pod(container(ports=[{"containerPort": 70000}])),
            ["spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"],
        ),
        (
            kinds.POD,
            pod(container(volumeMounts=[{"name": "v", "mountPath": "/x"}])),
            ['spec.containers[0].volumeMounts[0].name: Not found: "v"'],
        ),
        (
            kinds.POD,
            pod(container(resources={"limits": {"cpu": "1"}, "requests": {"cpu": "2"}})),
            ['spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'],
        ),
        (
            kinds.POD,
            pod(container(livenessProbe={"periodSeconds": 5})),
            ["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
        ),
        (
            kinds.POD,
            pod(pod_spec(terminationGracePeriodSeconds=-1)),
            ["spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            kinds.POD,
            pod(pod_spec(), labels={"a b": "c"}),
            [
                "metadata.labels: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            ],
        ),
        (
            kinds.POD,
            pod(pod_spec(), ownerReferences=[{"apiVersion": "v1", "kind": "X", "name": "x"}]),
            ['metadata.ownerReferences[0].uid: Invalid value: "": must not be empty'],
        ),
        (
            kinds.DEPLOYMENT,
            deployment(replicas=-1),
            ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            kinds.DEPLOYMENT,
            deployment(selector={}),
            ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
        ),
        (
            kinds.DEPLOYMENT,
            deployment(strategy={"type": "Recreate", "rollingUpdate": {}}),
            ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
        ),
        (
            kinds.DEPLOYMENT,
            deployment(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
            ["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"],
        ),
        (kinds.SERVICE, service(ports=[]), ["spec.ports: Required value"]),
        (
            kinds.ENDPOINT_SLICE,
            endpoint_slice({"protocol": "ICMP"}, {"name": "Web"}, {"name": "Web", "appProtocol": "a b"}),
            [
                'ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"',
                f'ports[1].name: Invalid value: "Web": {LABEL}',
                f'ports[2].name: Invalid value: "Web": {LABEL}',
                'ports[2].name: Duplicate value: "Web"',
                f'ports[2].appProtocol: Invalid value: "a b": {QUALIFIED}',
            ],
        ),
        (
            kinds.ENDPOINT_SLICE,
            endpoint_slice() | {"endpoints": [{"addresses": ["10.0.0.1"] * 101}] * 1001},
            ["endpoints: Too many: 1001: must have at most 1000 items"]
            + [f"endpoints[{index}].addresses: Too many: 101: must have at most 100 items" for index in range(1001)],
        ),
        (
            kinds.SERVICE,
            service(ports=[{"port": 1}, {"port": 2}]),
            ["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"],
        ),
        (
            kinds.SERVICE,
            service(type="Magic"),
            [
                'spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'
            ],
        ),
        (
            kinds.JOB,
            pod(
                {"selector": {"matchLabels": LABELS}, "template": {"metadata": {"labels": LABELS}, "spec": pod_spec()}}
            ),
            ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'],
        ),
        (
            kinds.CRON_JOB,
            pod({"schedule": "* *", "jobTemplate": {"spec": {"template": {"spec": pod_spec(restartPolicy="Never")}}}}),
            ['spec.schedule: Invalid value: "* *": expected exactly 5 fields, found 2: [* *]'],
        ),
        (
            kinds.CONFIG_MAP,
            {"metadata": {"name": "c", "namespace": "d"}, "data": {"a b": "x"}},
            [
                "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
            ],
        ),
        (
            kinds.ROLE,
            {
                "metadata": {"name": "r", "namespace": "d"},
                "rules": [{"verbs": [], "apiGroups": [""], "resources": ["pods"]}],
            },
            ["rules[0].verbs: Required value: verbs must contain at least one value"],
        ),
        (
            kinds.PRIORITY_CLASS,
            {"metadata": {"name": "p"}, "value": 2000000000},
            ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
        ),
        (
            kinds.SECRET,
            {"metadata": {"name": "s", "namespace": "d"}, "type": "kubernetes.io/tls", "data": {}},
            ["data[tls.crt]: Required value", "data[tls.key]: Required value"],
        ),
        (
            kinds.NAMESPACE,
            {"metadata": {"name": "a.b"}},
            [
                "metadata.name: Invalid value: \"a.b\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ],
        ),
    ],
)
def test_bad_objects_are_refused_in_upstreams_words(kind: Kind, obj: dict[str, Any], expected: list[str]) -> None:
    """Each cause names its field and says what is wrong, as upstream does."""
    assert causes(kind, obj) == expected


def changed(kind: Kind, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    for obj in (old, new):
        defaults.apply(kind, obj)
    return [f"{cause.field}: {cause.message}" for cause in validation.updated(kind, new, old)]


@pytest.mark.parametrize(
    ("kind", "old", "new", "expected"),
    [
        (kinds.SERVICE, service(clusterIP="10.0.0.1"), service(clusterIP="10.0.0.2"), ['spec.clusterIPs[0]: Invalid value: "10.0.0.2": may not change once set']),
        (kinds.CONFIG_MAP, {"metadata": {"name": "c", "namespace": "d"}, "immutable": True, "data": {"a": "1"}}, {"metadata": {"name": "c", "namespace": "d"}, "immutable": True, "data": {"a": "2"}}, ["data: Forbidden: field is immutable when `immutable` is set"]),
        (kinds.SECRET, {"metadata": {"name": "s", "namespace": "d"}, "type": "a"}, {"metadata": {"name": "s", "namespace": "d"}, "type": "b"}, ['type: Invalid value: "b": field is immutable']),
        (kinds.POD, pod(pod_spec()), pod(pod_spec(activeDeadlineSeconds=5)), []),
        (kinds.POD, pod(pod_spec(activeDeadlineSeconds=5)), pod(pod_spec(activeDeadlineSeconds=9)), ["spec.activeDeadlineSeconds: Invalid value: 9: must be less than or equal to previous value"]),
        (kinds.POD, pod(pod_spec()), pod(pod_spec(containers=[])), ["spec.containers: Forbidden: pod updates may not add or remove containers", "spec.containers: Required value"]),
    ],
)  # fmt: skip
def test_updates(kind: Kind, old: dict[str, Any], new: dict[str, Any], expected: list[str]) -> None:
    """What may not change once it is set."""
    assert changed(kind, old, new) == expected
