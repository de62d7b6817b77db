"""Counting TLS handshakes that fail, which no HTTP server tells: the context's own TLS objects report them."""

from __future__ import annotations

import ssl
from collections.abc import Callable


def report_failed_handshakes(context: ssl.SSLContext, report: Callable[[ssl.SSLError], None]) -> None:
    """Have `report` called for every handshake of `context` that ends in an error."""

    class Reporting(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise  # not over yet
            except ssl.SSLError as error:
                report(error)
                raise

    context.sslobject_class = Reporting
