"""LoggingConfiguration v1: what can be set about logging, and what upstream says about values that cannot be.

Answers to k8s.io/component-base/logs/api/v1 (types, validate). Our own options stand last.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeglass.logging.goduration import parse_duration
from kubeglass.logging.rotation import DEFAULT_MAX_AGE_SECONDS, DEFAULT_MAX_BYTES, DEFAULT_MAX_FILES
from kubeglass.logging.sanitize import Mode
from kubeglass.logging.verbosity import MAX_LEVEL, ModuleLevel

FORMATS = ("json", "text")
DEFAULT_FLUSH_NANOSECONDS = 5_000_000_000
DEFAULT_GATES = {"LoggingAlphaOptions": False, "LoggingBetaOptions": True, "ContextualLogging": True}
MAX_BUFFER_BYTES = 2 << 30

_QUANTITY = re.compile(r"([0-9]+)(|k|K|M|G|Ki|Mi|Gi)")
_SCALES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_QUANTITY_SYNTAX = "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Information and errors apart, and how many bytes of the former are held back."""

    split_stream: bool = False
    info_buffer_size: int = 0


@dataclass(frozen=True, slots=True)
class FileOptions:
    """A log file of the component's own in place of stderr."""

    path: str
    max_bytes: int = DEFAULT_MAX_BYTES
    max_age_seconds: float = DEFAULT_MAX_AGE_SECONDS
    max_files: int = DEFAULT_MAX_FILES


@dataclass(frozen=True, slots=True)
class LoggingOptions:
    """Everything the logging flags (or a configuration file) say. Durations are nanoseconds."""

    format: str = "text"
    flush_frequency: int = DEFAULT_FLUSH_NANOSECONDS
    verbosity: int = 0
    vmodule: Sequence[ModuleLevel] = ()
    text: StreamOptions = StreamOptions()
    json: StreamOptions = StreamOptions()
    sanitization: Mode = "full"
    trace_ids: bool = False
    emulated_version: str = "1.36"
    file: FileOptions | None = None

    @property
    def streams(self) -> StreamOptions:
        """The stream options of the format in use."""
        return self.json if self.format == "json" else self.text


class InvalidOptions(ValueError):
    """Options that cannot be applied; the text is upstream's."""


def validate(
    options: LoggingOptions,
    *,
    gates: Mapping[str, bool] = DEFAULT_GATES,
    formats: Sequence[str] = FORMATS,
    path: str = "",
) -> None:
    """Raise InvalidOptions with every fault of the options. `path` is put in front of each field."""
    prefix = f"{path}." if path else ""
    faults = [f"{prefix}{fault}" for fault in _faults(options, gates, formats)]
    if faults:
        raise InvalidOptions(faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]")


def _faults(options: LoggingOptions, gates: Mapping[str, bool], formats: Sequence[str]) -> Iterable[str]:
    yield from _format_faults(options, gates, formats)
    if options.flush_frequency <= 0:
        yield f"flushFrequency: Invalid value: {options.flush_frequency}: Must be greater than zero"
    if options.verbosity > MAX_LEVEL:
        yield f"verbosity: Invalid value: {options.verbosity}: Must be <= {MAX_LEVEL}"
    yield from _vmodule_faults(options)
    for name, streams in (("text", options.text), ("json", options.json)):
        for field, is_set in (("splitStream", streams.split_stream), ("infoBufferSize", streams.info_buffer_size)):
            if is_set and not gates.get("LoggingAlphaOptions", False):
                yield f"options.{name}.{field}: Forbidden: Feature LoggingAlphaOptions is disabled"


def _format_faults(options: LoggingOptions, gates: Mapping[str, bool], formats: Sequence[str]) -> Iterable[str]:
    if options.format not in formats:
        yield f'format: Invalid value: "{options.format}": Unsupported log format'
    elif options.format == "json" and not gates.get("LoggingBetaOptions", True):
        yield "format: Forbidden: Log format json is disabled, see LoggingBetaOptions feature"


def _vmodule_faults(options: LoggingOptions) -> Iterable[str]:
    if options.format != "text" and options.vmodule:
        yield "vmodule: Forbidden: Only supported for text log format"
    for at, entry in enumerate(options.vmodule):
        if not entry.pattern:
            yield f"vmodule[{at}]: Required value: File pattern must not be empty"
        if "=" in entry.pattern or "," in entry.pattern:
            wrong = "File pattern must not contain equal sign or comma"
            yield f'vmodule[{at}]: Invalid value: "{entry.pattern}": {wrong}'
        if entry.level > MAX_LEVEL:
            yield f"vmodule[{at}]: Invalid value: {entry.level}: Must be <= {MAX_LEVEL}"


def parse_bool(text: str) -> bool:
    """A Go boolean. Raises ValueError in Go's words."""
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def options_from_configuration(configuration: Mapping[str, Any]) -> LoggingOptions:
    """The options of a decoded LoggingConfiguration (`logging:` of a KubeletConfiguration). Raises InvalidOptions."""
    flush = configuration.get("flushFrequency", DEFAULT_FLUSH_NANOSECONDS)
    formats = configuration.get("options") or {}
    try:
        return LoggingOptions(
            format=configuration.get("format") or "text",
            flush_frequency=parse_duration(flush) if isinstance(flush, str) else int(flush),
            verbosity=int(configuration.get("verbosity", 0)),
            vmodule=tuple(
                ModuleLevel(entry["filePattern"], int(entry["verbosity"])) for entry in configuration.get("vmodule", ())
            ),
            text=_stream_options(formats.get("text") or {}),
            json=_stream_options(formats.get("json") or {}),
        )
    except (TypeError, KeyError, ValueError) as error:
        raise InvalidOptions(str(error)) from error


def _stream_options(options: Mapping[str, Any]) -> StreamOptions:
    size = parse_quantity(str(options.get("infoBufferSize", 0)))
    return StreamOptions(bool(options.get("splitStream", False)), size)


def parse_quantity(text: str) -> int:
    """Bytes of a resource quantity such as 512, 1K or 2Ki; at most 2 GiB. Raises ValueError in upstream's words."""
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"quantities must match the regular expression {_QUANTITY_SYNTAX}")
    return min(int(found[1]) * _SCALES[found[2]], MAX_BUFFER_BYTES)
