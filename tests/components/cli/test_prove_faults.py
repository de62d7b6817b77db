"""The means of faults: a wire that can be cut, and components run otherwise than planned."""

from __future__ import annotations

import socket
import socketserver
import stat
import threading
from collections.abc import Iterator

import pytest

from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.lookup import CommandError
from kubeglass.components.cli.plan import Process
from kubeglass.components.cli.prove_replace import rewired, skewed
from kubeglass.components.cli.prove_wire import wire_to


class Shouting(socketserver.BaseRequestHandler):
    """Answers in capitals."""

    def handle(self) -> None:
        while data := self.request.recv(1000):
            self.request.sendall(data.upper())


@pytest.fixture
def port() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Shouting) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    connection.settimeout(5)
    return connection


def is_silent(connection: socket.socket) -> bool:
    connection.settimeout(0.2)
    try:
        return not connection.recv(100)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(5)


class TestWire:
    """Passes everything, or nothing."""

    def test_it_passes_bytes_both_ways(self, port):
        """And tells the client when the server ends."""
        with wire_to(port) as wire, connected(wire.port) as connection:
            connection.sendall(b"hello")
            assert connection.recv(100) == b"HELLO"
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b""

    def test_a_cut_wire_is_silence_not_an_error(self, port):
        """Old and new connections hang; what was sent arrives when it is mended."""
        with wire_to(port) as wire, connected(wire.port) as old:
            old.sendall(b"a")
            assert old.recv(100) == b"A"
            wire.cut()
            with connected(wire.port) as new:
                old.sendall(b"b")
                new.sendall(b"c")
                assert is_silent(old) and is_silent(new)
                wire.mend()
                assert (old.recv(100), new.recv(100)) == (b"B", b"C")

    def test_its_end_hangs_up(self, port):
        """Also while it is cut; no thread stays."""
        with wire_to(port) as wire:
            old = connected(wire.port)
            old.sendall(b"a")
            assert old.recv(100) == b"A"
            wire.cut()
        with old:
            assert old.recv(100) == b""
        assert not [thread for thread in threading.enumerate() if thread.name == "wire"]


def process(*flags: str) -> Process:
    return Process("kubelet/node-2", "kubelet", flags, (), "", "", ())


def test_a_rewired_component_keeps_its_credentials(tmp_path):
    """Only the server differs; the file is its owner's, lies beside the certificates, and goes."""
    data = DataDir(tmp_path)
    data.pki.mkdir()
    planned = data.pki / "kubelet-node-2.conf"
    planned.write_text("clusters:\n- cluster:\n    server: https://127.0.0.1:6443\n    certificate-authority: ca.crt\n")
    flags = (f"--kubeconfig={planned}", "--v=2")
    with rewired(process(*flags), data, 4711) as other:
        file = data.pki / other.flags[0].partition("=")[2].rpartition("/")[2]
        assert other.flags == (f"--kubeconfig={file}", "--v=2")
        assert file.read_text() == planned.read_text().replace("6443", "4711")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in data.pki.iterdir()] == [planned.name]


def test_who_is_no_client_cannot_be_cut_off(tmp_path):
    """It is said so."""
    with (
        pytest.raises(CommandError, match="no client of the API server"),
        rewired(process("--v=2"), DataDir(tmp_path), 1),
    ):
        pass


def test_a_wrong_clock_is_an_environment(tmp_path):
    """Only the wall clock; timers keep their pace. Without the library it is said how to get it."""
    with pytest.raises(CommandError, match="apt-get install faketime"):
        skewed("1h", tmp_path)
    folder = tmp_path / "lib" / "x86_64-linux-gnu" / "faketime"
    folder.mkdir(parents=True)
    (folder / "libfaketimeMT.so.1").touch()
    assert skewed("1h", tmp_path) == {
        "LD_PRELOAD": f"{folder}/libfaketimeMT.so.1",
        "FAKETIME": "+3600.000",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
    assert skewed("-90s", tmp_path)["FAKETIME"] == "-90.000"
