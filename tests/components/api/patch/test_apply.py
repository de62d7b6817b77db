from typing import Any

import pytest

from kubeglass.components.api.errors import Conflict
from kubeglass.components.api.patch import fieldsets
from kubeglass.components.api.patch.apply import Manager, apply, entries_of, track
from kubeglass.components.api.schema import types
from kubeglass.components.api.schema.types import Struct

NOW = "2026-01-02T03:04:05Z"
ALICE = Manager("alice", "Apply", "apps/v1")
BOB = Manager("bob", "Apply", "apps/v1")
SCALER = Manager("kube-controller-manager", "Update", "apps/v1")


def deployment_type() -> Struct:
    found = types.builtin().for_kind("apps/v1", "Deployment")
    assert found is not None
    return found


def config(*containers: dict[str, Any], labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"} | ({"labels": labels} if labels else {}),
        "spec": {**spec},
    }
    if containers:
        found["spec"]["template"] = {"spec": {"containers": list(containers)}}
    return found


def applied(
    live: dict[str, Any] | None, obj: dict[str, Any], manager: Manager = ALICE, force: bool = False
) -> dict[str, Any]:
    return apply(live, obj, deployment_type(), manager, force, NOW)


def test_the_first_apply_owns_what_it_sets() -> None:
    """managedFields lists members, map keys and list items by key, but no name, kind or apiVersion."""
    made = applied(
        None, config({"name": "a", "image": "1", "ports": [{"containerPort": 80}]}, labels={"app": "web"}, replicas=2)
    )
    assert made["metadata"]["managedFields"] == [
        {
            "manager": "alice",
            "operation": "Apply",
            "apiVersion": "apps/v1",
            "time": NOW,
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {
                    "f:replicas": {},
                    "f:template": {
                        "f:spec": {
                            "f:containers": {
                                'k:{"name":"a"}': {
                                    ".": {},
                                    "f:image": {},
                                    "f:name": {},
                                    "f:ports": {
                                        'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}
                                    },
                                }
                            }
                        }
                    },
                },
            },
        }
    ]


def test_what_a_manager_gives_up_is_removed() -> None:
    """A field left out of the next apply goes, unless another manager owns it too."""
    live = applied(None, config({"name": "a", "image": "1"}, {"name": "b", "image": "1"}, labels={"x": "1", "y": "1"}))
    live = applied(live, config(labels={"y": "1"}), BOB)
    after = applied(live, config({"name": "a", "image": "2"}, labels={"z": "1"}))
    assert after["metadata"]["labels"] == {"y": "1", "z": "1"}
    assert after["spec"]["template"]["spec"]["containers"] == [{"name": "a", "image": "2"}]


def test_conflicts_are_named_and_can_be_forced() -> None:
    """Another manager's different value is a conflict; force takes the field over."""
    live = applied(None, config(replicas=2))
    with pytest.raises(Conflict) as refused:
        applied(live, config(replicas=3), BOB)
    assert refused.value.message == 'Apply failed with 1 conflict: conflict with "alice": .spec.replicas'
    assert refused.value.causes[0].field == ".spec.replicas"
    same = applied(live, config(replicas=2), BOB)
    assert {entry.manager.name for entry in entries_of(same)} == {"alice", "bob"}
    forced = applied(live, config(replicas=3), BOB, force=True)
    assert forced["spec"]["replicas"] == 3
    assert [entry.manager.name for entry in entries_of(forced)] == ["bob"]


def test_several_conflicts_are_listed() -> None:
    """Each field on its own line."""
    live = applied(None, config({"name": "a", "image": "1"}, replicas=2))
    with pytest.raises(Conflict) as refused:
        applied(live, config({"name": "a", "image": "2"}, replicas=3), BOB)
    assert refused.value.message == (
        'Apply failed with 2 conflicts: conflicts with "alice":\n'
        "- .spec.replicas\n"
        '- .spec.template.spec.containers[name="a"].image'
    )


def test_updates_take_fields_from_appliers() -> None:
    """After a plain update the changed field belongs to the writer, and the next apply conflicts with it."""
    live = applied(None, config(replicas=2))
    updated = track(live, {**live, "spec": {"replicas": 5}}, deployment_type(), SCALER, NOW)
    owners = {entry.manager.name: entry.fields for entry in entries_of(updated)}
    assert owners == {"kube-controller-manager": frozenset({("f:spec", "f:replicas")})}
    with pytest.raises(Conflict) as refused:
        applied(updated, config(replicas=2))
    assert refused.value.message == (
        'Apply failed with 1 conflict: conflict with "kube-controller-manager" using apps/v1: .spec.replicas'
    )


def test_an_untracked_object_is_owned_by_before_first_apply() -> None:
    """What existed before the first apply belongs to nobody in particular, and still conflicts."""
    live = config(replicas=2)
    with pytest.raises(Conflict, match=r'conflict with "before-first-apply" using apps/v1: \.spec\.replicas'):
        applied(live, config(replicas=3))
    after = applied(live, config(replicas=2))
    assert {entry.manager.name for entry in entries_of(after)} == {"alice", "before-first-apply"}


def test_applying_twice_changes_nothing() -> None:
    """The second apply of the same configuration leaves the object and its managedFields as they are."""
    first = applied(None, config({"name": "a", "image": "1"}, replicas=2))
    again = apply(
        first, config({"name": "a", "image": "1"}, replicas=2), deployment_type(), ALICE, False, "2027-01-01T00:00:00Z"
    )
    assert again == first


def test_field_sets_survive_their_own_text() -> None:
    """Rendering and parsing a set gives it back."""
    fields = fieldsets.of(deployment_type(), config({"name": "a", "image": "1"}, labels={"x": "1"}, replicas=1))
    assert fieldsets.parse(fieldsets.render(fields)) == fields
