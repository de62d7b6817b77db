"""Small plugins about Pods and Nodes: default tolerations, priorities, taints of new nodes, default storage class.

Upstream: DefaultTolerationSeconds, Priority, TaintNodesByCondition, DefaultStorageClass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kubeglass.components.api import kinds
from kubeglass.components.apiserver.admission.chain import CREATES, WRITES, Attributes, Plugin
from kubeglass.components.apiserver.admission.reader import Reader
from kubeglass.components.apiserver.admission.refusal import forbidden

Object = dict[str, Any]

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


@dataclass(frozen=True, slots=True)
class TolerationSeconds:
    """How long a Pod stays on a node that is not ready, or unreachable, when it does not say itself."""

    not_ready: int = 300
    unreachable: int = 300

    async def admit(self, attributes: Attributes) -> None:
        """Add the tolerations that the Pod does not cover itself."""
        if attributes.kind != kinds.POD or attributes.subresource or attributes.obj is None:
            return
        spec = attributes.obj["spec"]
        for key, seconds in ((NOT_READY, self.not_ready), (UNREACHABLE, self.unreachable)):
            if not any(_covers(toleration, key) for toleration in spec.get("tolerations") or ()):
                toleration = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
                spec.setdefault("tolerations", []).append(toleration)


def _covers(toleration: Object, key: str) -> bool:
    return (toleration.get("key") in (key, None, "")) and toleration.get("effect") in ("NoExecute", None, "")


async def _taint_new_node(attributes: Attributes) -> None:
    """A new node takes no Pods until it is found ready."""
    if attributes.kind != kinds.NODE or attributes.subresource or attributes.obj is None:
        return
    taints = attributes.obj.setdefault("spec", {}).setdefault("taints", [])
    if not any(taint.get("key") == NOT_READY and taint.get("effect") == "NoSchedule" for taint in taints):
        taints.append({"key": NOT_READY, "effect": "NoSchedule"})


@dataclass(frozen=True, slots=True)
class _Priorities:
    reader: Reader

    async def admit(self, attributes: Attributes) -> None:
        """Turn priorityClassName into the number and policy that the scheduler reads."""
        pod = attributes.obj
        if attributes.kind != kinds.POD or attributes.subresource or pod is None:
            return
        spec = pod["spec"]
        if attributes.operation == "UPDATE":
            old = (attributes.old or {}).get("spec") or {}
            if spec.get("priority") is None and old.get("priority") is not None:
                spec["priority"] = old["priority"]
            return
        priority, policy = 0, "PreemptLowerPriority"
        found = await self._class(attributes, spec.get("priorityClassName") or "")
        if found is not None:
            spec["priorityClassName"] = found["metadata"]["name"]
            priority, policy = found.get("value", 0), found.get("preemptionPolicy", policy)
        given = spec.get("priority")
        if given is not None and given != priority:
            raise forbidden(
                attributes,
                f"the integer value of priority ({given}) must not be provided in pod spec; priority admission "
                f"controller computed {priority} from the given PriorityClass name",
            )
        spec["priority"] = priority
        spec.setdefault("preemptionPolicy", policy)

    async def _class(self, attributes: Attributes, name: str) -> Object | None:
        if name:
            found = await self.reader.get(kinds.PRIORITY_CLASS, "", name)
            if found is None:
                raise forbidden(attributes, f"no PriorityClass with name {name} was found")
            return found
        defaults = [item for item in await self.reader.list(kinds.PRIORITY_CLASS) if item.get("globalDefault")]
        return min(defaults, key=lambda item: item.get("value", 0), default=None)


@dataclass(frozen=True, slots=True)
class _StorageClasses:
    reader: Reader

    async def admit(self, attributes: Attributes) -> None:
        """A claim that names no class gets the default one, the newest if there are several."""
        claim = attributes.obj
        if attributes.kind != kinds.PERSISTENT_VOLUME_CLAIM or claim is None or "storageClassName" in claim["spec"]:
            return
        found = [
            item
            for item in await self.reader.list(kinds.STORAGE_CLASS)
            if (item["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
        ]
        newest = max(found, key=lambda item: item["metadata"].get("creationTimestamp", ""), default=None)
        if newest is not None:
            claim["spec"]["storageClassName"] = newest["metadata"]["name"]


def default_tolerations(seconds: TolerationSeconds) -> Plugin:
    return Plugin("DefaultTolerationSeconds", WRITES, admit=seconds.admit)


def taint_nodes() -> Plugin:
    return Plugin("TaintNodesByCondition", CREATES, admit=_taint_new_node)


def priority(reader: Reader) -> Plugin:
    return Plugin("Priority", WRITES, admit=_Priorities(reader).admit)


def default_storage_class(reader: Reader) -> Plugin:
    return Plugin("DefaultStorageClass", CREATES, admit=_StorageClasses(reader).admit)
