"""Definitions written by another server of the same store are served here, too."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.components.apiserver.conftest import serving

from kubeglass.components.apiserver.storage.memory import MemoryBackend

DEFINITION: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "shops.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "shops", "kind": "Shop"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
}
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SHOPS = "/apis/example.com/v1/namespaces/default/shops"


async def _until(condition: object, status: int) -> None:
    assert callable(condition)
    async with asyncio.timeout(10):
        while (await condition()).status != status:
            await asyncio.sleep(0.01)


async def test_what_one_server_defines_both_serve() -> None:
    """Creation and deletion of a definition reach the other server by the store alone."""
    store = MemoryBackend()
    async with serving(backend=store) as one, serving(backend=store) as other:
        assert (await one("POST", DEFINITIONS, DEFINITION)).status == 201
        await _until(lambda: other("GET", SHOPS), 200)
        shop = {"apiVersion": "example.com/v1", "kind": "Shop", "metadata": {"name": "a"}}
        assert (await other("POST", SHOPS, shop)).status == 201
        assert (await one("GET", f"{SHOPS}/a")).status == 200
        assert (await one("DELETE", f"{DEFINITIONS}/shops.example.com")).status == 200
        await _until(lambda: other("GET", SHOPS), 404)


async def test_rules_of_a_definition_are_kept_published_and_warned_of() -> None:
    """A definition with CEL rules is accepted, says at every write that nobody evaluates them, and shows them."""
    rule = {"rule": "self.spec.size > 0", "message": "size must be positive"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-validations": [rule]}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    definition = DEFINITION | {"spec": DEFINITION["spec"] | {"versions": [version]}}
    warning = (
        '299 - "spec.versions[0].schema.openAPIV3Schema: x-kubernetes-validations are not evaluated by this server (1)"'
    )
    async with serving() as api:
        made = await api("POST", DEFINITIONS, definition)
        assert (made.status, made.headers["Warning"]) == (201, warning)
        assert made.json["spec"]["versions"][0]["schema"] == schema
        changed = await api("PUT", f"{DEFINITIONS}/shops.example.com", made.json)
        assert (changed.status, changed.headers["Warning"]) == (200, warning)
        plain = await api("GET", f"{DEFINITIONS}/shops.example.com")
        assert "Warning" not in plain.headers
