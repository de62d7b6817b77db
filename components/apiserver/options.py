"""The apiserver's flags, under upstream's names, and the values they become."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from kubeglass.components.apiserver.audit import MODES
from kubeglass.components.machinery.process import ConfigError, seconds
from kubeglass.telemetry.tracing.causality import TRUSTED_GROUPS

_ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True, slots=True)
class Options:
    """Everything a server can be told. Field names are the flags' with underscores."""

    bind_address: str = "127.0.0.1"
    advertise_address: str = ""
    secure_port: int = 6443
    storage_file: str = ""
    etcd_servers: tuple[str, ...] = ()
    etcd_cafile: str = ""
    etcd_certfile: str = ""
    etcd_keyfile: str = ""
    etcd_compaction_interval: float = 300.0
    tls_cert_file: str = ""
    tls_private_key_file: str = ""
    client_ca_file: str = ""
    requestheader_client_ca_file: str = ""
    requestheader_allowed_names: tuple[str, ...] = ("front-proxy-client",)
    requestheader_username_headers: tuple[str, ...] = ("X-Remote-User",)
    requestheader_group_headers: tuple[str, ...] = ("X-Remote-Group",)
    requestheader_extra_headers_prefix: tuple[str, ...] = ("X-Remote-Extra-",)
    proxy_client_cert_file: str = ""
    proxy_client_key_file: str = ""
    token_auth_file: str = ""
    anonymous_auth: bool = True
    authorization_mode: tuple[str, ...] = ("Node", "RBAC")
    service_account_key_file: tuple[str, ...] = ()
    service_account_signing_key_file: str = ""
    service_account_issuer: tuple[str, ...] = (_ISSUER,)
    api_audiences: tuple[str, ...] = ()
    service_cluster_ip_range: str = "127.96.0.0/16"
    service_node_port_range: str = "30000-32767"
    kubelet_client_certificate: str = ""
    kubelet_client_key: str = ""
    kubelet_certificate_authority: str = ""
    kubelet_preferred_address_types: tuple[str, ...] = ("InternalIP", "Hostname")
    max_requests_inflight: int = 400
    max_mutating_requests_inflight: int = 200
    enable_priority_and_fairness: bool = True
    request_timeout: float = 60.0
    min_request_timeout: int = 1800
    audit_policy_file: str = ""
    audit_log_path: str = ""
    audit_log_mode: str = "blocking"
    runtime_config: tuple[str, ...] = field(default=())
    enable_admission_plugins: tuple[str, ...] = ()
    disable_admission_plugins: tuple[str, ...] = ()
    tracing_trusted_groups: tuple[str, ...] = tuple(sorted(TRUSTED_GROUPS))
    default_not_ready_toleration_seconds: int = 300
    default_unreachable_toleration_seconds: int = 300

    @property
    def audiences(self) -> tuple[str, ...]:
        return self.api_audiences or self.service_account_issuer[:1]

    @property
    def node_ports(self) -> tuple[int, int]:
        """Raises ConfigError."""
        first, _, last = self.service_node_port_range.partition("-")
        if not (first.isdigit() and last.isdigit() and 0 < int(first) <= int(last) < 65536):
            raise ConfigError(f"invalid argument {self.service_node_port_range!r} for --service-node-port-range: "
                              "expected FROM-TO")  # fmt: skip
        return int(first), int(last)

    def check(self) -> None:
        """Refuse what cannot work, in upstream's words. Raises ConfigError."""
        if not 0 <= self.secure_port <= 65535:
            raise ConfigError(
                f"--secure-port {self.secure_port} must be between 0 and 65535, inclusive. 0 for a free port"
            )
        if bool(self.tls_cert_file) != bool(self.tls_private_key_file):
            raise ConfigError("--tls-cert-file and --tls-private-key-file must be given together")
        if self.storage_file and self.etcd_servers:
            raise ConfigError("--storage-file and --etcd-servers cannot be used at the same time")
        if self.service_account_signing_key_file and not self.service_account_key_file:
            raise ConfigError("--service-account-key-file is required with --service-account-signing-key-file")
        if self.enable_priority_and_fairness and self.max_requests_inflight + self.max_mutating_requests_inflight <= 0:
            raise ConfigError(
                "invalid configuration: MaxRequestsInFlight and MaxMutatingRequestsInFlight must add up to something "
                "positive with --enable-priority-and-fairness"
            )
        if self.audit_log_mode not in MODES:
            allowed = " ".join(f'"{mode}"' for mode in MODES)
            raise ConfigError(f"invalid audit log mode {self.audit_log_mode}, allowed modes are [{allowed}]")
        unknown = [mode for mode in self.authorization_mode if mode not in ("Node", "RBAC", "AlwaysAllow")]
        if unknown:
            raise ConfigError(f"authorization-mode {unknown[0]!r} is not a valid mode (Node, RBAC, AlwaysAllow)")
        _ = self.node_ports


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0", "t", "f"):
        raise argparse.ArgumentTypeError(f'strconv.ParseBool: parsing "{text}": invalid syntax')
    return text.lower() in ("true", "1", "t")


_FLAGS: Sequence[tuple[str, str, str]] = (
    ("bind-address", "IP", "address to listen on"),
    ("advertise-address", "IP", "address at which members of the cluster reach this server (default: --bind-address)"),
    ("secure-port", "PORT", "port to serve HTTPS on; 0 picks a free one"),
    ("storage-file", "FILE", "keep objects in this SQLite file; without it and --etcd-servers they live in memory"),
    ("etcd-servers", "URL,…", "keep objects in this etcd"),
    ("etcd-cafile", "FILE", "authority of etcd's certificate"),
    ("etcd-certfile", "FILE", "client certificate for etcd"),
    ("etcd-keyfile", "FILE", "its key"),
    ("etcd-compaction-interval", "DURATION", "how long history is kept; 0 keeps it for ever"),
    ("tls-cert-file", "FILE", "certificate to serve with"),
    ("tls-private-key-file", "FILE", "its key"),
    ("client-ca-file", "FILE", "authority of client certificates"),
    ("requestheader-client-ca-file", "FILE", "authority of front proxies"),
    ("requestheader-allowed-names", "NAME,…", "common names a front proxy may have"),
    ("requestheader-username-headers", "HEADER,…", "headers with the user's name"),
    ("requestheader-group-headers", "HEADER,…", "headers with the user's groups"),
    ("requestheader-extra-headers-prefix", "PREFIX,…", "prefixes of headers with more about the user"),
    ("proxy-client-cert-file", "FILE", "client certificate for aggregated servers"),
    ("proxy-client-key-file", "FILE", "its key"),
    ("token-auth-file", "FILE", 'static tokens: lines of token,user,uid,"group1,group2"'),
    ("anonymous-auth", "BOOL", "let requests without credentials in as system:anonymous"),
    ("authorization-mode", "MODE,…", "Node, RBAC, AlwaysAllow, in this order"),
    ("service-account-key-file", "FILE", "keys that verify service account tokens; repeatable"),
    ("service-account-signing-key-file", "FILE", "key that signs them"),
    ("service-account-issuer", "URL", "their issuer; repeatable, the first one issues"),
    ("api-audiences", "NAME,…", "audiences a token may be for (default: the issuer)"),
    ("service-cluster-ip-range", "CIDR", "addresses of Services"),
    ("service-node-port-range", "FROM-TO", "node ports of Services"),
    ("kubelet-client-certificate", "FILE", "client certificate for kubelets"),
    ("kubelet-client-key", "FILE", "its key"),
    ("kubelet-certificate-authority", "FILE", "authority of the kubelets' certificates"),
    ("kubelet-preferred-address-types", "TYPE,…", "which address of a Node to use"),
    ("max-requests-inflight", "N", "limit of reading requests; with the next, the seats of priority and fairness"),
    ("max-mutating-requests-inflight", "N", "limit of mutating requests"),
    ("enable-priority-and-fairness", "BOOL", "queue and share fairly instead of two plain limits"),
    ("request-timeout", "DURATION", "how long a request may take that is no watch"),
    ("min-request-timeout", "SECONDS", "how long a watch lasts at least"),
    ("audit-policy-file", "FILE", "an audit.k8s.io/v1 Policy"),
    ("audit-log-path", "FILE", "where audit events go; - is standard output"),
    ("audit-log-mode", "MODE", "blocking, or blocking-strict: refuse requests whose audit event cannot be written"),
    ("runtime-config", "API=BOOL,…", "turn API versions on or off, as in flowcontrol.apiserver.k8s.io/v1beta1=true"),
    ("enable-admission-plugins", "NAME,…", "plugins to run besides the default ones"),
    ("disable-admission-plugins", "NAME,…", "default plugins not to run"),
    ("tracing-trusted-groups", "GROUP,…", "groups whose traceparent is a parent; others' is a link"),
    ("default-not-ready-toleration-seconds", "SECONDS", "how long Pods stay on a node that is not ready"),
    ("default-unreachable-toleration-seconds", "SECONDS", "how long Pods stay on an unreachable node"),
)
_REPEATABLE = frozenset({"service-account-key-file", "service-account-issuer"})
_DURATIONS = frozenset({"request-timeout", "etcd-compaction-interval"})


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare every flag with its default."""
    defaults = Options()
    for flag, metavar, help_text in _FLAGS:
        default = getattr(defaults, flag.replace("-", "_"))
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        text = f"{help_text} ({shown})" if shown not in ("", ()) else help_text
        common: dict[str, Any] = {"metavar": metavar, "help": text.replace("%", "%%")}
        if flag in _REPEATABLE:
            parser.add_argument(f"--{flag}", action="append", **common)
        elif flag in _DURATIONS:
            parser.add_argument(f"--{flag}", type=seconds, default=default, **common)
        elif isinstance(default, bool):
            parser.add_argument(f"--{flag}", type=_boolean, nargs="?", const=True, default=default, **common)
        elif isinstance(default, int):
            parser.add_argument(f"--{flag}", type=int, default=default, **common)
        elif isinstance(default, tuple):
            parser.add_argument(f"--{flag}", type=_words, default=default, **common)
        else:
            parser.add_argument(f"--{flag}", default=default, **common)


def options_from(flags: argparse.Namespace) -> Options:
    """The checked options of parsed flags. Raises ConfigError."""
    given: dict[str, Any] = {}
    for row in fields(Options):
        value = getattr(flags, row.name, None)
        if value is not None:
            given[row.name] = tuple(value) if isinstance(value, list) else value
    options = Options(**given)
    options.check()
    return options
