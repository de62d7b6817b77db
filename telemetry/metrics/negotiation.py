"""Which exposition format a scraper gets for its Accept header. Pure.

As expfmt.NegotiateIncludingOpenMetrics: media ranges by falling quality, the first we can write wins, text else.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple


class Format(Enum):
    """The formats we write, with the content type each is announced by."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"


class Choice(NamedTuple):
    """The format and the full content type, with the name escaping the scraper asked for."""

    format: Format
    content_type: str


class MediaRange(NamedTuple):
    """One entry of an Accept header."""

    type: str
    parameters: dict[str, str]
    quality: float


_ESCAPINGS: Final = frozenset({"allow-utf-8", "underscores", "dots", "values"})


def choose(accept: str) -> Choice:
    """The first format in the scraper's order of preference that we can write; text when none fits."""
    for media in parse_accept(accept):
        chosen = _format(media)
        if chosen is not None:
            escaping = media.parameters.get("escaping", "")
            return _choice(chosen, escaping if escaping in _ESCAPINGS else "underscores")
    return _choice(Format.TEXT, "underscores")


def parse_accept(header: str) -> list[MediaRange]:
    """The media ranges of an Accept header, best first; equal qualities keep their order, q=0 is left out."""
    ranges = [_media_range(part) for part in header.split(",") if part.strip()]
    return sorted((media for media in ranges if media.quality > 0), key=lambda media: -media.quality)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header lets us compress with gzip."""
    codings = {
        media.type: media.quality for media in (_media_range(p) for p in accept_encoding.split(",") if p.strip())
    }
    return codings.get("gzip", codings.get("*", 0.0)) > 0


def _media_range(text: str) -> MediaRange:
    kind, *pieces = [piece.strip() for piece in text.split(";")]
    parameters = {}
    for piece in pieces:
        key, _, value = piece.partition("=")
        parameters[key.strip().lower()] = value.strip().strip('"')
    return MediaRange(kind.lower(), parameters, _quality(parameters.pop("q", "1")))


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _format(media: MediaRange) -> Format | None:
    version = media.parameters.get("version", "")
    match media.type:
        case "application/vnd.google.protobuf":
            wanted = media.parameters.get("proto") == "io.prometheus.client.MetricFamily"
            return Format.PROTOBUF if wanted and media.parameters.get("encoding") == "delimited" else None
        case "application/openmetrics-text":
            return Format.OPENMETRICS if version in ("", "0.0.1", "1.0.0") else None
        case "text/plain":
            return Format.TEXT if version in ("", "0.0.4") else None
    return None


def _choice(chosen: Format, escaping: str) -> Choice:
    return Choice(chosen, f"{chosen.value}; escaping={escaping}")
