"""Certificates made here work in a real TLS handshake."""

import datetime
import socket
import ssl
import stat
import threading

import pytest

from kubeglass.components.machinery import certs
from kubeglass.components.machinery.delegation import requester_of_certificate

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def pki(tmp_path):
    authority = certs.new_authority("kubernetes", NOW)
    authority.write(tmp_path / "ca.crt", tmp_path / "ca.key")
    server = certs.new_leaf(authority, "kube-apiserver", NOW, addresses=["localhost", "127.0.0.1"], server=True)
    server.write(tmp_path / "server.crt", tmp_path / "server.key")
    client = certs.new_leaf(authority, "alice", NOW, organizations=["dev", "ops"], client=True)
    client.write(tmp_path / "client.crt", tmp_path / "client.key")
    return tmp_path


def test_mutual_tls(pki):
    """A server and a client with leaves of one authority shake hands, and the server learns the client's name."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(pki / "server.crt", pki / "server.key")
    serving.load_verify_locations(pki / "ca.crt")
    serving.verify_mode = ssl.CERT_REQUIRED
    asking = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    asking.load_cert_chain(pki / "client.crt", pki / "client.key")
    ours, theirs = socket.socketpair()
    seen = []

    def serve():
        with serving.wrap_socket(theirs, server_side=True) as tls:
            seen.append(tls.getpeercert(binary_form=True))
            tls.sendall(b"x")

    thread = threading.Thread(target=serve)
    thread.start()
    with asking.wrap_socket(ours, server_hostname="127.0.0.1") as tls:
        assert tls.recv(1) == b"x"
    thread.join()
    requester = requester_of_certificate(seen[0])
    assert requester.name == "alice"
    assert requester.groups == ("dev", "ops", "system:authenticated")


def test_keys_are_for_their_owner(pki):
    """Nobody else may read a key, and what was written reads back."""
    assert stat.S_IMODE((pki / "ca.key").stat().st_mode) == 0o600
    assert certs.read_pair(pki / "ca.crt", pki / "ca.key").certificate.subject.rfc4514_string() == "CN=kubernetes"
