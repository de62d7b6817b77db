# ruff: noqa: E501
import copy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeglass.components.api.patch import (
    PatchError,
    apply_json_patch,
    apply_merge_patch,
    apply_strategic_merge_patch,
)
from kubeglass.components.api.schema import types

DEPLOYMENT = types.builtin().for_kind("apps/v1", "Deployment")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc/~", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
def test_json_patch_reaches_what_the_reference_library_computes(before: Any, after: Any) -> None:
    """Any patch that jsonpatch derives between two documents leads from the first to the second."""
    patch = jsonpatch.make_patch({"root": before}, {"root": after}).patch
    untouched = copy.deepcopy(before)
    assert apply_json_patch({"root": before}, patch) == {"root": after}
    assert before == untouched


@pytest.mark.parametrize(
    ("patch", "message", "blame"),
    [
        ([{"op": "test", "path": "/a", "value": 2}], "testing value /a failed: test failed", "operation"),
        ([{"op": "remove", "path": "/z"}], "remove operation does not apply: doc is missing path: /z: missing value", "operation"),
        ([{"op": "replace", "path": "/z", "value": 1}], "replace operation does not apply: doc is missing path: /z: missing value", "operation"),
        ([{"op": "dance", "path": "/a"}], "Unexpected kind: dance", "operation"),
        ({"op": "add"}, "json: cannot unmarshal object into Go value of type jsonpatch.Patch", "request"),
    ],
)  # fmt: skip
def test_json_patch_refuses(patch: Any, message: str, blame: str) -> None:
    """A patch that does not apply says which operation and path failed."""
    with pytest.raises(PatchError) as refused:
        apply_json_patch({"a": 1}, patch)
    assert (str(refused.value), refused.value.blame) == (message, blame)


def test_merge_patch() -> None:
    """RFC 7386's own examples."""
    before = {"a": "b", "c": {"d": "e", "f": "g"}, "l": [1]}
    assert apply_merge_patch(before, {"a": "z", "c": {"f": None}, "l": [{"x": None}]}) == {
        "a": "z",
        "c": {"d": "e"},
        "l": [{"x": None}],
    }


def deployment(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"spec": {**spec, "template": {"spec": {"containers": list(containers)}}}}


def merged(before: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    assert DEPLOYMENT is not None
    untouched = copy.deepcopy(before)
    after = apply_strategic_merge_patch(before, patch, DEPLOYMENT)
    assert before == untouched
    return after


def test_containers_merge_by_name() -> None:
    """`kubectl set image` changes one container and leaves its neighbours alone."""
    before = deployment({"name": "a", "image": "1", "args": ["x"]}, {"name": "b", "image": "1"})
    after = merged(before, deployment({"name": "a", "image": "2", "args": ["y"]}, {"name": "c", "image": "3"}))
    assert after == deployment(
        {"name": "a", "image": "2", "args": ["y"]}, {"name": "c", "image": "3"}, {"name": "b", "image": "1"}
    )


def test_directives() -> None:
    """An item is deleted by $patch, a list reordered by $setElementOrder, a strategy trimmed by $retainKeys."""
    before = deployment(
        {"name": "a"},
        {"name": "b"},
        {"name": "c"},
        strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
    )
    after = merged(
        before,
        {
            "spec": {
                "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
                "template": {
                    "spec": {
                        "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
                        "containers": [{"name": "b", "$patch": "delete"}],
                    }
                },
            }
        },
    )
    assert after == deployment({"name": "c"}, {"name": "a"}, strategy={"type": "Recreate"})


def test_primitive_lists() -> None:
    """Finalizers merge as a set and leave by $deleteFromPrimitiveList."""
    before = {"metadata": {"finalizers": ["a", "b"]}}
    assert merged(before, {"metadata": {"finalizers": ["c"]}})["metadata"]["finalizers"] == ["c", "a", "b"]
    after = merged(before, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}})
    assert after == {"metadata": {"finalizers": ["b"]}}


def test_nulls_remove_and_new_values_lose_their_directives() -> None:
    """A null removes a member and is never stored; directives never reach the object."""
    after = merged(
        {"metadata": {"labels": {"a": "1", "b": "2"}}},
        {"metadata": {"labels": {"a": None, "z": None}, "annotations": {"x": "1", "y": None}}},
    )
    assert after == {"metadata": {"labels": {"b": "2"}, "annotations": {"x": "1"}}}


def test_a_list_item_without_its_merge_key_is_refused() -> None:
    """The message names the map and the key, as upstream's does."""
    with pytest.raises(PatchError) as refused:
        merged(deployment({"name": "a"}), deployment({"image": "x"}))
    assert str(refused.value) == "map: map[image:x] does not contain declared merge key: name"
    assert refused.value.blame == "server"
