"""Where `kubeglass apf` looks: the flow control pages of an API server, a synchronous read at a time."""

from __future__ import annotations

import argparse
import http.client
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from kubeglass.components.cli.lookup import CommandError, add_data_dir_flag, data_dir_of, existing_plan
from kubeglass.components.machinery.access import Access, KubeconfigError, load_kubeconfig

PREFIX = "/debug/api_priority_and_fairness/"
_TIMEOUT_SECONDS = 10.0


def add_server_flags(parser: argparse.ArgumentParser) -> None:
    """Which server: a kubeglass cluster by its folder, or any by its kubeconfig."""
    add_data_dir_flag(parser)
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="ask this server instead of the cluster in DIR")


class FlowControlServer:
    """Reads the pages under /debug/api_priority_and_fairness/."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._tls = access.ssl_context()

    @classmethod
    def of(cls, flags: argparse.Namespace) -> FlowControlServer:
        """The server that the flags name. Raises CommandError."""
        if flags.kubeconfig is None:
            data = data_dir_of(flags)
            existing_plan(data)
            file = data.kubeconfig
        else:
            file = flags.kubeconfig.expanduser()
        try:
            return cls(load_kubeconfig(file))
        except KubeconfigError as error:
            raise CommandError(str(error)) from error

    def page(self, name: str, /, **query: str) -> bytes:
        """The body of one page. Raises CommandError."""
        parameters = {key: value for key, value in query.items() if value}
        path = PREFIX + name + (f"?{urlencode(parameters)}" if parameters else "")
        status, body = self._get(path)
        if status == 200:
            return body
        if status == 404:
            raise CommandError(
                f"{self._access.server} has no page {PREFIX}{name}: is priority and fairness switched on?"
            )
        raise CommandError(f"{self._access.server}{path} answered {status}: {_reason(body)}")

    def json(self, name: str, /, **query: str) -> Any:
        """The decoded JSON of one page. Raises CommandError."""
        body = self.page(name, **{"format": "json", **query})
        try:
            return msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            raise CommandError(
                f"{self._access.server} answered {name} without JSON; it is no kubeglass server"
            ) from error

    def _get(self, path: str) -> tuple[int, bytes]:
        parts = urlsplit(self._access.server)
        connection: http.client.HTTPConnection
        if self._tls is None:
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
        else:
            connection = http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS, context=self._tls
            )
        token = self._access.token
        headers = {"User-Agent": "kubeglass-apf"} | ({"Authorization": f"Bearer {token.reveal()}"} if token else {})
        try:
            connection.request("GET", parts.path + path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise CommandError(f"cannot reach {self._access.server}: {error or type(error).__name__}") from error
        finally:
            connection.close()


def _reason(body: bytes) -> str:
    """The message of a Status, or the text itself."""
    try:
        status = msgspec.json.decode(body)
        return str(status["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return body.decode(errors="replace").strip()[:200]
