"""How to reach an API server: address, trust and credentials, as a kubeconfig file gives them."""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeglass.logging.sanitize import Secret


class KubeconfigError(Exception):
    """A kubeconfig file that cannot be used; the text says what, why and where."""


@dataclass(frozen=True, slots=True)
class Access:
    """One server and one identity."""

    server: str  # https://host:port
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    token: Secret[str] | None = None
    insecure: bool = False

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS settings of this access; None for a plain-text server."""
        if not self.server.startswith("https://"):
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca_file:
            context.load_verify_locations(self.ca_file)
        else:
            context.load_default_certs()
        if self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file or None)
        return context


def load_kubeconfig(path: str | Path) -> Access:
    """The access of the file's current context. Raises KubeconfigError."""
    import yaml

    file = Path(path)
    try:
        config = yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise KubeconfigError(f"cannot read kubeconfig {file}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise KubeconfigError(f"cannot parse kubeconfig {file}: {error}") from error
    try:
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        server = cluster["server"]
    except (KeyError, TypeError, StopIteration) as error:
        raise KubeconfigError(f"kubeconfig {file} has no usable current-context: missing {error}") from error
    return Access(
        server=server.rstrip("/"),
        ca_file=_file_or_data(file, cluster, "certificate-authority"),
        cert_file=_file_or_data(file, user, "client-certificate"),
        key_file=_file_or_data(file, user, "client-key"),
        token=Secret(user["token"]) if user.get("token") else None,
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
    )


def _named(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(row for row in rows if row["name"] == name)


def _file_or_data(kubeconfig: Path, section: dict[str, Any], key: str) -> str:
    """The path of a PEM file; inline data is kept beside the kubeconfig with owner-only rights."""
    if section.get(key):
        return str((kubeconfig.parent / section[key]).resolve())
    data = section.get(f"{key}-data")
    if not data:
        return ""
    file = kubeconfig.with_name(f".{kubeconfig.name}.{key}.pem")
    content = base64.b64decode(data)
    if not file.exists() or file.read_bytes() != content:
        file.touch(mode=0o600)
        file.write_bytes(content)
    return str(file)
