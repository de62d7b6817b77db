"""Accept and Content-Type: in which form the client wants the answer, and in which it sent the body. Pure.

Answers are JSON (or YAML); a client that prefers protobuf is answered in JSON, which it reads as well.
Texts as k8s.io/apiserver/pkg/endpoints/handlers/negotiation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from kubeglass.components.api.errors import NotAcceptable, UnsupportedMediaType

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
TABLE = "Table"
PARTIAL = "PartialObjectMetadata"
PARTIAL_LIST = "PartialObjectMetadataList"
_ANY = frozenset({JSON, "application/*", "*/*", PROTOBUF})
_SERVED = (JSON, YAML, PROTOBUF)
PATCH_TYPES = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
    "application/apply-patch+cbor": "",
}


@dataclass(frozen=True, slots=True)
class Media:
    """The chosen form of an answer. `shape` is "" for the object itself, else Table or a metadata-only kind."""

    shape: str = ""
    version: str = "v1"
    """The meta.k8s.io version of the shape."""
    yaml: bool = False
    parameters: tuple[tuple[str, str], ...] = field(default=())

    @property
    def content_type(self) -> str:
        if self.yaml:
            return YAML
        if self.shape:
            return f"{JSON};as={self.shape};v={self.version};g=meta.k8s.io" if self.shape == TABLE else JSON
        return JSON


PLAIN = Media()


@lru_cache(maxsize=1024)
def accept(header: str, shapes: frozenset[str] = frozenset()) -> Media:
    """The first acceptable form in the client's order of preference. Raises NotAcceptable."""
    if not header:
        return PLAIN
    for name, parameters in _by_preference(header):
        if name not in _ANY and name != YAML:
            continue
        shape, group, version = (parameters.get(key, "") for key in ("as", "g", "v"))
        if shape and not (shape in shapes and group == "meta.k8s.io" and version in ("v1", "v1beta1")):
            continue
        return Media(shape, version or "v1", name == YAML)
    raise NotAcceptable("only the following media types are accepted: " + ", ".join(_SERVED))


def patch_type(header: str) -> str:
    """json, merge, strategic or apply. Raises UnsupportedMediaType."""
    name = header.partition(";")[0].strip().lower()
    kind = PATCH_TYPES.get(name, "")
    if not kind:
        raise unknown_patch()
    return kind


def unknown_patch(*, custom: bool = False) -> UnsupportedMediaType:
    """The 415 for a patch; custom resources have no strategic merge."""
    known = [name for name, form in PATCH_TYPES.items() if form and not (custom and form == "strategic")]
    return UnsupportedMediaType(
        f"the body of the request was in an unknown format - accepted media types include: {', '.join(known)}"
    )


def _by_preference(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(media type, parameters) by falling q, else in the given order."""
    clauses = []
    for clause in header.split(","):
        name, *rest = (part.strip() for part in clause.split(";"))
        parameters = dict(_pair(part) for part in rest if part)
        clauses.append((_quality(parameters), name.lower(), parameters))
    clauses.sort(key=lambda clause: -clause[0])
    return ((name, parameters) for quality, name, parameters in clauses if quality > 0)


def _pair(part: str) -> tuple[str, str]:
    key, _, value = part.partition("=")
    return key.strip().lower(), value.strip().strip('"')


def _quality(parameters: dict[str, str]) -> float:
    try:
        return float(parameters.get("q", "1"))
    except ValueError:
        return 0.0
