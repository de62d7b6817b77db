# ruff: noqa: E501
from typing import Any

import pytest

from kubeglass.components.api.schema import types
from kubeglass.components.api.schema.decoding import DecodeError, conform, duplicate_fields, load


def conformed(api_version: str, kind: str, obj: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    struct = types.builtin().for_kind(api_version, kind)
    assert struct is not None
    return conform(struct, obj)


def test_unknown_fields_are_dropped_and_named() -> None:
    """Each unknown member is named with its path, indices included."""
    kept, problems = conformed(
        "v1",
        "Pod",
        {"spec": {"foo": 1, "containers": [{"name": "a", "img": "x"}], "nodeName": None}, "extra": {}},
    )
    assert kept == {"spec": {"containers": [{"name": "a"}]}}
    assert problems == [
        'unknown field "spec.foo"',
        'unknown field "spec.containers[0].img"',
        'unknown field "extra"',
    ]


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (
            {"spec": {"replicas": "3"}},
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            {"spec": {"replicas": 1.5}},
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            {"spec": {"template": {"spec": {"containers": [{"env": [{"name": "a", "value": 1}]}]}}}},
            "json: cannot unmarshal number into Go struct field EnvVar.spec.template.spec.containers.env.value of type string",
        ),
        (
            {"spec": {"template": {"spec": {"containers": {}}}}},
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            {"metadata": {"labels": {"a": True}}},
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels.a of type string",
        ),
        (
            {"metadata": {"creationTimestamp": "x"}},
            'parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"',
        ),
    ],
)
def test_wrong_types_are_refused_as_go_words_it(obj: dict[str, Any], message: str) -> None:
    """The message names the JSON type, the Go struct, the field path and the Go type."""
    with pytest.raises(DecodeError) as refused:
        conformed("apps/v1", "Deployment", obj)
    assert str(refused.value) == message


def test_quantities_become_canonical_and_numbers_text() -> None:
    """A CPU request sent as 0.5 is kept as 500m, a bare number as text."""
    kept, _ = conformed(
        "v1", "Pod", {"spec": {"containers": [{"resources": {"requests": {"cpu": 0.5, "memory": 1024}}}]}}
    )
    assert kept["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "500m", "memory": "1024"}


def test_duplicates_in_the_text_are_found() -> None:
    """A member named twice is reported once, with its path; equal keys in different objects are no duplicates."""
    data = b'{"a": {"x": 1, "x": 2, "x": 3}, "b": [{"y" : 1}, {"y": 1, "y": 2}]}'
    assert duplicate_fields(data, load(data)) == ['duplicate field "a.x"', 'duplicate field "b[1].y"']
    assert duplicate_fields(b'{"a":{"x":1},"b":{"x":"\\":"}}', {"a": {"x": 1}, "b": {"x": '":'}}) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "unexpected end of JSON input"),
        (b"{", "unexpected end of JSON input"),
        (b"hello", "invalid character 'h' looking for beginning of value"),
        (b"{a:1}", "invalid character 'a' looking for beginning of object key string"),
    ],
)
def test_malformed_json(data: bytes, message: str) -> None:
    """Syntax errors read as Go's."""
    with pytest.raises(DecodeError) as refused:
        load(data)
    assert str(refused.value) == message


def test_base64_of_secrets_is_checked() -> None:
    """A Secret's data must be base64."""
    kept, _ = conformed("v1", "Secret", {"data": {"a": "aGk="}})
    assert kept["data"] == {"a": "aGk="}
    with pytest.raises(DecodeError, match="illegal base64 data at input byte 1"):
        conformed("v1", "Secret", {"data": {"a": "a$k="}})


def test_members_equal_to_a_trusted_state_are_not_looked_into_again() -> None:
    """What was stored is kept as it is; true is not taken for a stored 1."""
    struct = types.builtin().for_kind("apps/v1", "Deployment")
    assert struct is not None
    stored = {"spec": {"replicas": 1, "paused": True}}
    assert conform(struct, {"spec": {"replicas": 1, "paused": True}}, stored) == (stored, [])
    with pytest.raises(DecodeError, match="json: cannot unmarshal bool into Go struct field"):
        conform(struct, {"spec": {"replicas": True, "paused": True}}, stored)
