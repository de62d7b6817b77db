"""The kubelet renews its certificates: at 70 to 90 % of a life it asks for the next by a CertificateSigningRequest.

A pair lies in one file of --cert-dir (kubelet-client-2026-11-24-15-04-05.pem, certificate before key), and
kubelet-client-current.pem points at the newest. Until there is one the pair that the kubelet was started with is used.
Upstream: k8s.io/client-go/util/certificate, pkg/kubelet/certificate.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509

from kubeglass.components.api import signing
from kubeglass.components.api.errors import ApiError, Expired, NotFound
from kubeglass.components.api.kinds import CERTIFICATE_SIGNING_REQUEST
from kubeglass.components.api.objects import CertificateSigningRequest, decode
from kubeglass.components.api.signing import DENIED, FAILED, KUBELET_CLIENT, KUBELET_SERVING
from kubeglass.components.kubelet.configuration import KubeletConfig
from kubeglass.components.kubelet.figures import collect_certificates
from kubeglass.components.kubelet.metrics import CertificateMetrics
from kubeglass.components.machinery import certs, clock
from kubeglass.components.machinery.access import Access
from kubeglass.components.machinery.client import Client, Object
from kubeglass.components.machinery.process import ConfigError
from kubeglass.components.machinery.transport import Unreachable
from kubeglass.logging.klog import Logger
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.metrics.registry import Registry

_WAIT_SECONDS = 15 * 60.0
_LOOK_AGAIN_SECONDS = 1.0
_RETRIES_SECONDS = (2.0, 4.0, 8.0, 16.0)
_LAST_RETRY_SECONDS = 32.0


class RenewalError(Exception):
    """A certificate that could not be had."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One of the kubelet's certificates."""

    name: str  # of its files
    signer: str
    usages: tuple[str, ...]
    common_name: str
    addresses: tuple[str, ...] = ()

    def request(self, pem: bytes) -> Object:
        """The object that asks for it."""
        return {
            "apiVersion": CERTIFICATE_SIGNING_REQUEST.api_version,
            "kind": CERTIFICATE_SIGNING_REQUEST.kind,
            "metadata": {"generateName": "csr-"},
            "spec": {
                "request": base64.b64encode(pem).decode(),
                "signerName": self.signer,
                "usages": list(self.usages),
            },
        }


def client_certificate(node: str) -> Wanted:
    """With which the kubelet goes to the API server."""
    usages = (signing.DIGITAL_SIGNATURE, signing.CLIENT_AUTH)
    return Wanted("kubelet-client", KUBELET_CLIENT, usages, f"system:node:{node}")


def serving_certificate(node: str, *addresses: str) -> Wanted:
    """With which the kubelet serves."""
    usages = (signing.DIGITAL_SIGNATURE, signing.SERVER_AUTH)
    return Wanted("kubelet-server", KUBELET_SERVING, usages, f"system:node:{node}", (node, *addresses))


@dataclass(frozen=True, slots=True)
class CertificateStore:
    """The pairs of one name in a folder; `first` is the certificate's file that was there before any of them."""

    folder: Path
    name: str
    first: str

    @property
    def current(self) -> Path:
        """The newest pair's link, whether it exists or not."""
        return self.folder / f"{self.name}-current.pem"

    @property
    def renewed(self) -> bool:
        """Whether the current pair, rather than the first, is the one to use: still good, and made after it."""
        if not self.current.exists():
            return False
        begin, end = _life(self.current)
        return end > clock.now() and (not self.first or begin >= _life(Path(self.first))[0])

    @property
    def file(self) -> str:
        """The file of the certificate in use."""
        return str(self.current) if self.renewed else self.first

    def life(self) -> tuple[float, float]:
        """When the certificate in use begins and ends to be valid, in Unix seconds. Raises OSError, ValueError."""
        return _life(Path(self.file))

    def keep(self, certificate: bytes, key: bytes, now: float) -> None:
        """Write a pair and make it the current one, in one step for whoever reads. Raises OSError."""
        stamp = clock.rfc3339(now).rstrip("Z").replace("T", "-").replace(":", "-")
        file = self.folder / f"{self.name}-{stamp}.pem"
        certs.write_private(file, certificate + key)
        link = self.folder / f".{self.name}-current.pem"
        link.unlink(missing_ok=True)
        link.symlink_to(file.name)
        os.replace(link, self.current)


def _life(file: Path) -> tuple[float, float]:
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def renewal_time(begin: float, end: float, chance: float) -> float:
    """When to renew: after 70 to 90 % of the life, by `chance` from 0 to 1, lest all nodes ask at once. Pure."""
    return begin + (end - begin) * (0.7 + 0.2 * chance)


class CertificateManager:
    """Keeps one certificate fresh. Runs until cancelled; asks for nothing while the certificate is fresh."""

    def __init__(
        self,
        wanted: Wanted,
        store: CertificateStore,
        client: Client,
        adopt: Callable[[str], None],
        log: Logger,
        *,
        failed: Callable[[], None],
        rotated: Callable[[float], None] = lambda seconds: None,
        at_once: bool = False,
    ) -> None:
        """`adopt` takes the file of a new pair into use; `failed` hears of each renewal that failed, `rotated` how many
        seconds the replaced certificate lived. `at_once`: the first certificate is not the signer's and only bridges.
        """
        self._wanted = wanted
        self._store = store
        self._client = client
        self._adopt = adopt
        self._log = log
        self._failed = failed
        self._rotated = rotated
        self._at_once = at_once

    async def run(self) -> None:
        while True:
            if self._store.renewed or not self._at_once:
                begin, end = self._store.life()
                deadline = renewal_time(begin, end, random.random())
                self._log.v(2).info(
                    "Certificate rotation deadline determined",
                    certificate=self._wanted.name, expiration=clock.rfc3339(end), deadline=clock.rfc3339(deadline),
                )  # fmt: skip
                await asyncio.sleep(max(0.0, deadline - clock.now()))
            await self._renew_until_done()

    async def _renew_until_done(self) -> None:
        retries = _retries()
        while True:
            self._log.v(2).info("Rotating certificates", certificate=self._wanted.name)
            try:
                return await self._renew()
            except (RenewalError, ApiError, Unreachable, OSError, TimeoutError) as error:
                self._failed()
                self._log.error(
                    error,
                    "Failed while requesting a signed certificate from the control plane",
                    certificate=self._wanted.name,
                )
            await asyncio.sleep(next(retries))

    async def _renew(self) -> None:
        key = certs.new_key()
        wanted = self._wanted
        pem = certs.new_request(key, wanted.common_name, ("system:nodes",), wanted.addresses)
        created = await self._client.create(CERTIFICATE_SIGNING_REQUEST, wanted.request(pem))
        async with asyncio.timeout(_WAIT_SECONDS):
            certificate = await self._issued(created["metadata"]["name"])
        replaced = self._store.renewed
        begin, _ = self._store.life()
        self._store.keep(certificate, certs.key_pem(key), clock.now())
        self._adopt(str(self._store.current))
        if replaced:
            self._rotated(clock.now() - begin)

    async def _issued(self, name: str) -> bytes:
        """The certificate, as soon as it is there. Raises RenewalError when it will not be.

        A server that is away for a while is no reason to give up.
        """
        while True:
            try:
                csr = await self._client.get(CERTIFICATE_SIGNING_REQUEST, name)
                if found := _outcome(csr) or await self._followed(name, csr["metadata"]["resourceVersion"]):
                    return found
            except NotFound as error:
                raise RenewalError(f"certificate signing request {name} was deleted") from error
            except (Unreachable, Expired) as error:
                self._log.v(4).info("Lost sight of certificate signing request", csr=name, reason=str(error))
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _followed(self, name: str, version: str) -> bytes:
        """The certificate, or b"" when the watch ended before it was there."""
        watch = self._client.watch(
            CERTIFICATE_SIGNING_REQUEST, resource_version=version, field_selector=f"metadata.name={name}"
        )
        async for event in watch:
            if event.type == "MODIFIED" and (found := _outcome(event.object)):
                return found
            if event.type == "DELETED":
                break
        return b""


def _outcome(obj: Object) -> bytes:
    """The certificate, or b"" for now. Raises RenewalError."""
    csr = decode(CertificateSigningRequest, obj)
    for condition in csr.status.conditions:
        if condition.type in (DENIED, FAILED):
            word = "is denied" if condition.type == DENIED else "failed"
            why = f"reason: {condition.reason}, message: {condition.message}"
            raise RenewalError(f"certificate signing request {word}, {why}")
    approved = signing.has_condition(csr, signing.APPROVED)
    return base64.b64decode(csr.status.certificate) if approved else b""


def _retries() -> Iterator[float]:
    yield from _RETRIES_SECONDS
    while True:
        yield _LAST_RETRY_SECONDS


@dataclass(frozen=True, slots=True)
class Pairs:
    """What a kubelet was started with, and where what it asked for since lies."""

    config: KubeletConfig
    access: Access

    def __post_init__(self) -> None:
        if self.config.server_tls_bootstrap and not self.config.cert_file:
            raise ConfigError("serverTLSBootstrap needs --tls-cert-file, to serve with until the request is approved")

    @property
    def client(self) -> CertificateStore:
        return CertificateStore(self.config.cert_dir, "kubelet-client", self.access.cert_file)

    @property
    def serving(self) -> CertificateStore:
        return CertificateStore(self.config.cert_dir, "kubelet-server", self.config.cert_file)

    def show(self, registry: Registry) -> None:
        """Expose how long the certificates in use still live."""
        collect_certificates(
            registry, lambda: self.newest_config().cert_file, lambda: self.newest_access().cert_file, clock.now
        )

    def newest_access(self) -> Access:
        """How to reach the API server now."""
        renewed = self.config.rotate_certificates and self.client.renewed
        return replace(self.access, cert_file=self.client.file, key_file="") if renewed else self.access

    def newest_config(self) -> KubeletConfig:
        """How to serve now."""
        renewed = self.config.server_tls_bootstrap and self.serving.renewed
        return replace(self.config, cert_file=self.serving.file, key_file="") if renewed else self.config

    def managers(
        self, client: Client, serve: Callable[[str], None], telemetry: Telemetry
    ) -> Iterator[CertificateManager]:
        """Who renews what the flags ask for. `serve` takes a pair's file into use for serving."""
        config, metrics = self.config, CertificateMetrics(telemetry.metrics)

        def connect(file: str) -> None:
            client.use(replace(self.access, cert_file=file, key_file=""))

        if config.rotate_certificates and self.access.cert_file:
            yield CertificateManager(
                client_certificate(config.node_name), self.client, client, connect, telemetry.log,
                failed=metrics.client_renew_errors.inc,
            )  # fmt: skip
        if config.server_tls_bootstrap:
            yield CertificateManager(
                serving_certificate(config.node_name, config.node_ip), self.serving, client, serve, telemetry.log,
                failed=metrics.server_renew_errors.inc, rotated=metrics.server_rotation_seconds.observe, at_once=True,
            )  # fmt: skip
