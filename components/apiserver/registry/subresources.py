"""What subresources do beyond a restricted update: scale, binding, eviction, service account tokens.

Each method takes the decoded body and returns the decoded answer; HTTP is the handlers' business.
Upstream: registry/core/pod/storage (binding, eviction), registry/core/serviceaccount/storage (token), apps scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from kubeglass.components.api import errors, kinds, selectors
from kubeglass.components.api.errors import BadRequest, Cause, TooManyRequests
from kubeglass.components.api.fielderrors import invalid, required
from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.objects import LabelSelector, PodDisruptionBudget, decode
from kubeglass.components.apiserver.admission.reader import Reader
from kubeglass.components.apiserver.registry import receiving
from kubeglass.components.apiserver.registry.context import DeleteOptions, WriteContext
from kubeglass.components.apiserver.registry.rules import TRUSTED
from kubeglass.components.apiserver.registry.served import ServedKinds
from kubeglass.components.apiserver.registry.store import Store
from kubeglass.components.machinery import clock

Object = dict[str, Any]

SUCCESS: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
SCALE_VERSION = "autoscaling/v1"
_MIN_TOKEN_SECONDS = 600
_DEFAULT_TOKEN_SECONDS = 3600
_MAX_TOKEN_SECONDS = 2**32


class Signer(Protocol):
    """Issues a token for a service account; the apiserver hands one in."""

    def __call__(
        self, account: Object, *, audiences: Sequence[str], expiration_seconds: int, bound: Mapping[str, Object]
    ) -> tuple[str, tuple[str, ...]]:
        """(token, its audiences). `bound` maps pod, node or secret to the object the token lives with."""


@dataclass(frozen=True, slots=True)
class Subresources:
    """The actions behind subresources."""

    store: Store
    reader: Reader
    served: ServedKinds
    sign: Signer
    now: Callable[[], float] = clock.now

    # -- scale ------------------------------------------------------------------------------------------------------

    async def get_scale(self, kind: Kind, namespace: str, name: str) -> Object:
        """autoscaling/v1 Scale of a workload. Raises NotFound."""
        obj = await self.reader.get(kind, namespace, name)
        if obj is None:
            raise errors.not_found(kind.plural, kind.group, name)
        return scale_of(kind, obj, self._paths(kind))

    async def update_scale(
        self, context: WriteContext, kind: Kind, namespace: str, name: str, change: Callable[[Object], Object]
    ) -> Object:
        """Change a Scale; `change` maps the current Scale to the wanted one. Raises Conflict, Invalid."""
        paths = self._paths(kind)

        def changed(current: Object | None) -> Object:
            assert current is not None
            scale = change(scale_of(kind, current, paths))
            receiving.check_kind(scale, SCALE_VERSION, "Scale")
            replicas = (scale.get("spec") or {}).get("replicas", 0)
            if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
                cause = invalid("spec.replicas", replicas, "must be greater than or equal to 0")
                raise errors.invalid("Scale", "autoscaling", name, [cause])
            version = (scale.get("metadata") or {}).get("resourceVersion")
            if version and version != current["metadata"]["resourceVersion"]:
                raise errors.conflict(kind.plural, kind.group, name, _modified())
            _put(current, paths.replicas, replicas)
            return current

        body, _ = await self.store.update(context, kind, namespace, name, changed)
        return scale_of(kind, msgspec.json.decode(body), paths)

    def _paths(self, kind: Kind) -> ScalePaths:
        custom = self.served.custom(kind)
        if custom is None:
            return ScalePaths()
        return ScalePaths(
            custom.scale["specReplicasPath"],
            custom.scale["statusReplicasPath"],
            custom.scale.get("labelSelectorPath", ""),
        )

    # -- pods -------------------------------------------------------------------------------------------------------

    async def bind(self, context: WriteContext, namespace: str, name: str, binding: Object) -> Object:
        """Assign a Pod to a node. Raises Conflict when it is bound, gated or going away."""
        target = binding.get("target") or {}
        if target.get("kind") not in (None, "", "Node"):
            supported = 'supported values: "Node"'
            cause = Cause(
                "FieldValueNotSupported", f'Unsupported value: "{target["kind"]}": {supported}', "target.kind"
            )
            raise errors.invalid("Binding", "", name, [cause])
        if not target.get("name"):
            raise errors.invalid("Binding", "", name, [required("target.name")])
        metadata = binding.get("metadata") or {}

        def bound(current: Object | None) -> Object:
            assert current is not None
            _check_bindable(current, name, metadata.get("uid", ""), target["name"])
            current["spec"]["nodeName"] = target["name"]
            if metadata.get("annotations"):
                current["metadata"].setdefault("annotations", {}).update(metadata["annotations"])
            _set_condition(current, "PodScheduled", "True", clock.rfc3339(self.now()))
            return current

        await self.store.update(context, kinds.POD, namespace, name, bound, TRUSTED)
        return SUCCESS | {"code": 201}

    async def evict(
        self, context: WriteContext, namespace: str, name: str, options: DeleteOptions, dry_run: bool = False
    ) -> Object:
        """Delete a Pod if its disruption budget allows. Raises TooManyRequests when it does not."""
        pod = await self.reader.get(kinds.POD, namespace, name)
        if pod is None:
            raise errors.not_found("pods", "", name)
        if not _may_go_at_once(pod):
            await self._spend_budget(context, namespace, pod)
        await self.store.delete(context, kinds.POD, namespace, name, options)
        return SUCCESS | {"code": 201}

    async def _spend_budget(self, context: WriteContext, namespace: str, pod: Object) -> None:
        budgets = [
            budget
            for budget in await self.reader.list(kinds.POD_DISRUPTION_BUDGET, namespace)
            if _selects(budget, pod["metadata"].get("labels") or {})
        ]
        if not budgets:
            return
        name = pod["metadata"]["name"]
        if len(budgets) > 1:
            text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            raise errors.InternalError(text)
        budget_name = budgets[0]["metadata"]["name"]

        def spent(current: Object | None) -> Object:
            assert current is not None
            _check_budget(current)
            status = current["status"]
            status["disruptionsAllowed"] -= 1
            status.setdefault("disruptedPods", {})[name] = clock.rfc3339(self.now())
            return current

        await self.store.update(context, kinds.POD_DISRUPTION_BUDGET, namespace, budget_name, spent, "status")

    # -- tokens -----------------------------------------------------------------------------------------------------

    async def token(self, context: WriteContext, namespace: str, name: str, request: Object) -> Object:
        """Answer a TokenRequest with a signed token. Raises NotFound, Invalid, Conflict."""
        account = await self.reader.get(kinds.SERVICE_ACCOUNT, namespace, name)
        if account is None:
            raise errors.not_found("serviceaccounts", "", name)
        spec = dict(request.get("spec") or {})
        seconds = spec.get("expirationSeconds", _DEFAULT_TOKEN_SECONDS)
        causes = []
        if seconds < _MIN_TOKEN_SECONDS:
            causes.append(invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"))
        elif seconds > _MAX_TOKEN_SECONDS:
            text = "may not specify a duration larger than 2^32 seconds"
            causes.append(invalid("spec.expirationSeconds", seconds, text))
        if causes:
            raise errors.invalid("TokenRequest", "authentication.k8s.io", name, causes)
        bound = await self._bound_objects(namespace, name, spec.get("boundObjectRef"))
        issued, audiences = self.sign(
            account, audiences=spec.get("audiences") or (), expiration_seconds=seconds, bound=bound
        )
        expires = clock.rfc3339(self.now() + seconds)
        stamp = clock.rfc3339(self.now())
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": stamp},
            "spec": spec | {"expirationSeconds": seconds, "audiences": list(audiences)},
            "status": {"token": issued, "expirationTimestamp": expires},
        }

    async def _bound_objects(self, namespace: str, account: str, reference: Object | None) -> dict[str, Object]:
        if reference is None:
            return {}
        kind = {"Pod": kinds.POD, "Node": kinds.NODE, "Secret": kinds.SECRET}.get(reference.get("kind", ""))
        if kind is None:
            raise BadRequest(f"cannot bind token for serviceaccount to object of type {reference.get('kind')}")
        obj = await self.reader.get(kind, namespace if kind.namespaced else "", reference.get("name", ""))
        if obj is None:
            raise errors.not_found(kind.plural, kind.group, reference.get("name", ""))
        wanted, have = reference.get("uid", ""), obj["metadata"]["uid"]
        if wanted and wanted != have:
            text = f"the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"  # noqa: E501
            raise errors.conflict(kind.plural, kind.group, obj["metadata"]["name"], text)
        found = {kind.singular: obj}
        if kind == kinds.POD:
            if obj["spec"].get("serviceAccountName") != account:
                text = "cannot bind token for serviceaccount to pod running with different serviceaccount name."
                raise BadRequest(text)
            node = await self.reader.get(kinds.NODE, "", obj["spec"].get("nodeName") or "-")
            if node is not None:
                found["node"] = node
        return found


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where a kind keeps what a Scale shows; custom resources say so themselves."""

    replicas: str = ".spec.replicas"
    current: str = ".status.replicas"
    selector: str = ""


def scale_of(kind: Kind, obj: Object, paths: ScalePaths) -> Object:
    """The Scale that stands for a workload."""
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: Object = {"replicas": _reach(obj, paths.current) or 0}
    selector = _selector_text(kind, obj, paths)
    if selector:
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": SCALE_VERSION,
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {"replicas": _reach(obj, paths.replicas) or 0},
        "status": status,
    }


def _selector_text(kind: Kind, obj: Object, paths: ScalePaths) -> str:
    if kind.custom:
        found = _reach(obj, paths.selector) if paths.selector else ""
        return found if isinstance(found, str) else ""
    selector = _reach(obj, ".spec.selector") or {}
    if kind == kinds.REPLICATION_CONTROLLER:
        return str(selectors.from_map(selector))
    return str(selectors.from_label_selector(decode(LabelSelector, selector)))


def _reach(obj: Any, path: str) -> Any:
    for name in path.lstrip(".").split("."):
        obj = obj.get(name) if isinstance(obj, Mapping) else None
    return obj


def _put(obj: Object, path: str, value: Any) -> None:
    *parents, last = path.lstrip(".").split(".")
    for name in parents:
        obj = obj.setdefault(name, {})
    obj[last] = value


def _modified() -> str:
    return "the object has been modified; please apply your changes to the latest version and try again"


def _check_bindable(pod: Object, name: str, uid: str, node: str) -> None:
    metadata, spec = pod["metadata"], pod["spec"]
    why = ""
    if uid and uid != metadata["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}"
        raise errors.conflict("pods", "", name, why)
    if metadata.get("deletionTimestamp"):
        why = f"pod {name} is being deleted, cannot be assigned to a host"
    elif spec.get("nodeName"):
        why = f'pod {name} is already assigned to node "{spec["nodeName"]}"'
    elif spec.get("schedulingGates"):
        why = f"pod {name} has non-empty .spec.schedulingGates"
    if why:
        raise errors.conflict("pods/binding", "", name, why)


def _set_condition(pod: Object, kind: str, status: str, stamp: str) -> None:
    conditions = pod.setdefault("status", {}).setdefault("conditions", [])
    found = next((item for item in conditions if item["type"] == kind), None)
    if found is None:
        conditions.append({"type": kind, "status": status, "lastTransitionTime": stamp})
        return
    if found.get("status") != status:
        found["lastTransitionTime"] = stamp
    found["status"] = status
    found.pop("reason", None)
    found.pop("message", None)


def _may_go_at_once(pod: Object) -> bool:
    """Pods that are done, not begun, or already going are no disruption."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or bool(pod["metadata"].get("deletionTimestamp"))


def _selects(budget: Object, labels: Mapping[str, str]) -> bool:
    selector = decode(PodDisruptionBudget, budget).spec.selector
    return selectors.from_label_selector(selector).matches(labels)


def _check_budget(budget: Object) -> None:
    name = budget["metadata"]["name"]
    status = budget.setdefault("status", {})
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        cause = Cause("DisruptionBudget", f"The disruption budget {name} is still being processed by the server.")
        text = "Cannot evict pod as it would violate the pod's disruption budget."
        raise TooManyRequests(text, causes=[cause], retry_after_seconds=10)
    if status.get("disruptionsAllowed", 0) <= 0:
        needed, healthy = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
        text = f"The disruption budget {name} needs {needed} healthy pods and has {healthy} currently"
        message = "Cannot evict pod as it would violate the pod's disruption budget."
        raise TooManyRequests(message, causes=[Cause("DisruptionBudget", text)])
