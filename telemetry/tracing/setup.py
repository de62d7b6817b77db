"""TracingConfiguration (a file, or the kubelet's `tracing:` block) to a Tracer.

apiserver.config.k8s.io v1alpha1, v1beta1 and v1, decoded strictly, with upstream's error texts. The same file serves
every component. No configuration: tracing is off and only passes headers through. An empty one: on, with rate 0.
The OTEL_* variables that Go's exporter and batch processor honour are honoured here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kubeglass.logging.klog import Logger
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing import encode
from kubeglass.telemetry.tracing.exporter import Exporter, ExportOptions
from kubeglass.telemetry.tracing.metrics import ExporterMetrics
from kubeglass.telemetry.tracing.tracer import ANNOTATION, Scope, Tracer
from kubeglass.telemetry.tracing.transport import TRACES, GrpcTransport, HttpTransport, Signal, Transport

GROUP = "apiserver.config.k8s.io"
VERSIONS = ("v1", "v1beta1", "v1alpha1")
KIND = "TracingConfiguration"
DEFAULT_ENDPOINT = "localhost:4317"
DEFAULT_HTTP = "http://localhost:4318"
_MILLION = 1_000_000
_TYPES = {"endpoint": (str, "string"), "samplingRatePerMillion": (int, "int32")}


class TracingConfigurationError(ValueError):
    """The configuration cannot be read, decoded or accepted; the text is upstream's."""


@dataclass(frozen=True, slots=True)
class TracingConfiguration:
    """Where spans go and how many new traces are sampled."""

    endpoint: str | None = None
    sampling_rate_per_million: int | None = None

    def validate(self, path: str = "tracing") -> list[str]:
        """Upstream's field errors, empty when all is well."""
        errors = []
        if self.sampling_rate_per_million is not None:
            errors += _rate_errors(self.sampling_rate_per_million, f"{path}.samplingRatePerMillion")
        if self.endpoint is not None:
            errors += _endpoint_errors(self.endpoint, f"{path}.endpoint")
        return errors


def load(path: str) -> TracingConfiguration:
    """Read, decode and validate `--tracing-config-file`."""
    if not Path(path).exists():
        raise TracingConfigurationError(f"tracing-config-file {path} does not exist")
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TracingConfigurationError(
            f'unable to read tracing configuration from "{path}": open {path}: {reason}'
        ) from error
    config = decode(data)
    if errors := config.validate():
        raise TracingConfigurationError(errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")
    return config


def decode(data: bytes) -> TracingConfiguration:
    """Decode a TracingConfiguration file, strictly."""
    try:
        return _decode(data)
    except ValueError as error:
        raise TracingConfigurationError(f"unable to decode tracing configuration data: {error}") from None


def from_block(block: Mapping[str, Any] | None) -> TracingConfiguration | None:
    """The `tracing:` block of a KubeletConfiguration; None, as upstream, means off."""
    return None if block is None else _typed(block)


def build_tracer(
    service_name: str,
    config: TracingConfiguration | None,
    resource: Mapping[str, Any],
    log: Logger,
    registry: Registry,
    *,
    clean: encode.Clean = encode.as_is,
    environ: Mapping[str, str] = os.environ,
    annotation: str = ANNOTATION,
) -> Tracer:
    """The tracer of one component. `clean` is the log sanitizer's `pair`; nothing connects before `tracer.run`."""
    if config is None:
        return Tracer()
    options = export_options(environ)
    attributes = {"service.name": service_name, **resource}
    exporter = Exporter(
        lambda: connect(config.endpoint, environ, options.timeout_seconds),
        encode.resource(attributes),
        options,
        ExporterMetrics(registry),
        log,
        clean,
    )
    fraction = (config.sampling_rate_per_million or 0) / _MILLION
    return Tracer(exporter, fraction=fraction, scope=Scope(f"kubeglass/{service_name}"), annotation=annotation)


def export_options(environ: Mapping[str, str]) -> ExportOptions:
    """The defaults, changed by the OTEL_* variables that are set to sensible numbers."""
    changes: dict[str, Any] = {}
    for name, field, scale in (
        ("OTEL_BSP_MAX_QUEUE_SIZE", "queue_limit", 1),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "batch_limit", 1),
        ("OTEL_BSP_SCHEDULE_DELAY", "delay_seconds", 1000),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "timeout_seconds", 1000),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "timeout_seconds", 1000),
    ):
        value = environ.get(name, "")
        if value.isdecimal() and int(value) > 0:
            changes[field] = int(value) if scale == 1 else int(value) / scale
    options = replace(ExportOptions(), **changes)
    return replace(options, batch_limit=min(options.batch_limit, options.queue_limit))


def connect(
    endpoint: str | None, environ: Mapping[str, str], timeout_seconds: float, signal: Signal = TRACES
) -> Transport:
    """A transport; to be called inside the event loop. The file's endpoint wins over the variables', as in Go."""
    name = signal.path.rpartition("/")[2].upper()

    def setting(what: str) -> str:
        return environ.get(f"OTEL_EXPORTER_OTLP_{name}_{what}") or environ.get(f"OTEL_EXPORTER_OTLP_{what}") or ""

    headers = _headers(setting("HEADERS"))
    if setting("PROTOCOL") == "http/protobuf":
        own = environ.get(f"OTEL_EXPORTER_OTLP_{name}_ENDPOINT", "")  # a whole URL, unlike the shared variable
        base = f"http://{endpoint}" if endpoint else environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or DEFAULT_HTTP
        url = own if own and endpoint is None else base.rstrip("/") + signal.path
        return HttpTransport(url, headers, timeout_seconds)
    target = endpoint or re.sub(r"^https?://", "", setting("ENDPOINT")) or DEFAULT_ENDPOINT
    return GrpcTransport(target, headers, timeout_seconds, signal.method)


def _headers(text: str) -> dict[str, str]:
    pairs = (item.partition("=") for item in text.split(",") if "=" in item)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _decode(data: bytes) -> TracingConfiguration:
    from kubeglass.telemetry.tracing import strictdoc

    document, strict_errors = strictdoc.parse(data)
    if document is None:
        return TracingConfiguration()
    _check_kind(document, data.decode("utf-8", "replace"))
    fields = {key: value for key, value in document.items() if key not in ("apiVersion", "kind")}
    config = _typed({key: value for key, value in fields.items() if key in _TYPES})
    strict_errors += [f'unknown field "{key}"' for key in fields if key not in _TYPES]
    if strict_errors:
        raise TracingConfigurationError(f"strict decoding error: {', '.join(strict_errors)}")
    return config


def _check_kind(document: Mapping[str, Any], text: str) -> None:
    version, kind = document.get("apiVersion") or "", document.get("kind") or ""
    if not kind:
        raise TracingConfigurationError(f"Object 'Kind' is missing in '{text}'")
    if not version:
        raise TracingConfigurationError(f"Object 'apiVersion' is missing in '{text}'")
    if kind != KIND or version not in {f"{GROUP}/{known}" for known in VERSIONS}:
        raise TracingConfigurationError(f'no kind "{kind}" is registered for version "{version}" in scheme "kubeglass"')


def _typed(block: Mapping[str, Any]) -> TracingConfiguration:
    for name, (kind, go_name) in _TYPES.items():
        value = block.get(name)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise TracingConfigurationError(
                f"json: cannot unmarshal {_json_type(value)} into Go struct field {KIND}.{name} of type {go_name}"
            )
    rate = block.get("samplingRatePerMillion")
    if rate is not None and not -(1 << 31) <= rate < 1 << 31:
        raise TracingConfigurationError(
            f"json: cannot unmarshal number {rate} into Go struct field {KIND}.samplingRatePerMillion of type int32"
        )
    return TracingConfiguration(block.get("endpoint"), rate)


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return f"number {value}" if isinstance(value, float) else "number"
    return "object" if isinstance(value, Mapping) else "array"


def _rate_errors(rate: int, path: str) -> list[str]:
    if rate < 0:
        return [f"{path}: Invalid value: {rate}: sampling rate must be positive"]
    if rate > _MILLION:
        return [f"{path}: Invalid value: {rate}: sampling rate per million must be less than or equal to one million"]
    return []


def _endpoint_errors(endpoint: str, path: str) -> list[str]:
    from kubeglass.logging.goquote import quote

    url = endpoint if "//" in endpoint else f"dns://{endpoint}"
    invalid = f"{path}: Invalid value: {quote(url)}: "
    if reason := _url_error(url):
        return [f"{invalid}parse {quote(url)}: {reason}"]
    match = re.match(r"([a-zA-Z][a-zA-Z0-9+.\-]*):", url)
    scheme = match.group(1).lower() if match else ""
    if scheme in ("dns", "unix", "unix-abstract"):
        return []
    return [
        f"{invalid}unsupported scheme: {scheme}.  Options are none, dns, unix, or unix-abstract.  "
        "See https://github.com/grpc/grpc/blob/master/doc/naming.md"
    ]


def _url_error(url: str) -> str:
    """Go's net/url complaint about `url`, for the mistakes people make in an endpoint."""
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in url):
        return "net/url: invalid control character in URL"
    if url.startswith(":"):
        return "missing protocol scheme"
    host = url.split("//", 1)[1].split("/", 1)[0].rpartition("@")[2]
    if " " in host:
        return 'invalid character " " in host name'
    port = re.search(r":[^:\]]*$", host) if not host.endswith("]") else None
    if port and not re.fullmatch(r":\d*", port.group()):
        return f'invalid port "{port.group()}" after host'
    return ""
