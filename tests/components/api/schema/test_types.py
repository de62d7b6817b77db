import pytest

from kubeglass.components.api import kinds
from kubeglass.components.api.schema import generate, texts, types
from kubeglass.components.api.schema.types import ListOf, Struct


def test_the_committed_table_is_what_the_generator_derives() -> None:
    """definitions.json.z equals a fresh derivation from the OpenAPI data."""
    pytest.importorskip("kubernetes_validate", reason="pip install 'kubeglass[test]'")
    assert types.published() == generate.table(texts.definitions())


def test_fields_are_explained_where_the_texts_are_installed() -> None:
    """With the package every Pod field has its sentence; the table itself holds none."""
    pytest.importorskip("kubernetes_validate", reason="pip install 'kubeglass[explain]'")
    pod = texts.descriptions()["io.k8s.api.core.v1.PodSpec"]
    assert set(pod) >= set(types.builtin().definitions["io.k8s.api.core.v1.PodSpec"]["properties"])
    assert "description" not in types.builtin().definitions["io.k8s.api.core.v1.PodSpec"]


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
