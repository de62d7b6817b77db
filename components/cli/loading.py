"""How a cluster's code is loaded before it is forked: once, quickly, and so that its pages stay shared.

What every component needs is loaded before the first fork; what one component alone needs it loads for itself, so that
two cores load two components at once and nobody carries another's code.
While modules load, the cyclic collector rests: it would look at everything again and again and find nothing. What was
loaded is frozen, so that no child's collector ever writes into pages it shares with the others.
aiohttp reads the system's trust store when it is loaded, which takes as long as loading the rest of it; the cluster
trusts only its own authority, so nothing is read. Ctrl-C waits until modules are whole.
"""

from __future__ import annotations

import gc
import os
import signal
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

_TRUST_STORE = ("SSL_CERT_FILE", "SSL_CERT_DIR")
COMMON = (
    "kubeglass.components.machinery.process",  # first: it decides how grpc loads
    "kubeglass.components.machinery.delegation",
    "kubeglass.components.machinery.informer",
    "cryptography.x509",  # whoever calls with a certificate is told apart by it
    "encodings.idna",
    "grpc.aio",
    "stringprep",
    "uvloop",
)
"""What all but a few components load, now or when they run; nothing of it starts a thread or a loop."""


@contextmanager
def loading() -> Iterator[None]:
    """Import inside; frozen when left."""
    before = {name: os.environ.get(name) for name in _TRUST_STORE}
    heeded = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(dict.fromkeys(_TRUST_STORE, os.devnull))
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, heeded)


def load_common() -> None:
    """The code that components share."""
    with loading():
        for module in COMMON:
            import_module(module)


def rehearse_tls(certificate: Path, key: Path, authority: Path) -> None:
    """Shake hands with ourselves in memory.

    OpenSSL looks up its algorithms when it first needs them, which takes 5 ms and 1.5 MB: once here, not in each child.
    """
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    server.verify_mode = ssl.CERT_REQUIRED
    for context in (server, client):
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(authority)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    while sides:
        side = sides.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            sides.append(side)
        except ssl.SSLError:
            return  # no certificate to show: the components will say so
