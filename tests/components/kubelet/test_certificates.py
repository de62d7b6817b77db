"""When a kubelet renews its certificates, what it keeps, what counts as a failure, and what it does without."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.components.kubelet.conftest import make_telemetry
from tests.telemetry.metrics.moments import Moments

from kubeglass.components.api import signing
from kubeglass.components.api.signing import KUBELET_CLIENT, KUBELET_SERVING
from kubeglass.components.kubelet import certificates
from kubeglass.components.kubelet.certificates import CertificateStore, Pairs, renewal_time
from kubeglass.components.kubelet.configuration import KubeletConfig
from kubeglass.components.machinery import certs, clock
from kubeglass.components.machinery.access import Access
from kubeglass.components.machinery.certs import KeyPair
from kubeglass.components.machinery.client import WatchEvent
from kubeglass.components.machinery.process import ConfigError
from kubeglass.components.machinery.transport import Unreachable

Object = dict[str, Any]
YEAR_SECONDS = 365 * 86400.0
AUTHORITY = certs.new_authority("kubernetes", datetime.now(UTC))


def leaf(seconds: float) -> KeyPair:
    return certs.new_leaf(AUTHORITY, "system:node:n1", datetime.now(UTC), days=seconds / 86400)


def approved(csr: Object, seconds: float = YEAR_SECONDS) -> Object:
    certificate = base64.b64encode(leaf(seconds).certificate_pem()).decode()
    return {"conditions": [{"type": "Approved", "status": "True"}], "certificate": certificate}


def denied(csr: Object) -> Object:
    return {"conditions": [{"type": "Denied", "status": "True", "reason": "No", "message": "not you"}]}


def forgotten(csr: Object) -> Object:
    raise Unreachable("cannot reach https://server: refused")


class Signers:
    """The part of a client that a renewal needs; each request is answered by the next answer, the last one stays."""

    def __init__(self, *answers: Callable[[Object], Object]) -> None:
        self.requests: list[Object] = []
        self.access: Access | None = None
        self._answers = list(answers)

    async def create(self, kind: Any, obj: Object) -> Object:
        obj["metadata"] = {"name": f"csr-{len(self.requests)}", "resourceVersion": "1"}
        self.requests.append(obj)
        return obj

    async def get(self, kind: Any, name: str) -> Object:
        return self.requests[-1]

    async def watch(self, kind: Any, *, resource_version: str, field_selector: str) -> AsyncIterator[WatchEvent]:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        yield WatchEvent("MODIFIED", self.requests[-1] | {"status": answer(self.requests[-1])})

    def use(self, access: Access) -> None:
        self.access = access


class Node:
    """A kubelet's pairs, and who renews them."""

    def __init__(self, folder: Path, client_seconds: float, serving_seconds: float, **config: Any) -> None:
        for name, seconds in (("client", client_seconds), ("tls", serving_seconds)):
            leaf(seconds).write(folder / f"{name}.crt", folder / f"{name}.key")
        files = {"cert_file": str(folder / "tls.crt"), "key_file": str(folder / "tls.key")}
        self.config = KubeletConfig(node_name="n1", node_ip="10.0.0.1", root_dir=folder, **files, **config)
        self.access = Access(
            "https://server", cert_file=str(folder / "client.crt"), key_file=str(folder / "client.key")
        )
        self.pairs = Pairs(self.config, self.access)
        self.telemetry = make_telemetry()
        self.served: list[str] = []
        self.pairs.show(self.telemetry.metrics)

    @asynccontextmanager
    async def renewing(self, signers: Any) -> AsyncIterator[Moments]:
        managers = list(self.pairs.managers(signers, self.served.append, self.telemetry))
        moments = Moments(self.telemetry.metrics)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(manager.run()) for manager in managers]
            yield moments
            for task in tasks:
                task.cancel()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once."""
    monkeypatch.setattr(certificates, "_RETRIES_SECONDS", (0.0,))
    monkeypatch.setattr(certificates, "_LOOK_AGAIN_SECONDS", 0.0)


def test_the_time_to_renew() -> None:
    """Between 70 and 90 % of the life."""
    assert [renewal_time(1000.0, 2000.0, chance) for chance in (0.0, 0.5, 1.0)] == [1700.0, 1800.0, 1900.0]


async def test_a_fresh_certificate_is_left_alone(tmp_path: Path) -> None:
    """Nothing is asked for while there is time: a boot costs no request."""
    signers = Signers(approved)
    async with Node(tmp_path, YEAR_SECONDS, YEAR_SECONDS, rotate_certificates=True).renewing(signers):
        await asyncio.sleep(0.1)
    assert signers.requests == []


async def test_an_old_client_certificate_is_renewed(tmp_path: Path) -> None:
    """Asked for as the node, kept for the owner's eyes, used from then on, and by the next start."""
    signers, node = Signers(approved), Node(tmp_path, 30, YEAR_SECONDS, rotate_certificates=True)
    async with node.renewing(signers):
        async with asyncio.timeout(10):
            while signers.access is None:
                await asyncio.sleep(0.01)
    (request,) = signers.requests
    asked = signing.parse(request["spec"]["request"])
    assert (request["spec"]["signerName"], signing.common_name(asked)) == (KUBELET_CLIENT, "system:node:n1")
    signing.check_kubelet_client(asked, request["spec"]["usages"])
    current = tmp_path / "pki/kubelet-client-current.pem"
    assert signers.access.cert_file == str(current)
    assert (current.is_symlink(), current.stat().st_mode & 0o777) == (True, 0o600)
    assert current.read_text().index("BEGIN CERTIFICATE") < current.read_text().index("BEGIN PRIVATE KEY")
    assert node.pairs.newest_access() == signers.access
    assert (node.telemetry.metrics.value("kubelet_certificate_manager_client_ttl_seconds") or 0) > YEAR_SECONDS / 2


async def test_what_a_renewal_that_fails_counts(tmp_path: Path) -> None:
    """A denial is a failure of its certificate, and asked again; the loss of the connection is none."""
    node = Node(tmp_path, 30, YEAR_SECONDS, rotate_certificates=True)
    async with node.renewing(Signers(forgotten, denied, approved)) as moments:
        await moments.until_moved(
            """
            kubelet_certificate_manager_client_expiration_renew_errors +1
            kubelet_server_expiration_renew_errors                     +0
            """
        )


async def test_a_serving_certificate_bridges_until_it_is_approved(tmp_path: Path) -> None:
    """The first pair of --tls-cert-file is replaced at once; only the signer's own counts as rotated."""
    signers = Signers(denied, lambda csr: approved(csr, 30), lambda csr: approved(csr, YEAR_SECONDS))
    node = Node(tmp_path, YEAR_SECONDS, YEAR_SECONDS, server_tls_bootstrap=True)
    async with node.renewing(signers) as moments:
        await moments.until_moved(
            """
            kubelet_server_expiration_renew_errors                          +1
            kubelet_certificate_manager_server_rotation_seconds_count       +1
            kubelet_certificate_manager_client_expiration_renew_errors      +0
            """
        )
    request = signers.requests[-1]
    signing.check_kubelet_serving(signing.parse(request["spec"]["request"]), request["spec"]["usages"])
    assert request["spec"]["signerName"] == KUBELET_SERVING
    current = str(tmp_path / "pki/kubelet-server-current.pem")
    assert node.served == [current, current]
    assert node.pairs.newest_config().cert_file == current


def test_which_pair_is_used(tmp_path: Path) -> None:
    """The newest that is still good: not one that has expired, nor one from before the cluster got new ones."""
    first = tmp_path / "first.crt"
    leaf(YEAR_SECONDS).write(first, tmp_path / "first.key")
    store = CertificateStore(tmp_path / "pki", "kubelet-client", str(first))
    assert store.file == str(first)
    before = certs.new_leaf(AUTHORITY, "system:node:n1", datetime.now(UTC) - timedelta(days=1))
    pairs = ((leaf(YEAR_SECONDS), str(store.current)), (leaf(-1.0), str(first)), (before, str(first)))
    for seconds, (pair, file) in enumerate(pairs):
        store.keep(pair.certificate_pem(), certs.key_pem(pair.key), clock.now() + seconds)
        assert store.file == file


def test_something_is_served_meanwhile(tmp_path: Path) -> None:
    """Without a pair to begin with there is nothing to serve until somebody approves."""
    with pytest.raises(ConfigError, match="needs --tls-cert-file"):
        Pairs(KubeletConfig("n1", "10.0.0.1", tmp_path, server_tls_bootstrap=True), Access("https://server"))
