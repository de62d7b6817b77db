"""Makes messages.json.z from the Go modules k8s.io/api and k8s.io/apimachinery.

    go mod download k8s.io/api@vX k8s.io/apimachinery@vX
    python -m kubeglass.components.apiserver.protobuf.generate API_FOLDER APIMACHINERY_FOLDER

Wire types come from generated.proto, JSON names and what an empty value means from the tags in types.go.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from kubeglass.components.api.kinds import KINDS

_MESSAGE = re.compile(r"^message (\w+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\s+(optional|repeated) ([\w.]+) (\w+) = (\d+);", re.MULTILINE)
_MAP = re.compile(r"^\s+map<string, ([\w.]+)> (\w+) = (\d+);", re.MULTILINE)
_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_TAGGED = re.compile(r'^\s+(?:(\w+)\s+)?([\w.*\[\]]+)\s+`[^`]*?json:"([^"]*)"[^`]*?protobuf:"\w+,(\d+)', re.MULTILINE)
_GROUP = re.compile(r'const GroupName = "([^"]*)"')
_SCALARS = {"string": "string", "bytes": "bytes", "bool": "bool", "int32": "int", "int64": "int", "double": "double"}
_SPECIAL = ("Time", "MicroTime", "Quantity", "IntOrString", "RawExtension", "FieldsV1", "ExtraValue", "Duration")
_META = "k8s.io.apimachinery.pkg.apis.meta.v1"

Row = list[object]


def main(api: Path, apimachinery: Path) -> None:
    """Write the table beside this file."""
    messages: dict[str, dict[str, Row]] = {}
    groups: dict[str, str] = {}
    for package, folder in _packages(api, apimachinery):
        messages |= _read_package(package, folder)
        register = folder / "register.go"
        found = _GROUP.search(register.read_text()) if register.exists() else None
        if found:
            groups[package] = found[1]
    kinds = _kinds(messages, groups)
    reachable = _reachable(messages, list(kinds.values()))
    table = {"messages": reachable, "kinds": kinds}
    packed = zlib.compress(msgspec.json.encode(table, order="deterministic"), 9)
    Path(__file__).with_name("messages.json.z").write_bytes(packed)
    print(f"{len(reachable)} messages, {len(kinds)} kinds, {len(packed)} bytes")


def _packages(api: Path, apimachinery: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(api.glob("*/v*/generated.proto")):
        folder = file.parent
        yield f"k8s.io.api.{folder.parent.name}.{folder.name}", folder
    yield _META, apimachinery / "pkg/apis/meta/v1"
    yield "k8s.io.apimachinery.pkg.runtime", apimachinery / "pkg/runtime"
    yield "k8s.io.apimachinery.pkg.util.intstr", apimachinery / "pkg/util/intstr"
    yield "k8s.io.apimachinery.pkg.api.resource", apimachinery / "pkg/api/resource"


def _read_package(package: str, folder: Path) -> dict[str, dict[str, Row]]:
    tags = {
        struct: {int(tag[3]): tag for tag in _tags(body)}
        for source in sorted(folder.glob("*.go"))
        if not source.name.startswith(("generated", "zz_"))
        for struct, body in _STRUCT.findall(source.read_text())
    }
    return {
        f"{package}.{message}": dict(_rows(package, body, tags.get(message, {})))
        for message, body in _MESSAGE.findall((folder / "generated.proto").read_text())
    }


def _tags(body: str) -> Iterator[tuple[str, str, str, str]]:
    for line in body.splitlines():
        match = _TAGGED.match(line)
        if match and not line.lstrip().startswith("//"):
            yield match[1] or "", match[2], match[3], match[4]


def _rows(package: str, body: str, tags: dict[int, tuple[str, str, str, str]]) -> Iterator[tuple[str, Row]]:
    for label, type_, name, number in _FIELD.findall(body):
        go_type, json_tag = (tags[int(number)][1], tags[int(number)][2]) if int(number) in tags else ("", name)
        json_name, *options = json_tag.split(",")
        inline = int(number) in tags and json_name == ""
        empty_is_absent = not go_type.startswith("*") and ("omitempty" in options or _is_time(type_))
        yield number, ["" if inline else json_name, _type(package, type_), label == "repeated", False, empty_is_absent]
    for type_, name, number in _MAP.findall(body):
        json_name = tags[int(number)][2].split(",")[0] if int(number) in tags else name
        yield number, [json_name, _type(package, type_), False, True, False]


def _is_time(type_: str) -> bool:
    return type_.rpartition(".")[2] in ("Time", "MicroTime")


def _type(package: str, type_: str) -> str:
    if type_ in _SCALARS:
        return _SCALARS[type_]
    return type_.lstrip(".") if "." in type_ else f"{package}.{type_}"


def _kinds(messages: dict[str, dict[str, Row]], groups: dict[str, str]) -> dict[str, str]:
    """apiVersion/kind → message, for everything this server serves."""
    package_of = {(group, package.rpartition(".")[2]): package for package, group in groups.items()}
    wanted = {(row.group, row.version, row.kind) for row in KINDS}
    for row in KINDS:
        wanted |= {(sub.group, sub.version, sub.kind) for sub in row.subresources if sub.kind}
    found = {}
    for group, version, kind in sorted(wanted):
        message = f"{package_of.get((group, version), '')}.{kind}"
        if message in messages:
            found[f"{group}/{version}/{kind}" if group else f"{version}/{kind}"] = message
        for shared in ("DeleteOptions",):
            found[f"{group}/{version}/{shared}" if group else f"{version}/{shared}"] = f"{_META}.{shared}"
    return found | {"meta.k8s.io/v1/DeleteOptions": f"{_META}.DeleteOptions"}


def _reachable(messages: dict[str, dict[str, Row]], waiting: list[str]) -> dict[str, dict[str, Row]]:
    found: dict[str, dict[str, Row]] = {}
    while waiting:
        name = waiting.pop()
        if name in found or name.rpartition(".")[2] in _SPECIAL:
            continue
        found[name] = messages[name]
        waiting += [type_ for row in messages[name].values() if "." in (type_ := str(row[1]))]
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
