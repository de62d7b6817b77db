"""Reading a cluster's endpoints."""

from __future__ import annotations

import datetime
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.lookup import Reader
from kubeglass.components.machinery.certs import new_authority, new_leaf

THREADS, READERS = 16, 25


class _Well(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A TLS server that admits the administrator of the data dir, and nobody else."""
    now = datetime.datetime.now(datetime.UTC)
    pki = DataDir(tmp_path).pki
    pki.mkdir(parents=True)
    authority = new_authority("test", now)
    authority.write(pki / "ca.crt", pki / "ca.key")
    new_leaf(authority, "admin", now, client=True).write(pki / "admin.crt", pki / "admin.key")
    new_leaf(authority, "server", now, addresses=["127.0.0.1"], server=True).write(
        pki / "server.crt", pki / "server.key"
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "server.crt", pki / "server.key")
    context.load_verify_locations(pki / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _Well)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{listening.server_address[1]}/healthz"
    listening.shutdown()
    listening.server_close()
    thread.join()


def test_a_reader_serves_many_threads_from_its_first_request_on(server: str, tmp_path: Path) -> None:
    """`status` asks all components at once: none of them may meet TLS that another thread is still setting up."""
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(READERS):
            reader = Reader(DataDir(tmp_path))
            together = threading.Barrier(THREADS)

            def ask(_: int, reader: Reader = reader, together: threading.Barrier = together) -> str:
                together.wait()
                return reader.get(server).error

            assert set(pool.map(ask, range(THREADS))) == {""}
