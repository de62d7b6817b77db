"""The kubelet's configuration file: a KubeletConfiguration (kubelet.config.k8s.io/v1beta1), decoded strictly.

Only fields that take effect here are known; any other is refused rather than ignored. Flags win over the file, as
upstream. The `tracing:` block is a TracingConfiguration without its envelope.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from kubeglass.logging.goduration import parse_duration
from kubeglass.telemetry.tracing.setup import TracingConfiguration, TracingConfigurationError, from_block

API_VERSION = "kubelet.config.k8s.io/v1beta1"
KIND = "KubeletConfiguration"
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]+)`(?: - at `\$\.?([^`]*)`)?")


class ConfigFileError(Exception):
    """A file that is no KubeletConfiguration; the text says where and why."""


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    pass


class X509(_Strict, frozen=True):
    client_ca_file: str | None = msgspec.field(default=None, name="clientCAFile")


class Authentication(_Strict, frozen=True):
    x509: X509 = X509()


class ConfigFile(_Strict, frozen=True):
    """The file's fields; None where it says nothing."""

    api_version: str = ""
    kind: str = ""
    address: str | None = None
    port: int | None = None
    authentication: Authentication = Authentication()
    cgroup_driver: str | None = None
    cgroup_root: str | None = None
    cgroups_per_qos: bool | None = msgspec.field(default=None, name="cgroupsPerQOS")
    cluster_dns: tuple[str, ...] | None = msgspec.field(default=None, name="clusterDNS")
    cluster_domain: str | None = None
    container_log_max_files: int | None = None
    container_log_max_size: str | None = None
    max_pods: int | None = None
    node_lease_duration_seconds: int | None = None
    node_status_report_frequency: str | None = None
    node_status_update_frequency: str | None = None
    pod_cidr: str | None = msgspec.field(default=None, name="podCIDR")
    register_node: bool | None = None
    rotate_certificates: bool | None = None
    server_tls_bootstrap: bool | None = msgspec.field(default=None, name="serverTLSBootstrap")
    static_pod_path: str | None = None
    sync_frequency: str | None = None
    tls_cert_file: str | None = None
    tls_private_key_file: str | None = None
    tracing: dict[str, Any] | None = None

    def seconds(self, field: str) -> float | None:
        """A duration field. Raises ConfigFileError."""
        text = getattr(self, field)
        if text is None:
            return None
        try:
            return parse_duration(text) / 1e9
        except ValueError as error:
            raise ConfigFileError(f"{field}: {error}") from error

    def tracing_configuration(self) -> TracingConfiguration | None:
        """The `tracing:` block, checked; None: tracing is off. Raises ConfigFileError."""
        try:
            config = from_block(self.tracing)
        except (TracingConfigurationError, ValueError) as error:
            raise ConfigFileError(str(error)) from error
        if config is not None and (errors := config.validate()):
            raise ConfigFileError("; ".join(errors))
        return config


def read(path: str) -> ConfigFile:
    """Read --config; "" is an empty file. Raises ConfigFileError."""
    if not path:
        return ConfigFile()
    try:
        content = yaml.load(Path(path).read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise ConfigFileError(f'failed to read kubelet config file "{path}", error: {error.strerror}') from error
    except yaml.YAMLError as error:
        raise ConfigFileError(f'failed to load kubelet config file "{path}", error: {error}') from error
    try:
        return _decode(content or {})
    except ConfigFileError as error:
        raise ConfigFileError(f'failed to load kubelet config file, path: "{path}", error: {error}') from error


def _decode(content: Mapping[str, Any]) -> ConfigFile:
    try:
        found = msgspec.convert(content, ConfigFile)
    except msgspec.ValidationError as error:
        unknown = _UNKNOWN.match(str(error))
        if unknown:
            field = ".".join(part for part in (unknown[2], unknown[1]) if part)
            raise ConfigFileError(f'strict decoding error: unknown field "{field}"') from error
        raise ConfigFileError(str(error)) from error
    if (found.api_version, found.kind) != (API_VERSION, KIND):
        raise ConfigFileError(f'no kind "{found.kind}" is registered for version "{found.api_version}"; want {KIND}')
    return found
