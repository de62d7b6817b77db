"""NamespaceLifecycle: nothing is made in a namespace that is missing or going, and the first namespaces stay."""

from __future__ import annotations

from dataclasses import dataclass

from kubeglass.components.api import errors, kinds
from kubeglass.components.api.errors import Cause
from kubeglass.components.apiserver.admission.chain import Attributes, Plugin
from kubeglass.components.apiserver.admission.reader import Reader
from kubeglass.components.apiserver.admission.refusal import forbidden

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


@dataclass(frozen=True, slots=True)
class _Lifecycle:
    reader: Reader

    async def admit(self, attributes: Attributes) -> None:
        if attributes.operation == "DELETE":
            if attributes.kind == kinds.NAMESPACE and attributes.name in IMMORTAL:
                raise forbidden(attributes, "this namespace may not be deleted")
            return
        if not attributes.namespace or attributes.kind == kinds.NAMESPACE or attributes.subresource:
            return
        namespace = await self.reader.get(kinds.NAMESPACE, "", attributes.namespace)
        if namespace is None:
            raise errors.not_found("namespaces", "", attributes.namespace)
        if (namespace.get("status") or {}).get("phase") == "Terminating":
            name = attributes.namespace
            cause = Cause("NamespaceTerminating", f"namespace {name} is being terminated", "metadata.namespace")
            text = f"unable to create new content in namespace {name} because it is being terminated"
            raise forbidden(attributes, text, cause)


def plugin(reader: Reader) -> Plugin:
    return Plugin("NamespaceLifecycle", frozenset({"CREATE", "DELETE"}), admit=_Lifecycle(reader).admit)
