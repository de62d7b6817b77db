"""Namespaces from the first account to the last finalizer, against a real API server."""

from __future__ import annotations

from kubeglass.components.api.kinds import CONFIG_MAP, NAMESPACE, POD, SERVICE_ACCOUNT
from kubeglass.components.controllers.controllers import default_options

from ..conftest import control_plane


async def test_a_namespaces_life() -> None:
    """A new namespace gets its account and the root certificate; a deleted one takes its content along."""
    async with control_plane(default_options(root_ca="CERTIFICATE")) as plane:
        client = plane.client
        await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
        await plane.has(SERVICE_ACCOUNT, "default", namespace="team")
        await plane.has(
            CONFIG_MAP, "kube-root-ca.crt", lambda obj: obj["data"] == {"ca.crt": "CERTIFICATE"}, namespace="team"
        )
        await client.patch(CONFIG_MAP, "kube-root-ca.crt", {"data": {"ca.crt": "forged"}}, "team")
        await plane.has(
            CONFIG_MAP, "kube-root-ca.crt", lambda obj: obj["data"] == {"ca.crt": "CERTIFICATE"}, namespace="team"
        )
        held = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "held", "namespace": "team", "finalizers": ["example.com/hold"]},
        }
        await client.create(CONFIG_MAP, held, "team")
        await client.delete(NAMESPACE, "team")

        def says_what_remains(obj: dict[str, object]) -> bool:
            conditions = {c["type"]: c for c in obj["status"]["conditions"]}  # type: ignore[index,call-overload]
            return bool(
                conditions["NamespaceContentRemaining"]["message"]
                == "Some resources are remaining: configmaps. has 1 resource instances"
                and conditions["NamespaceFinalizersRemaining"]["message"]
                == "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
            )

        await plane.has(NAMESPACE, "team", says_what_remains)
        await client.patch(CONFIG_MAP, "held", {"metadata": {"finalizers": None}}, "team")

        async def gone() -> bool:
            return "team" not in {n["metadata"]["name"] for n in (await client.list(NAMESPACE)).items}

        await plane.eventually(gone)
        assert (await client.list(POD, "team")).items == []
