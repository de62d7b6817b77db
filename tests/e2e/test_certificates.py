"""Certificates by request: kubectl approves and denies, signers sign, and a kubelet renews its own before they end."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from tests.e2e.cluster import Cluster, cluster, eventually
from tests.telemetry.metrics.moments import Moments

from kubeglass.components.api.signing import KUBE_APISERVER_CLIENT, KUBELET_SERVING
from kubeglass.components.machinery import certs

LIFE = timedelta(seconds=25)
"""Of the certificate with which the kubelet starts."""


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    """A cluster whose kubelet asks for its serving certificate, too."""
    with cluster("--component-flag", "kubelet=--rotate-server-certificates") as found:
        yield found


def ask(running: Cluster, name: str, signer: str, usages: list[str], **spec: Any) -> certs.ec.EllipticCurvePrivateKey:
    """Create a request for `name`; its key."""
    key = certs.new_key()
    pem = certs.new_request(key, name, ("devs",))
    wanted = {"request": base64.b64encode(pem).decode(), "signerName": signer, "usages": usages, **spec}
    kind = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name}}
    running.kubectl("create", "-f", "-", input=json.dumps(kind | {"spec": wanted}))
    return key


def listed(running: Cluster, name: str) -> list[str]:
    """The row of `kubectl get csr`, without its age."""
    row = running.kubectl("get", "csr", name, "--no-headers").split()
    return [row[0], *row[2:]]


def reaches(running: Cluster, name: str, condition: str) -> list[str]:
    """The row once the condition is that."""

    def row() -> list[str]:
        found = listed(running, name)
        return found if found[-1] == condition else []

    return eventually(row, f"{name} is {condition}")


def test_a_request_is_approved_and_signed(running: Cluster, tmp_path: Path) -> None:
    """Pending, Approved, Issued; the certificate makes its holder who the request named, in its groups."""
    key = ask(running, "jane", KUBE_APISERVER_CLIENT, ["client auth"], expirationSeconds=86400)
    header = running.kubectl("get", "csr", "jane").splitlines()[0].split()
    assert header == ["NAME", "AGE", "SIGNERNAME", "REQUESTOR", "REQUESTEDDURATION", "CONDITION"]
    assert listed(running, "jane") == ["jane", KUBE_APISERVER_CLIENT, "kubernetes-admin", "24h", "Pending"]
    told = running.kubectl("certificate", "approve", "jane")
    assert told == "certificatesigningrequest.certificates.k8s.io/jane approved\n"
    reaches(running, "jane", "Approved,Issued")
    csr = running.get("csr", "jane")
    (condition,) = csr["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("Approved", "KubectlApprove")
    assert (condition["status"], bool(condition["lastTransitionTime"])) == ("True", True)
    (tmp_path / "jane.crt").write_bytes(base64.b64decode(csr["status"]["certificate"]))
    (tmp_path / "jane.key").write_bytes(certs.key_pem(key))
    server = running.status()["components"]["apiserver"]["url"]
    who = subprocess.run(
        ["curl", "-sS", "--cacert", str(running.data / "pki/ca.crt"), "--cert", str(tmp_path / "jane.crt"),
         "--key", str(tmp_path / "jane.key"), "-H", "Content-Type: application/json", "-d",
         '{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}',
         f"{server}/apis/authentication.k8s.io/v1/selfsubjectreviews"],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    user = json.loads(who.stdout)["status"]["userInfo"]
    assert (user["username"], user["groups"]) == ("jane", ["devs", "system:authenticated"])
    metrics = running.curl("/metrics").decode()
    label = f'{{signerName="{KUBE_APISERVER_CLIENT}"}} 1'
    assert f"apiserver_certificates_registry_csr_requested_duration_total{label}" in metrics
    assert f"apiserver_certificates_registry_csr_honored_duration_total{label}" in metrics


def test_a_request_is_denied(running: Cluster) -> None:
    """What is denied stays unsigned, and cannot be approved any more."""
    ask(running, "joe", KUBE_APISERVER_CLIENT, ["client auth"])
    assert running.kubectl("certificate", "deny", "joe").endswith("/joe denied\n")
    reaches(running, "joe", "Denied")
    status = {"conditions": [{"type": "Approved", "status": "True"}]}
    answer = running.kubectl(
        "patch",
        "csr",
        "joe",
        "--subresource=approval",
        "--type=merge",
        "-p",
        json.dumps({"status": status}),
        check=False,
    )
    assert answer == ""
    assert listed(running, "joe")[-1] == "Denied"


def test_what_a_signer_does_not_sign_fails(running: Cluster) -> None:
    """An approved request that is not what its signer is for says so."""
    ask(running, "sam", KUBELET_SERVING, ["server auth"])
    running.kubectl("certificate", "approve", "sam")
    reaches(running, "sam", "Approved,Failed")
    failed = running.get("csr", "sam")["status"]["conditions"][-1]
    assert (failed["reason"], failed["message"]) == (
        "SignerValidationFailure",
        "subject organization is not system:nodes",
    )


def served(url: str) -> x509.Certificate:
    """The certificate with which a server answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as plain, context.wrap_socket(plain) as tls:
        return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")


def own_requests(running: Cluster, signer: str) -> list[str]:
    """Names of the node's requests for a signer."""
    return [
        csr["metadata"]["name"]
        for csr in running.items("csr")
        if (csr["spec"]["signerName"], csr["spec"]["username"]) == (signer, "system:node:node-1")
    ]


def test_a_kubelet_renews_its_certificates(running: Cluster) -> None:
    """With a certificate that soon ends: the client's renews itself, the serving one waits for approval; both are used
    without a restart, and the node outlives what it began with.
    """
    pki, own = running.data / "pki", running.data / "nodes/node-1/pki"
    assert own_requests(running, "kubernetes.io/kube-apiserver-client-kubelet") == []
    (abandoned,) = eventually(lambda: own_requests(running, KUBELET_SERVING), "the kubelet asks what to serve with")
    os.kill(running.pid("kubelet/node-1"), signal.SIGKILL)
    began = datetime.now(UTC)
    old = x509.load_pem_x509_certificate((pki / "kubelet-node-1.crt").read_bytes())
    names = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    pair = certs.new_leaf(
        certs.read_pair(pki / "ca.crt", pki / "ca.key"), "system:node:node-1", began,
        organizations=("system:nodes",), addresses=[str(name.value) for name in names],
        server=True, client=True, days=LIFE / timedelta(days=1),
    )  # fmt: skip
    pair.write(pki / "kubelet-node-1.crt", pki / "kubelet-node-1.key")
    running.kubeglass("up", "--detach")
    url = running.status()["components"]["kubelet/node-1"]["url"]
    moments = Moments.of_pages(lambda: iter([running.curl(f"{url}/metrics", "-k").decode()]))
    pid = running.pid("kubelet/node-1")

    (name,) = eventually(
        lambda: own_requests(running, "kubernetes.io/kube-apiserver-client-kubelet"), "the kubelet asks for a client's"
    )
    reaches(running, name, "Approved,Issued")
    condition = running.get("csr", name)["status"]["conditions"][0]
    assert (condition["reason"], condition["message"]) == (
        "AutoApproved", "Auto approving self kubelet client certificate after SubjectAccessReview.",
    )  # fmt: skip
    eventually((own / "kubelet-client-current.pem").exists, "the pair is kept")
    assert (own / "kubelet-client-current.pem").stat().st_mode & 0o777 == 0o600

    (serving,) = eventually(
        lambda: {*own_requests(running, KUBELET_SERVING)} - {abandoned}, "the kubelet asks again what to serve with"
    )
    assert listed(running, serving)[-1] == "Pending"
    running.kubectl("certificate", "approve", serving)
    eventually(lambda: served(url).not_valid_after_utc > began + timedelta(days=300), "the new pair is served")
    eventually(lambda: datetime.now(UTC) > began + LIFE, "the first certificate has ended", LIFE.total_seconds() + 5)

    running.kubectl("run", "after", "--image=busybox:1.36", "--restart=Never", "--", "echo", "still here")
    assert eventually(lambda: running.kubectl("logs", "after", check=False), "the Pod ran") == "still here\n"
    assert running.pid("kubelet/node-1") == pid
    moments.assert_moved("kubelet_certificate_manager_client_expiration_renew_errors +0")
    assert "\nkubelet_certificate_manager_client_ttl_seconds 3" in running.curl(f"{url}/metrics").decode()
    (node,) = running.items("nodes")
    assert {row["type"]: row["status"] for row in node["status"]["conditions"]}["Ready"] == "True"
