import pytest

from kubeglass.components.api import kinds
from kubeglass.components.api.schema import generate, types
from kubeglass.components.api.schema.types import ListOf, Struct


def test_the_committed_table_is_what_the_generator_derives() -> None:
    """definitions.json.z and descriptions.json.xz equal a fresh derivation from the OpenAPI data."""
    pytest.importorskip("kubernetes_validate", reason="pip install 'kubeglass[test]'")
    definitions, texts = generate.tables(generate.source())
    assert types.builtin().definitions == definitions
    assert types.descriptions() == texts


def test_every_kind_has_a_definition() -> None:
    """Each built-in row finds its type."""
    assert [kind for kind in kinds.KINDS if types.builtin().for_kind(kind.api_version, kind.kind) is None] == []


def test_lists_know_how_they_merge() -> None:
    """Containers merge by name, container ports by port and protocol, command lines as a whole."""
    pod = types.builtin().for_kind("v1", "Pod")
    assert pod is not None
    spec = pod.fields["spec"].type
    assert isinstance(spec, Struct)
    containers = spec.fields["containers"]
    assert containers.merge_key == "name"
    assert isinstance(containers.type, ListOf) and containers.type.keys == ("name",)
    container = containers.type.item
    assert isinstance(container, Struct)
    ports = container.fields["ports"]
    assert ports.merge_key == "containerPort"
    assert isinstance(ports.type, ListOf) and ports.type.keys == ("containerPort", "protocol")
    command = container.fields["command"].type
    assert isinstance(command, ListOf) and command.list_type == "atomic"
