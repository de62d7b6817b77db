"""The image catalog: which program stands for which image name. A YAML file, extensible by the user.

An image is known when one of the catalog's patterns matches its normalised repository (docker.io/library/nginx).
Tags are accepted as they come: every version of an image is the same program. Nothing else is ever pulled.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import yaml

BUILTIN_CATALOG = Path(__file__).with_name("catalog.yaml")
PROGRAMS = Path(__file__).with_name("programs")


class InvalidImageNameError(Exception):
    """An image reference that no registry would accept."""


class CatalogError(Exception):
    """A catalog file that cannot be read; the text says which, where and why."""


class CatalogEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One image: what its ENTRYPOINT, CMD and ENV are."""

    names: tuple[str, ...]  # repositories, shell patterns allowed
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    program: str = ""  # a built-in program, used as entrypoint
    working_dir: str = "/"
    stop_signal: str = "SIGTERM"
    size_bytes: int = 4_000_000


class _CatalogFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    images: tuple[CatalogEntry, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A normalised image name."""

    repository: str  # docker.io/library/nginx
    tag: str
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"


_REPOSITORY = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
_DOMAIN = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]+)?")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def parse(image: str) -> Reference:
    """Normalise as docker does: nginx → docker.io/library/nginx:latest. Raises InvalidImageNameError."""
    rest, _, digest = image.partition("@")
    head, slash, tail = rest.rpartition("/")
    name, colon, tag = tail.partition(":")
    path = f"{head}{slash}{name}"
    domain, slash, remainder = path.partition("/")
    if not slash or not ("." in domain or ":" in domain or domain == "localhost"):
        domain, remainder = "docker.io", path
    if domain == "docker.io" and "/" not in remainder:
        remainder = f"library/{remainder}"
    valid = (
        _DOMAIN.fullmatch(domain)
        and _REPOSITORY.fullmatch(remainder)
        and (not colon or _TAG.fullmatch(tag))
        and (not digest or _DIGEST.fullmatch(digest))
    )
    if not valid:
        raise InvalidImageNameError(f'couldn\'t parse image name "{image}": invalid reference format')
    return Reference(f"{domain}/{remainder}", tag or "latest", digest)


def default_pull_policy(image: str) -> str:
    """Always for :latest, else IfNotPresent, as the API server defaults it."""
    reference = parse(image)
    return "Always" if reference.tag == "latest" and not reference.digest else "IfNotPresent"


@dataclass(frozen=True, slots=True)
class Program:
    """What to execute for a container of an image."""

    args: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = "/"
    stop_signal: str = "SIGTERM"
    builtin: bool = False


class Catalog:
    """The known images. Rows of later files win over earlier ones."""

    def __init__(self, entries: Sequence[CatalogEntry]) -> None:
        self._entries = tuple(entries)

    @classmethod
    def load(cls, user_files: Sequence[Path] = ()) -> Catalog:
        """The built-in catalog and the user's. Raises CatalogError."""
        entries: list[CatalogEntry] = []
        for file in (*reversed(user_files), BUILTIN_CATALOG):
            entries += _read(file)
        return cls(entries)

    def find(self, image: str) -> CatalogEntry | None:
        """The row for an image name, if any. Raises InvalidImageNameError."""
        reference = parse(image)
        short = reference.repository.removeprefix("docker.io/").removeprefix("library/")
        for entry in self._entries:
            if any(
                fnmatch.fnmatchcase(name, pattern) for pattern in entry.names for name in (short, reference.repository)
            ):
                return entry
        return None

    def program(self, image: str, command: Sequence[str], args: Sequence[str]) -> Program:
        """ENTRYPOINT and CMD rules: `command` replaces both, `args` replaces CMD. Raises KeyError."""
        entry = self.find(image)
        if entry is None:
            raise KeyError(image)
        if entry.program:
            entrypoint: Sequence[str] = (
                os.path.realpath(sys.executable),
                "-I",
                "-S",
                str(PROGRAMS.resolve() / "server.py"),
                entry.program,
            )
        else:
            entrypoint = entry.entrypoint
        run = [*command, *args] if command else [*entrypoint, *(args or entry.command)]
        builtin = bool(entry.program) and not command
        return Program(run, entry.env, entry.working_dir, entry.stop_signal, builtin)


def image_id(image: str) -> str:
    """A stable digest for a catalog image; the name is all there is to hash."""
    return "sha256:" + hashlib.sha256(str(parse(image)).encode()).hexdigest()


def unknown_image_message(image: str) -> str:
    """What an ErrImagePull says about an image outside the catalog."""
    reference = parse(image)
    return (
        f'failed to pull and unpack image "{reference}": failed to resolve reference "{reference}": not found: '
        "the process runtime runs only images of its catalog; add this one to DIR/images.yaml "
        f'(images: [{{names: ["{reference.repository}"], entrypoint: ["/path/to/program"]}}])'
    )


def _read(file: Path) -> tuple[CatalogEntry, ...]:
    try:
        content = yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return msgspec.convert(content, _CatalogFile).images
    except OSError as error:
        raise CatalogError(f"cannot read image catalog {file}: {error.strerror}") from error
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise CatalogError(f"invalid image catalog {file}: {error}") from error
