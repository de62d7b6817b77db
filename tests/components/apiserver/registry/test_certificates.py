"""Signing requests in the store: the requester is who asks, conditions are dated, each subresource changes its part."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.components.apiserver.registry.conftest import Cluster
from tests.telemetry.metrics.moments import Moments

from kubeglass.components.api import errors
from kubeglass.components.api.kinds import CERTIFICATE_SIGNING_REQUEST
from kubeglass.components.api.user import UserInfo
from kubeglass.components.apiserver.registry.certificates import is_honored
from kubeglass.components.apiserver.registry.context import WriteContext
from kubeglass.components.machinery import certs

STAMP = "2027-01-15T08:00:00Z"
LATER = "2027-01-15T08:01:00Z"


def csr(**spec: Any) -> dict[str, Any]:
    request = base64.b64encode(certs.new_request(certs.new_key(), "jane")).decode()
    wanted = {"request": request, "signerName": "example.com/ours", "usages": ["client auth"], **spec}
    return {"metadata": {"name": "jane"}, "spec": wanted}


def certificate(seconds: float) -> str:
    authority = certs.new_authority("ca", datetime.now(UTC))
    days = seconds / timedelta(days=1).total_seconds()
    return base64.b64encode(certs.new_leaf(authority, "jane", datetime.now(UTC), days=days).certificate_pem()).decode()


async def test_the_requester_is_who_asks(cluster: Cluster) -> None:
    """What a client writes about itself, and its status, is replaced."""
    cluster.context = WriteContext(UserInfo("jane", "u-1", ("devs",), {"scopes": ("all",)}))
    wanted = csr(username="root", groups=["system:masters"]) | {"status": {"certificate": "LS0t"}}
    made = await cluster.create(CERTIFICATE_SIGNING_REQUEST, wanted)
    spec = made["spec"]
    assert [spec[name] for name in ("username", "uid", "groups", "extra")] == [
        "jane", "u-1", ["devs"], {"scopes": ["all"]},
    ]  # fmt: skip
    assert made["status"] == {}


async def test_an_update_keeps_what_was_asked(cluster: Cluster) -> None:
    """Labels may change, the spec may not."""
    made = await cluster.create(CERTIFICATE_SIGNING_REQUEST, csr())

    def changed(current: dict[str, Any]) -> None:
        current["metadata"]["labels"] = {"a": "b"}
        current["spec"]["signerName"] = "example.com/other"

    after = await cluster.update(CERTIFICATE_SIGNING_REQUEST, "jane", changed)
    assert (after["spec"], after["metadata"]["labels"]) == (made["spec"], {"a": "b"})


async def test_conditions_are_dated_once(cluster: Cluster) -> None:
    """A condition without dates gets them; a later update of it is no transition; nobody takes it back."""
    await cluster.create(CERTIFICATE_SIGNING_REQUEST, csr())

    def approved(reason: str) -> Any:
        def change(current: dict[str, Any]) -> None:
            current["status"] = {"conditions": [{"type": "Approved", "status": "True", "reason": reason}]}

        return change

    after = await cluster.update(CERTIFICATE_SIGNING_REQUEST, "jane", approved("First"), "approval")
    assert after["status"]["conditions"] == [
        {"type": "Approved", "status": "True", "reason": "First", "lastUpdateTime": STAMP, "lastTransitionTime": STAMP}
    ]
    cluster.now += 60
    after = await cluster.update(CERTIFICATE_SIGNING_REQUEST, "jane", approved("Second"), "approval")
    (row,) = after["status"]["conditions"]
    assert (row["lastUpdateTime"], row["lastTransitionTime"]) == (LATER, STAMP)
    with pytest.raises(errors.Invalid, match='updates may not remove a condition of type "Approved"'):
        await cluster.update(CERTIFICATE_SIGNING_REQUEST, "jane", lambda csr: csr | {"status": {}}, "approval")


async def test_approval_does_not_sign(cluster: Cluster) -> None:
    """A certificate that comes by /approval is not taken."""
    await cluster.create(CERTIFICATE_SIGNING_REQUEST, csr())
    status = {"certificate": certificate(600)}
    after = await cluster.update(
        CERTIFICATE_SIGNING_REQUEST, "jane", lambda current: current | {"status": status}, "approval"
    )
    assert "certificate" not in after["status"]


@pytest.mark.parametrize(
    ("signer", "label", "wanted", "given", "honored"),
    [
        ("kubernetes.io/kube-apiserver-client", "kubernetes.io/kube-apiserver-client", 3600, 3600, 1),
        ("kubernetes.io/kube-apiserver-client", "kubernetes.io/kube-apiserver-client", 86400, 3600, 0),
        ("example.com/ours", "other", 3600, 3600, 1),
    ],
)
async def test_wished_lifetimes_are_counted_when_the_certificate_is_set(
    cluster: Cluster, signer: str, label: str, wanted: int, given: int, honored: int
) -> None:
    """Once per certificate; own signers by name, all others together."""
    moments = Moments(cluster.metrics)
    await cluster.create(CERTIFICATE_SIGNING_REQUEST, csr(signerName=signer, expirationSeconds=wanted))
    moments.assert_moved("apiserver_certificates_registry_csr_requested_duration_total +0")
    status = {"certificate": certificate(given)}
    for labels in ({"a": "1"}, {"a": "2"}):
        await cluster.update(
            CERTIFICATE_SIGNING_REQUEST, "jane", lambda current: current | {"status": status}, "status"
        )
        await cluster.update(
            CERTIFICATE_SIGNING_REQUEST,
            "jane",
            lambda current, labels=labels: current["metadata"].update(labels=labels),
        )
    moments.assert_moved(
        f"""
        apiserver_certificates_registry_csr_requested_duration_total{{signerName="{label}"}} +1
        apiserver_certificates_registry_csr_honored_duration_total                           +{honored}
        """
    )


def test_a_lifetime_is_honored_within_a_twentieth() -> None:
    """And five minutes, which signers date back."""
    assert is_honored(3600, 3600 + 300 + 179)
    assert not is_honored(3600, 3600 - 300 - 180)


async def test_a_certificate_without_a_wish_is_not_counted(cluster: Cluster) -> None:
    """Who asked for no duration is not disappointed."""
    moments = Moments(cluster.metrics)
    await cluster.create(CERTIFICATE_SIGNING_REQUEST, csr())
    status = {"certificate": certificate(600)}
    await cluster.update(CERTIFICATE_SIGNING_REQUEST, "jane", lambda current: current | {"status": status}, "status")
    moments.assert_moved("apiserver_certificates_registry_csr_requested_duration_total +0")
