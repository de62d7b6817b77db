"""In which form an answer goes out, and which bodies are read."""

from __future__ import annotations

import pytest

from kubeglass.components.api.errors import NotAcceptable, UnsupportedMediaType
from kubeglass.components.apiserver.negotiation import PARTIAL, TABLE, accept, patch_type

SHAPES = frozenset({TABLE, PARTIAL})
KUBECTL = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)


@pytest.mark.parametrize(
    ("header", "shape", "yaml"),
    [
        ("", "", False),
        ("*/*", "", False),
        ("application/json", "", False),
        ("application/json, */*", "", False),
        (KUBECTL, "Table", False),
        ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", "PartialObjectMetadata", False),
        ("application/json;as=Nonsense;g=meta.k8s.io;v=v1,application/json", "", False),
        ("application/yaml", "", True),
        ("application/vnd.kubernetes.protobuf", "", False),
        ("application/vnd.kubernetes.protobuf,application/json", "", False),
        ("text/plain;q=0.9,application/json;q=0.5", "", False),
        ("application/json;q=0.1,application/yaml;q=0.9", "", True),
    ],
)  # fmt: skip
def test_the_first_acceptable_form_is_chosen(header: str, shape: str, yaml: bool) -> None:
    """By preference, then order; shapes that are not offered are passed over; protobuf falls back to JSON."""
    media = accept(header, SHAPES)
    assert (media.shape, media.yaml) == (shape, yaml)


@pytest.mark.parametrize(
    "header", ["text/html", "application/json;as=Table;v=v2;g=meta.k8s.io", "application/json;q=0"]
)
def test_nothing_acceptable_is_406(header: str) -> None:
    """The text lists what there is."""
    with pytest.raises(NotAcceptable, match="only the following media types are accepted: application/json, "):
        accept(header, SHAPES)


def test_patches_have_four_forms() -> None:
    """Each content type names its form; anything else is 415 with the list."""
    assert patch_type("application/strategic-merge-patch+json") == "strategic"
    assert patch_type("application/apply-patch+yaml") == "apply"
    with pytest.raises(UnsupportedMediaType, match=r"application/json-patch\+json, application/merge-patch\+json"):
        patch_type("application/json")
