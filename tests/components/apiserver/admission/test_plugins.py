import base64
from functools import partial
from typing import Any

import msgspec
import pytest

from kubeglass.components.api import errors, kinds
from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.signing import KUBE_APISERVER_CLIENT, KUBELET_CLIENT
from kubeglass.components.api.user import UserInfo
from kubeglass.components.apiserver.admission.chain import Attributes, Chain, Operation
from kubeglass.components.apiserver.admission.plugins import check, default_plugins
from kubeglass.components.apiserver.admission.webhooks import CallFailed, Webhooks
from kubeglass.components.machinery import certs

ADMIN = UserInfo("admin")


class Objects:
    """A Reader over plain objects."""

    def __init__(self, *found: tuple[Kind, dict[str, Any]]) -> None:
        self.found = list(found)

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        return next((item for item in await self.list(kind, namespace) if item["metadata"]["name"] == name), None)

    async def list(self, kind: Kind, namespace: str = "") -> list[dict[str, Any]]:
        return [
            item
            for row, item in self.found
            if row == kind and (not namespace or item["metadata"].get("namespace", "") == namespace)
        ]


DEFAULT = (kinds.NAMESPACE, {"metadata": {"name": "default"}, "status": {"phase": "Active"}})
ACCOUNT = (kinds.SERVICE_ACCOUNT, {"metadata": {"name": "default", "namespace": "default"}})


def pod(name: str = "web", resources: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "nginx"} | ({"resources": resources} if resources else {})
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"containers": [container], **spec}}


async def no_spending(namespace: str, name: str, change: Any) -> None:
    raise AssertionError("nothing to spend")


def may_use_signer(user: UserInfo, verb: str, signer: str) -> bool:
    """admin may do anything for any signer, jane only what her groups name."""
    return user.name == "admin" or f"{verb} {signer}" in user.groups


async def admitted(
    reader: Objects,
    obj: dict[str, Any] | None,
    kind: Kind = kinds.POD,
    operation: Operation = "CREATE",
    user: UserInfo = ADMIN,
    old: dict[str, Any] | None = None,
    subresource: str = "",
    webhooks: Webhooks | None = None,
    spend: Any = no_spending,
) -> Attributes:
    metadata = (obj or old or {})["metadata"]
    namespace, name = metadata.get("namespace", ""), metadata.get("name", "")
    attributes = Attributes(operation, kind, namespace, name, obj, old, user, subresource)
    chain = Chain(default_plugins(reader, spend, may_use_signer, webhooks))
    await chain.admit(attributes)
    await chain.validate(attributes)
    return attributes


async def test_a_pod_gets_its_account_tolerations_and_priority() -> None:
    """An empty Pod leaves admission with a token volume, two tolerations and priority 0."""
    attributes = await admitted(Objects(DEFAULT, ACCOUNT), pod())
    assert attributes.obj is not None
    spec = attributes.obj["spec"]
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    volume = spec["volumes"][0]
    assert volume["name"].startswith("kube-api-access-")
    assert volume["projected"]["sources"][0] == {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
    assert spec["containers"][0]["volumeMounts"] == [
        {"name": volume["name"], "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    ]
    assert [toleration["key"] for toleration in spec["tolerations"]] == [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]
    assert (spec["priority"], spec["preemptionPolicy"]) == (0, "PreemptLowerPriority")


@pytest.mark.parametrize(
    ("reader", "obj", "message"),
    [
        (Objects(), pod(), 'namespaces "default" not found'),
        (
            Objects((kinds.NAMESPACE, {"metadata": {"name": "default"}, "status": {"phase": "Terminating"}})),
            pod(),
            'pods "web" is forbidden: unable to create new content in namespace default because it is being terminated',
        ),
        (
            Objects(DEFAULT),
            pod(serviceAccountName="ghost"),
            'pods "web" is forbidden: error looking up service account default/ghost: serviceaccount "ghost" not found',
        ),
        (
            Objects(DEFAULT, ACCOUNT),
            pod(priorityClassName="high"),
            'pods "web" is forbidden: no PriorityClass with name high was found',
        ),
    ],
)
async def test_refusals(reader: Objects, obj: dict[str, Any], message: str) -> None:
    """Each plugin refuses in upstream's words."""
    with pytest.raises(errors.ApiError) as refused:
        await admitted(reader, obj)
    assert refused.value.message == message


async def test_the_first_namespaces_cannot_be_deleted() -> None:
    """kube-system stays."""
    with pytest.raises(errors.Forbidden) as refused:
        await admitted(Objects(), None, kinds.NAMESPACE, "DELETE", old={"metadata": {"name": "kube-system"}})
    assert refused.value.message == 'namespaces "kube-system" is forbidden: this namespace may not be deleted'


async def test_limit_ranges_default_and_bound() -> None:
    """A container without requests gets the range's; one that asks too much is refused."""
    limits = {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "1"}}
    reader = Objects(
        DEFAULT,
        ACCOUNT,
        (kinds.LIMIT_RANGE, {"metadata": {"name": "l", "namespace": "default"}, "spec": {"limits": [limits]}}),
    )
    attributes = await admitted(reader, pod())
    assert attributes.obj is not None
    assert attributes.obj["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "100m"},
        "limits": {"cpu": "500m"},
    }
    assert attributes.obj["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu request for container main; cpu limit for container main"
    )
    with pytest.raises(errors.Forbidden) as refused:
        await admitted(reader, pod(resources={"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}))
    assert refused.value.message == ('pods "web" is forbidden: maximum cpu usage per Container is 1, but limit is 2')


async def test_quotas_count_and_refuse() -> None:
    """A Pod within the quota is added to used; one beyond it is refused with requested, used and limited."""
    quota = {
        "metadata": {"name": "q", "namespace": "default"},
        "spec": {"hard": {"pods": "2", "requests.cpu": "1"}},
        "status": {"hard": {"pods": "2", "requests.cpu": "1"}, "used": {"pods": "1", "requests.cpu": "500m"}},
    }
    reader = Objects(DEFAULT, ACCOUNT, (kinds.RESOURCE_QUOTA, quota))
    written = []

    async def spend(namespace: str, name: str, change: Any) -> None:
        written.append(change(quota)["status"]["used"])

    await admitted(reader, pod(resources={"requests": {"cpu": "100m"}}), spend=spend)
    assert written == [{"pods": "2", "requests.cpu": "600m"}]
    with pytest.raises(errors.Forbidden) as refused:
        await admitted(reader, pod(resources={"requests": {"cpu": "600m"}}), spend=spend)
    assert refused.value.message == (
        'pods "web" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=500m, '
        "limited: requests.cpu=1"
    )
    with pytest.raises(errors.Forbidden) as refused:
        await admitted(reader, pod(), spend=spend)
    assert refused.value.message == 'pods "web" is forbidden: failed quota: q: must specify requests.cpu for: main'


@pytest.mark.parametrize(
    ("operation", "subresource", "kind", "name", "node", "allowed"),
    [
        ("UPDATE", "status", kinds.POD, "web", "n1", True),
        ("UPDATE", "status", kinds.POD, "web", "n2", False),
        ("UPDATE", "status", kinds.NODE, "n1", "", True),
        ("UPDATE", "status", kinds.NODE, "n2", "", False),
    ],
)
async def test_a_kubelet_writes_only_what_is_its_own(
    operation: Operation, subresource: str, kind: Kind, name: str, node: str, allowed: bool
) -> None:
    """Its Pods' status and its Node."""
    kubelet = UserInfo("system:node:n1", groups=("system:nodes",))
    obj = {"metadata": {"name": name, "namespace": "default" if kind.namespaced else ""}, "spec": {"nodeName": node}}
    call = admitted(Objects(DEFAULT), obj, kind, operation, kubelet, obj, subresource)
    if allowed:
        await call
    else:
        with pytest.raises(errors.Forbidden):
            await call


def hook(name: str, **fields: Any) -> dict[str, Any]:
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    return {
        "name": name,
        "clientConfig": {"url": "https://127.0.0.1/"},
        "sideEffects": "None",
        "rules": [rule],
    } | fields


def registered(kind: Kind, *hooks: dict[str, Any]) -> tuple[Kind, dict[str, Any]]:
    return kind, {"metadata": {"name": "config"}, "webhooks": list(hooks)}


def answering(**response: Any) -> Any:
    async def call(where: Any, body: bytes, seconds: float) -> tuple[int, bytes]:
        request = msgspec.json.decode(body)["request"]
        return 200, msgspec.json.encode({"response": {"uid": request["uid"], **response}})

    return call


async def test_a_mutating_webhook_patches() -> None:
    """Its JSON patch ends in the object, its warnings in the answer."""
    patch = base64.b64encode(b'[{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]').decode()
    reader = Objects(DEFAULT, ACCOUNT, registered(kinds.MUTATING_WEBHOOK_CONFIGURATION, hook("m.example.com")))
    webhooks = Webhooks(reader, answering(allowed=True, patch=patch, patchType="JSONPatch", warnings=["careful"]))
    attributes = await admitted(reader, pod(), webhooks=webhooks)
    assert attributes.obj is not None
    assert attributes.obj["metadata"]["labels"] == {"a": "b"}
    assert attributes.warnings == ["careful"]


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        ({"message": "no"}, 'admission webhook "v.example.com" denied the request: no', 403),
        ({"code": 422, "reason": "Invalid"}, 'admission webhook "v.example.com" denied the request: Invalid', 422),
        (None, 'admission webhook "v.example.com" denied the request without explanation', 403),
    ],
)
async def test_a_validating_webhook_denies(status: Any, message: str, code: int) -> None:
    """The refusal names the webhook and carries its message and code."""
    reader = Objects(DEFAULT, ACCOUNT, registered(kinds.VALIDATING_WEBHOOK_CONFIGURATION, hook("v.example.com")))
    with pytest.raises(errors.ApiError) as refused:
        await admitted(reader, pod(), webhooks=Webhooks(reader, answering(allowed=False, status=status)))
    assert (refused.value.message, refused.value.status_code) == (message, code)


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
async def test_an_unreachable_webhook(policy: str) -> None:
    """Fail refuses the write, Ignore lets it pass and says so in an audit annotation."""
    reader = Objects(
        DEFAULT,
        ACCOUNT,
        registered(kinds.VALIDATING_WEBHOOK_CONFIGURATION, hook("v.example.com", failurePolicy=policy)),
    )

    async def call(where: Any, body: bytes, seconds: float) -> tuple[int, bytes]:
        raise CallFailed("connection refused")

    if policy == "Ignore":
        attributes = await admitted(reader, pod(), webhooks=Webhooks(reader, call))
        assert "failed-open.validating.webhook.admission.k8s.io/v.example.com" in attributes.annotations
        return
    with pytest.raises(errors.InternalError) as refused:
        await admitted(reader, pod(), webhooks=Webhooks(reader, call))
    assert refused.value.message == (
        'Internal error occurred: failed calling webhook "v.example.com": failed to call webhook: connection refused'
    )


async def test_selectors_keep_webhooks_away() -> None:
    """A webhook whose objectSelector or namespaceSelector does not match is not asked."""
    selector = {"matchLabels": {"ask": "me"}}
    reader = Objects(
        DEFAULT,
        ACCOUNT,
        registered(
            kinds.VALIDATING_WEBHOOK_CONFIGURATION,
            hook("a.example.com", objectSelector=selector),
            hook("b.example.com", namespaceSelector=selector),
        ),
    )
    await admitted(reader, pod(), webhooks=Webhooks(reader, answering(allowed=False)))


@pytest.mark.parametrize(
    ("enabled", "disabled", "said"),
    [
        (["Nothing"], [], 'enable-admission-plugins plugin "Nothing" is unknown'),
        ([], ["Nothing"], 'disable-admission-plugins plugin "Nothing" is unknown'),
        (
            ["Priority", "ResourceQuota"],
            ["Priority"],
            "[Priority] in enable-admission-plugins and disable-admission-plugins overlapped",
        ),
        (["PodSecurity"], [], 'enable-admission-plugins plugin "PodSecurity" does not exist in kubeglass'),
    ],
)
def test_flags_that_cannot_be_obeyed_are_refused(enabled: list[str], disabled: list[str], said: str) -> None:
    """A plugin nobody knows, one that is both on and off, and one of upstream's that is not here."""
    with pytest.raises(ValueError) as refused:
        check(["Priority", "ResourceQuota"], enabled, disabled)
    assert str(refused.value) == said


def test_flags_that_are_true_already_are_obeyed() -> None:
    """Naming a plugin that runs, or switching off one of upstream's that is not here."""
    check(["Priority"], ["Priority"], ["PodSecurity"])


def signing_request(signer: str = KUBELET_CLIENT, common_name: str = "system:node:n1", *groups: str) -> dict[str, Any]:
    pem = certs.new_request(certs.new_key(), common_name, groups)
    spec = {"signerName": signer, "request": base64.b64encode(pem).decode()}
    return {"metadata": {"name": "csr"}, "spec": spec, "status": {}}


@pytest.mark.parametrize(
    ("subresource", "verb", "changed"),
    [("approval", "approve", {}), ("status", "sign", {"certificate": "LS0t"}), ("status", "sign", {"conditions": [1]})],
)
async def test_who_approves_and_who_signs(subresource: str, verb: str, changed: dict[str, Any]) -> None:
    """Permission on the signer or on its domain; without it, upstream's refusal."""
    old = signing_request()
    new = old | {"status": changed}
    update: Any = partial(
        admitted, Objects(), new, kinds.CERTIFICATE_SIGNING_REQUEST, "UPDATE", old=old, subresource=subresource
    )
    for signer in (KUBELET_CLIENT, "kubernetes.io/*"):
        await update(user=UserInfo("jane", groups=(f"{verb} {signer}",)))
    with pytest.raises(errors.Forbidden) as refused:
        await update(user=UserInfo("jane", groups=(f"{verb} example.com/*",)))
    assert refused.value.message == (
        'certificatesigningrequests.certificates.k8s.io "csr" is forbidden: '
        f'user not permitted to {verb} requests with signerName "{KUBELET_CLIENT}"'
    )


async def test_a_status_that_signs_nothing_needs_no_permission() -> None:
    """Only certificate and conditions are the signer's."""
    old = signing_request()
    await admitted(
        Objects(), old, kinds.CERTIFICATE_SIGNING_REQUEST, "UPDATE", UserInfo("jane"), old=old, subresource="status"
    )


async def test_nobody_asks_to_be_a_master() -> None:
    """The client signer has no certificates for system:masters."""
    master = ("jane", "system:masters")
    await admitted(Objects(), signing_request("example.com/ours", *master), kinds.CERTIFICATE_SIGNING_REQUEST)
    with pytest.raises(errors.Forbidden, match="signer with system:masters group is not allowed"):
        await admitted(Objects(), signing_request(KUBE_APISERVER_CLIENT, *master), kinds.CERTIFICATE_SIGNING_REQUEST)


async def test_a_node_asks_for_itself() -> None:
    """Another node's name in the request is refused."""
    node = UserInfo("system:node:n1", groups=("system:nodes",))
    await admitted(Objects(), signing_request(), kinds.CERTIFICATE_SIGNING_REQUEST, user=node)
    other = signing_request(common_name="system:node:n2")
    with pytest.raises(errors.Forbidden, match="can only create a node CSR with CN=system:node:n1"):
        await admitted(Objects(), other, kinds.CERTIFICATE_SIGNING_REQUEST, user=node)
