"""Two thousand planted secrets leave no trace in any line; two thousand innocent values stay as they are."""

from __future__ import annotations

import io
import json
import random
import re
import string
import traceback
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.logging.canaries import KINDS, Canary, b64, word

from kubeglass.logging.klog import Logger
from kubeglass.logging.options import LoggingOptions
from kubeglass.logging.otlp import LogExporter
from kubeglass.logging.sanitize import Sanitizer, Secret
from kubeglass.logging.setup import build
from kubeglass.logging.values import Format, KRef

COUNT = 2_000
UNSTAMPED = re.compile(r'^(?:[IWEF]\d{4} [0-9:.]+|\{"ts":[0-9.]+)')


class Stringer:
    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


class Marshaler(Stringer):
    def marshal_log(self) -> Any:
        return {"inner": self.text}


def raised(text: str) -> ValueError:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def in_message(log: Logger, canary: Canary) -> None:
    log.info(f"Something {canary.looks}")


def in_unstructured_text(log: Logger, canary: Canary) -> None:
    log.text(f"Something {canary.looks} happened")


def in_value(log: Logger, canary: Canary) -> None:
    log.info("m", detail=canary.looks, other=1)


def alone_in_value(log: Logger, canary: Canary) -> None:
    log.info("m", **{canary.key or "uri": canary.value})


def in_context(log: Logger, canary: Canary) -> None:
    log.with_values(**{canary.key or "detail": canary.value}).error(None, "m", n=1)


def in_error(log: Logger, canary: Canary) -> None:
    log.error(ValueError(canary.looks), "Failed", n=1)


def in_traceback(log: Logger, canary: Canary) -> None:
    error = raised(canary.looks)
    log.error(error, "Failed", stacktrace="".join(traceback.format_exception(error)))


def in_panic(log: Logger, canary: Canary) -> None:
    class Panics:
        def __str__(self) -> str:
            raise ValueError(canary.looks)

    log.info("m", value=Panics())


def in_stringer(log: Logger, canary: Canary) -> None:
    log.info("m", value=Stringer(canary.looks))


def in_marshaler(log: Logger, canary: Canary) -> None:
    log.info("m", value=Marshaler(canary.looks))


def in_bytes(log: Logger, canary: Canary) -> None:
    log.info("m", body=canary.looks.encode())


def deep_in_values(log: Logger, canary: Canary) -> None:
    log.info("m", spec={"containers": [{"name": "c", "deep": [{"deeper": {canary.key or "text": canary.value}}]}]})


def in_formatted_value(log: Logger, canary: Canary) -> None:
    log.info("m", shown=Format({"status": {canary.key or "text": canary.value}}))


def in_list(log: Logger, canary: Canary) -> None:
    log.info("m", items=["a", canary.looks, ("b", canary.looks)])


def in_headers(log: Logger, canary: Canary) -> None:
    log.info("Request", headers={canary.key or "X-Detail": [canary.value], "Accept": ["*/*"]})


def in_env(log: Logger, canary: Canary) -> None:
    log.info("m", env=[{"name": canary.key or "DETAIL", "value": canary.value}, {"name": "A", "value": "b"}])


def in_arguments(log: Logger, canary: Canary) -> None:
    secret = canary.value
    log.info("m", args=["/bin/app", "--password", secret, "--v=2"] if canary.key else ["/bin/app", canary.looks])


def in_body_at_10(log: Logger, canary: Canary) -> None:
    body = json.dumps({"kind": "Thing", "spec": {canary.key or "text": canary.value}})
    log.v(10).info("Request Body", body=body)


def in_truncated_body(log: Logger, canary: Canary) -> None:
    body = json.dumps({"spec": {canary.key or "text": canary.value}, "padding": "x" * 50})
    log.v(8).info("Response Body", body=f"{body[:-20]} [truncated 20 chars]")


def wrapped(log: Logger, canary: Canary) -> None:
    log.info("m", value=Secret(canary.value), inner={"list": [Secret(canary.looks)]})


PLACES: tuple[Callable[[Logger, Canary], None], ...] = (
    *(in_message, in_unstructured_text, in_value, alone_in_value, in_context, in_error, in_traceback, in_panic),
    *(in_stringer, in_marshaler, in_bytes, deep_in_values, in_formatted_value, in_list, in_headers, in_env),
    *(in_arguments, in_body_at_10, in_truncated_body, wrapped),
)


def canaries() -> Iterator[tuple[Callable[[Logger, Canary], None], Canary]]:
    """COUNT secrets: every kind in every place, again and again with new secrets."""
    chance = random.Random(4)
    combinations = [(place, kind) for place in PLACES for kind in KINDS]
    for number in range(COUNT):
        place, kind = combinations[number % len(combinations)]
        yield place, kind(chance)


@pytest.mark.parametrize("logging_format", ["text", "json"])
@pytest.mark.parametrize("version", ["1.36", "1.22"])
def test_no_canary_in_a_line(logging_format: str, version: str) -> None:
    """No secret is readable in a log line, wherever it stood; the record itself is still there."""
    stream = io.StringIO()
    log = build(LoggingOptions(format=logging_format, verbosity=10, emulated_version=version), stream)
    leaks: list[str] = []
    for place, canary in canaries():
        start = stream.tell()
        place(log, canary)
        shown = stream.getvalue()[start:]
        assert "[redacted:" in shown or any(hidden in shown for hidden in canary.hidden), (place.__name__, shown)
        if any(hidden in shown for hidden in canary.hidden):
            leaks.append(f"{place.__name__}, {canary.kind}: {canary.looks!r} -> {shown}")
    assert leaks == []


def test_no_canary_in_otlp_records() -> None:
    """No secret is readable in what is shipped as OTLP."""
    sent: list[bytes] = []
    exporter = LogExporter({"service.name": "x"}, sent.append, Sanitizer(), max_queue=COUNT * 2)
    log = build(LoggingOptions(verbosity=10), io.StringIO(), listeners=[exporter])
    hidden: list[str] = []
    for place, canary in canaries():
        place(log, canary)
        hidden += canary.hidden
    exporter.export()
    shown = b"".join(sent).decode("latin-1")
    assert exporter.dropped == 0
    assert [secret for secret in hidden if secret in shown] == []


def test_no_canary_in_attributes_and_bodies() -> None:
    """Span attributes, Events and audit bodies go through the same sanitizer."""
    sanitizer = Sanitizer()
    leaks: list[str] = []
    for _, canary in canaries():
        key = canary.key or "http.target"
        shown = json.dumps(
            [
                sanitizer.attributes({key: canary.value, "note": canary.looks}),
                sanitizer.text(canary.looks),
                sanitizer.body(json.dumps({"requestObject": {key: canary.value}}).encode()).decode(),
                sanitizer.body(json.dumps({"stringData": {"x": canary.value}}).encode(), "Secret").decode(),
            ]
        )
        leaks += [canary.looks for hidden in canary.hidden if hidden in shown]
    assert leaks == []


def innocents() -> Iterator[tuple[str, Any]]:
    """COUNT pairs nobody may touch: names, ids, digests, paths, public certificates, ordinary errors."""
    chance = random.Random(5)
    lower = string.ascii_lowercase + string.digits
    makers: tuple[Callable[[], tuple[str, Any]], ...] = (
        lambda: ("pod", f"kube-system/coredns-{word(chance, 10, lower)}-{word(chance, 5, lower)}"),
        lambda: ("uid", str(uuid.UUID(int=chance.getrandbits(128)))),
        lambda: ("image", f"registry.k8s.io/pause@sha256:{word(chance, 64, '0123456789abcdef')}"),
        lambda: ("resourceVersion", str(chance.randrange(10**9))),
        lambda: ("secretName", f"db-{word(chance, 5, lower)}"),
        lambda: ("secret", f"ns-{word(chance, 3, lower)}/name-{word(chance, 4, lower)}"),
        lambda: ("secret", KRef(word(chance, 8, lower), "default")),
        lambda: ("tokenExpirationSeconds", chance.randrange(10_000)),
        lambda: ("automountServiceAccountToken", chance.choice((True, False))),
        lambda: (
            "spec",
            {"automountServiceAccountToken": True, "imagePullSecrets": [{"name": word(chance, 6, lower)}]},
        ),
        lambda: ("volume", {"secret": {"secretName": word(chance, 6, lower), "defaultMode": 420}}),
        lambda: ("source", {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 3607}}),
        lambda: ("hash", f"--discovery-token-ca-cert-hash=sha256:{word(chance, 64, '0123456789abcdef')}"),
        lambda: ("taint", f"node.kubernetes.io/{chance.choice(('not-ready', 'unreachable', 'disk-pressure'))}"),
        lambda: ("caller", f"token.go:{chance.randrange(999)}"),
        lambda: ("caBundle", b64(f"-----BEGIN CERTIFICATE-----\n{word(chance, 64)}\n-----END CERTIFICATE-----\n")),
        lambda: ("cert", f"-----BEGIN CERTIFICATE-----\n{word(chance, 64)}\n-----END CERTIFICATE-----"),
        lambda: ("event", f"worker.{'17' + word(chance, 14, '0123456789abcdef')}"),
        lambda: ("URI", f"/api/v1/namespaces/n{chance.randrange(99)}/secrets?limit=500&resourceVersion=0&watch=true"),
        lambda: ("URI", f"/apis/apps/v1/deployments?continue={word(chance, 40)}&labelSelector=app%3Dnginx"),
        lambda: ("url", f"https://10.0.{chance.randrange(255)}.1:6443/healthz?timeout=32s"),
        lambda: ("host", f"node-{chance.randrange(99)}.{word(chance, 6, lower)}.example.com"),
        lambda: ("userAgent", f"kubectl/v1.36.{chance.randrange(9)} (linux/amd64) kubernetes/{word(chance, 7, lower)}"),
        lambda: (
            "err",
            f'secrets "db-{word(chance, 4, lower)}" is forbidden: User "system:node:a" cannot get resource',
        ),
        lambda: (
            "err",
            "invalid bearer token, token lookup failed: " + chance.choice(("square/go-jose", "no such key")),
        ),
        lambda: ("err", "failed to authenticate: basic auth is not enabled"),
        lambda: ("key", f"/registry/pods/default/web-{chance.randrange(99)}"),
        lambda: ("annotation", "kubernetes.io/service-account-token"),
        lambda: (
            "command",
            ["/bin/app", "--tls-private-key-file=/etc/k/tls.key", "--token-auth-file", "/etc/tokens.csv"],
        ),
        lambda: (
            "env",
            [{"name": "PATH", "value": "/usr/bin"}, {"name": "PORT", "value": str(chance.randrange(9999))}],
        ),
        lambda: ("message", f"Basic information about {word(chance, 5, lower)}: Bearer of good news"),
        lambda: ("ref", {"secretKeyRef": {"name": word(chance, 5, lower), "key": "password"}}),
        lambda: ("mail", f"{word(chance, 5, lower)}@example.com: hello"),
        lambda: ("git", "ssh://git@github.com/kubernetes/kubernetes"),
    )
    for number in range(COUNT):
        yield makers[number % len(makers)]()


@pytest.mark.parametrize("logging_format", ["text", "json"])
def test_innocent_values_stay(logging_format: str) -> None:
    """A line without secrets is the same byte for byte with and without the sanitizer."""
    shown: dict[str, list[str]] = {}
    for mode in ("full", "off"):
        stream = io.StringIO()
        log = build(LoggingOptions(format=logging_format, sanitization=mode), stream)  # type: ignore[arg-type]
        for key, value in innocents():
            log.info("m", **{key: value})
            log.info(f"Seen {value}" if isinstance(value, str) else "m", nested={"items": [{key: value}]})
        shown[mode] = [UNSTAMPED.sub("", line) for line in stream.getvalue().splitlines()]
    assert [pair for pair in zip(shown["full"], shown["off"], strict=True) if pair[0] != pair[1]] == []


@pytest.mark.parametrize("mode", ["off", "types"])
def test_a_secret_is_a_secret_in_every_mode(mode: Any) -> None:
    """`Secret` is redacted whatever the mode; `types` still judges by key; `off` prints the rest as it is."""
    stream = io.StringIO()
    log = build(LoggingOptions(sanitization=mode), stream)
    log.info("m", value=Secret("hunter2"), password="swordfish", text="token=abc123")
    shown = stream.getvalue()
    assert "hunter2" not in shown
    assert ("swordfish" in shown) == (mode == "off")
    assert "token=abc123" in shown
