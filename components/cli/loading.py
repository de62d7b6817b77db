"""How a cluster's code is loaded before it is forked: once, quickly, and so that its pages stay shared.

While modules load, the cyclic collector rests: it would look at everything again and again and find nothing. What was
loaded is frozen, so that no child's collector ever writes into pages it shares with the others.
aiohttp reads the system's trust store when it is loaded, which takes as long as loading the rest of it; the cluster
trusts only its own authority, so nothing is read.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from kubeglass.components.cli.components import spec_of

_TRUST_STORE = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_NEEDED_BY_ALL = ("uvloop", "encodings.idna", "stringprep", "kubeglass.components.machinery.delegation")
"""What every component would load for itself when it runs; nothing of it starts a thread or a loop."""


@contextmanager
def loading() -> Iterator[None]:
    """Import inside; frozen when left."""
    before = {name: os.environ.get(name) for name in _TRUST_STORE}
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


def load(component: str) -> None:
    """All the code of one component."""
    with loading():
        spec_of(component)
        for module in _NEEDED_BY_ALL:
            import_module(module)
