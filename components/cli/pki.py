"""The certificates, tokens and kubeconfigs of a cluster, made once and kept. Names are kubeadm's where it has one.

Three authorities: the cluster's, etcd's and the front proxy's. Every component has a client certificate of its own
under the user name that upstream's RBAC roles expect.
"""

from __future__ import annotations

import base64
import datetime
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.plan import HOST, Plan
from kubeglass.components.machinery import certs
from kubeglass.components.machinery.certs import KeyPair

PROMETHEUS_USER = "prometheus"
SIMULATED_KUBELETS = "kubeglass:simulated-kubelets"
_SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One certificate to be had: `file` below pki/ without its ending."""

    file: str
    authority: str  # file of the authority: ca, etcd/ca, front-proxy-ca
    common_name: str
    organizations: Sequence[str] = ()
    addresses: Sequence[str] = ()
    server: bool = False
    client: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """A kubeconfig to be had for the client certificate `leaf`."""

    user: str  # file below pki/ without `.conf`
    leaf: str


AUTHORITIES = {
    "ca": "kubernetes",
    "etcd/ca": "etcd-ca",
    "front-proxy-ca": "front-proxy-ca",
}


def leaves(plan: Plan) -> Iterator[Leaf]:
    """Every certificate of the cluster."""
    local = ("localhost", HOST)
    service_ip = plan.addresses.kubernetes_service_ip
    yield Leaf("apiserver", "ca", "kube-apiserver", (), (*_SERVICE_NAMES, *local, service_ip), server=True)
    yield Leaf("apiserver-kubelet-client", "ca", "kube-apiserver-kubelet-client", ("system:masters",), client=True)
    yield Leaf("front-proxy-client", "front-proxy-ca", "front-proxy-client", client=True)
    yield Leaf("etcd/server", "etcd/ca", "etcd", (), local, server=True, client=True)
    yield Leaf("etcd/peer", "etcd/ca", "etcd", (), local, server=True, client=True)
    yield Leaf("etcd/healthcheck-client", "etcd/ca", "kube-etcd-healthcheck-client", client=True)
    yield Leaf("apiserver-etcd-client", "etcd/ca", "kube-apiserver-etcd-client", client=True)
    yield Leaf("admin", "ca", "kubernetes-admin", ("system:masters",), client=True)
    yield Leaf("controller-manager", "ca", "system:kube-controller-manager", (), local, server=True, client=True)
    yield Leaf("scheduler", "ca", "system:kube-scheduler", (), local, server=True, client=True)
    yield Leaf("proxy", "ca", "system:kube-proxy", client=True)
    yield Leaf("dns", "ca", "system:coredns", (), local, server=True, client=True)
    yield Leaf("state-metrics", "ca", "kubeglass:state-metrics", ("system:masters",), client=True)
    simulated = (plan.addresses.simulated_node_ip, *local)
    yield Leaf("simulated-kubelets", "ca", SIMULATED_KUBELETS, ("system:nodes",), simulated, server=True, client=True)
    for node in plan.nodes:
        addresses = (node, plan.node_ip(node), *local)
        yield Leaf(
            f"kubelet-{node}", "ca", f"system:node:{node}", ("system:nodes",), addresses, server=True, client=True
        )


def identities(plan: Plan) -> Iterator[Identity]:
    """Every component that talks to the API server."""
    for name in ("controller-manager", "scheduler", "proxy", "dns", "state-metrics", "simulated-kubelets"):
        yield Identity(name, name)
    for node in plan.nodes:
        yield Identity(f"kubelet-{node}", f"kubelet-{node}")


def ensure(data: DataDir, plan: Plan) -> None:
    """Make whatever is missing; what exists is kept, so credentials handed out stay good."""
    now = datetime.datetime.now(datetime.UTC)
    data.pki.mkdir(parents=True, exist_ok=True)
    os.chmod(data.pki, 0o700)
    authorities = {name: _authority(data, name, common_name, now) for name, common_name in AUTHORITIES.items()}
    for leaf in leaves(plan):
        _leaf(data, leaf, authorities[leaf.authority], now)
    _service_account_key(data)
    for identity in identities(plan):
        certs.write_private(data.component_kubeconfig(identity.user), _relative_kubeconfig(plan, identity))
    certs.write_private(data.kubeconfig, _portable_kubeconfig(data, plan))
    _prometheus_token(data)


def _authority(data: DataDir, name: str, common_name: str, now: datetime.datetime) -> KeyPair:
    certificate_file, key_file = data.pki / f"{name}.crt", data.pki / f"{name}.key"
    if certificate_file.exists() and key_file.exists():
        return certs.read_pair(certificate_file, key_file)
    pair = certs.new_authority(common_name, now)
    pair.write(certificate_file, key_file)
    return pair


def _leaf(data: DataDir, leaf: Leaf, authority: KeyPair, now: datetime.datetime) -> None:
    certificate_file, key_file = data.pki / f"{leaf.file}.crt", data.pki / f"{leaf.file}.key"
    if certificate_file.exists() and key_file.exists():
        return
    pair = certs.new_leaf(
        authority,
        leaf.common_name,
        now,
        organizations=leaf.organizations,
        addresses=leaf.addresses,
        server=leaf.server,
        client=leaf.client,
    )
    pair.write(certificate_file, key_file)


def _service_account_key(data: DataDir) -> None:
    private, public = data.pki / "sa.key", data.pki / "sa.pub"
    if private.exists() and public.exists():
        return
    key = certs.new_key()
    certs.write_private(private, certs.key_pem(key))
    public.write_bytes(certs.public_pem(key))


def _prometheus_token(data: DataDir) -> None:
    if data.prometheus_token.exists() and data.token_file.exists():
        return
    token = secrets.token_urlsafe(32)
    certs.write_private(data.prometheus_token, token.encode())
    certs.write_private(data.token_file, f'{token},{PROMETHEUS_USER},{PROMETHEUS_USER},"system:monitoring"\n'.encode())


def _relative_kubeconfig(plan: Plan, identity: Identity) -> bytes:
    return _kubeconfig(
        plan.server,
        identity.user,
        "certificate-authority: ca.crt",
        f"client-certificate: {identity.leaf}.crt",
        f"client-key: {identity.leaf}.key",
    )


def _portable_kubeconfig(data: DataDir, plan: Plan) -> bytes:
    def inline(file: str) -> str:
        return base64.b64encode((data.pki / file).read_bytes()).decode()

    return _kubeconfig(
        plan.server,
        "kubernetes-admin",
        f"certificate-authority-data: {inline('ca.crt')}",
        f"client-certificate-data: {inline('admin.crt')}",
        f"client-key-data: {inline('admin.key')}",
    )


def _kubeconfig(server: str, user: str, authority: str, certificate: str, key: str) -> bytes:
    return f"""\
apiVersion: v1
kind: Config
current-context: kubeglass
clusters:
- name: kubeglass
  cluster:
    server: {server}
    {authority}
users:
- name: {user}
  user:
    {certificate}
    {key}
contexts:
- name: kubeglass
  context:
    cluster: kubeglass
    user: {user}
""".encode()
