"""The cluster a command is about: its data dir and plan, and a small synchronous reader of its endpoints.

Commands start quickly because nothing here loads an HTTP framework: http.client and ssl are enough to look.
"""

from __future__ import annotations

import argparse
import http.client
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from kubeglass.components.cli import plan as plans
from kubeglass.components.cli.datadir import DataDir, default_data_dir
from kubeglass.components.cli.plan import Plan


class CommandError(Exception):
    """A command cannot do what it was asked. The text says what, why and what to do next."""


def add_data_dir_flag(parser: argparse.ArgumentParser) -> None:
    """Every verb's --data-dir."""
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=None,
        metavar="DIR",
        help="the cluster's folder (default: $KUBEGLASS_HOME, else ~/.kubeglass)",
    )


def data_dir_of(flags: argparse.Namespace) -> DataDir:
    """The data dir a command names, absolute."""
    return DataDir((flags.data_dir or default_data_dir()).expanduser().absolute())


def plan_of(data: DataDir) -> Plan | None:
    """The plan in a data dir, None when there is no cluster yet. Raises CommandError."""
    try:
        return plans.read(data.plan)
    except PermissionError as error:
        raise CommandError(f"cannot read {data.plan}: {error.strerror}; run this as the user who owns it") from error
    except (OSError, msgspec.MsgspecError) as error:
        raise CommandError(
            f"{data.plan} is damaged ({error}); restore it, or remove {data.root} to start anew"
        ) from error


def existing_plan(data: DataDir) -> Plan:
    """The plan of a cluster that must exist. Raises CommandError."""
    plan = plan_of(data)
    if plan is None:
        raise CommandError(f"there is no cluster in {data.root}; `kubeglass up` makes one")
    return plan


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint said; `error` when it said nothing."""

    status: int
    body: bytes = b""
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.status == 200

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Reader:
    """Reads endpoints of one cluster as its administrator, from any thread."""

    def __init__(self, data: DataDir, timeout_seconds: float = 5.0) -> None:
        self._data = data
        self._timeout = timeout_seconds
        self._tls: ssl.SSLContext | None = None
        self._making_tls = threading.Lock()

    def get(self, url: str) -> Answer:
        """GET a URL of the cluster."""
        return self.request("GET", url)

    def request(self, method: str, url: str, body: bytes | None = None, content_type: str = "") -> Answer:
        """Any request; never raises for a server that is down."""
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection = self._connection(parts.scheme, parts.hostname or "", parts.port)
        try:
            connection.request(method, path, body, {"Content-Type": content_type} if content_type else {})
            response = connection.getresponse()
            return Answer(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            return Answer(0, error=str(error) or type(error).__name__)
        finally:
            connection.close()

    def _connection(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self._timeout)
        return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=self._context())

    def _context(self) -> ssl.SSLContext:
        """Made by the first request that needs it, and whole before another thread sees it."""
        with self._making_tls:
            if self._tls is None:
                made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                made.load_verify_locations(self._data.pki / "ca.crt")
                made.load_cert_chain(self._data.pki / "admin.crt", self._data.pki / "admin.key")
                self._tls = made
            return self._tls
