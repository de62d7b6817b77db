from typing import Any

import pytest
from tests.components.apiserver.registry.conftest import NOW, Cluster

from kubeglass.components.api import errors, kinds
from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver.registry import crd
from kubeglass.components.apiserver.registry.definitions import Definitions
from kubeglass.components.apiserver.registry.tables import KindTables

SCHEMA = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["cron"],
            "properties": {
                "cron": {"type": "string", "pattern": r"^\S+ \S+$"},
                "replicas": {"type": "integer", "minimum": 1, "maximum": 5, "default": 1},
                "mode": {"type": "string", "enum": ["A", "B"]},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "port": {"x-kubernetes-int-or-string": True},
            },
        },
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}},
    },
}


def definition(**version: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "crontabs.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"]},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": SCHEMA},
                    "subresources": {
                        "status": {},
                        "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                    },
                    "additionalPrinterColumns": [{"name": "Cron", "type": "string", "jsonPath": ".spec.cron"}],
                    **version,
                }
            ],
        },
    }


async def defined(cluster: Cluster) -> Kind:
    served = []

    async def serve(found: Any) -> None:
        served.extend(found)

    await cluster.create(kinds.CUSTOM_RESOURCE_DEFINITION, definition())
    await Definitions(cluster.reader, cluster.served, serve).refresh()
    kind = cluster.served.find("example.com", "v1", "crontabs")
    assert kind is not None and served == [kind]
    return kind


async def test_a_definition_is_established_at_once(cluster: Cluster) -> None:
    """Names are accepted, the stored version is noted, the clean-up finalizer is set."""
    made = await cluster.create(kinds.CUSTOM_RESOURCE_DEFINITION, definition())
    assert made["status"]["acceptedNames"]["singular"] == "crontab"
    assert made["status"]["storedVersions"] == ["v1"]
    assert {item["type"]: item["status"] for item in made["status"]["conditions"]} == {
        "NamesAccepted": "True",
        "Established": "True",
    }
    assert made["metadata"]["finalizers"] == [crd.CLEANUP_FINALIZER]


async def test_custom_objects_are_pruned_defaulted_and_validated(cluster: Cluster) -> None:
    """Unknown members go, defaults come, the schema refuses the rest in apiextensions' words."""
    kind = await defined(cluster)
    cluster.context.field_validation = "Ignore"
    made = await cluster.create(
        kind, {"metadata": {"name": "a"}, "spec": {"cron": "* *", "odd": 1, "free": {"x": {"y": 1}}, "port": "http"}}
    )
    assert made["spec"] == {"cron": "* *", "replicas": 1, "free": {"x": {"y": 1}}, "port": "http"}
    assert (made["apiVersion"], made["kind"], made["metadata"]["generation"]) == ("example.com/v1", "CronTab", 1)
    with pytest.raises(errors.Invalid) as refused:
        await cluster.create(kind, {"metadata": {"name": "b"}, "spec": {"cron": "x", "replicas": 9, "mode": "C"}})
    assert [(cause.field, cause.message) for cause in refused.value.causes] == [
        ("spec.cron", "Invalid value: \"x\": spec.cron in body should match '^\\S+ \\S+$'"),
        ("spec.replicas", "Invalid value: 9: spec.replicas in body should be less than or equal to 5"),
        ("spec.mode", 'Unsupported value: "C": supported values: "A", "B"'),
    ]
    with pytest.raises(errors.Invalid) as refused:
        await cluster.create(kind, {"metadata": {"name": "b"}, "spec": {"replicas": "two"}})
    assert [(cause.field, cause.message) for cause in refused.value.causes] == [
        ("spec.cron", "Required value"),
        (
            "spec.replicas",
            'Invalid value: "string": spec.replicas in body must be of type integer: "string"',
        ),
    ]


async def test_status_and_generation_of_custom_objects(cluster: Cluster) -> None:
    """With a status subresource the status is written apart, and only the rest counts generations."""
    kind = await defined(cluster)
    await cluster.create(kind, {"metadata": {"name": "a"}, "spec": {"cron": "* *"}, "status": {"replicas": 3}})

    def status(current: dict[str, Any]) -> None:
        current["status"] = {"replicas": 2}
        current["spec"]["cron"] = "x x"

    after = await cluster.update(kind, "a", status, "status")
    assert (after["status"], after["spec"]["cron"], after["metadata"]["generation"]) == ({"replicas": 2}, "* *", 1)
    after = await cluster.update(kind, "a", lambda current: current["spec"].update(cron="y y"))
    assert (after["status"], after["metadata"]["generation"]) == ({"replicas": 2}, 2)


async def test_custom_columns(cluster: Cluster) -> None:
    """A table shows the name and the definition's columns."""
    kind = await defined(cluster)
    tables = KindTables(cluster.served, lambda: NOW)
    assert [column["name"] for column in tables.columns(kind)] == ["Name", "Cron"]
    assert tables.cells(kind, {"metadata": {"name": "a"}, "spec": {"cron": "* *"}}) == ["a", "* *"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"storage": False}, "must have exactly one version marked as storage version"),
        ({"schema": {}}, "schemas are required"),
    ],
)
async def test_bad_definitions(cluster: Cluster, change: dict[str, Any], message: str) -> None:
    """A definition without a storage version or schema is refused."""
    with pytest.raises(errors.Invalid, match=message):
        await cluster.create(kinds.CUSTOM_RESOURCE_DEFINITION, definition(**change))


def test_versions_are_ordered_as_kubernetes_orders_them() -> None:
    """Stable before beta before alpha, newer before older, oddities last."""
    names = ["foo1", "v1", "v10", "v2beta1", "v1alpha2", "v11beta2", "v2"]
    assert sorted(names, key=crd.version_priority) == ["v10", "v2", "v1", "v11beta2", "v2beta1", "v1alpha2", "foo1"]


def test_rules_that_are_not_evaluated_are_warned_of() -> None:
    """CEL rules are counted per version wherever they stand; a field of that name is none."""
    rule = {"rule": "self.size() > 0", "message": "must not be empty"}
    schema = {
        "type": "object",
        "x-kubernetes-validations": [rule],
        "properties": {
            "x-kubernetes-validations": {"type": "string", "default": {"x-kubernetes-validations": [rule]}},
            "list": {"type": "array", "items": {"type": "string", "x-kubernetes-validations": [rule, rule]}},
            "map": {"type": "object", "additionalProperties": {"type": "integer", "x-kubernetes-validations": [rule]}},
        },
    }
    plain = {"type": "object", "properties": {"a": {"type": "string"}}}
    versions = [{"name": name, "schema": {"openAPIV3Schema": s}} for name, s in (("v1", plain), ("v2", schema))]
    assert crd.warnings({"spec": {"versions": versions}}) == [
        "spec.versions[1].schema.openAPIV3Schema: x-kubernetes-validations are not evaluated by this server (4)"
    ]
