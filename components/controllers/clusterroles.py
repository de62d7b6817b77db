"""ClusterRoles with an aggregationRule have the rules of all roles it selects. Upstream: clusterroleaggregation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kubeglass.components.api.kinds import CLUSTER_ROLE
from kubeglass.components.api.objects import ClusterRole, PolicyRule, encode
from kubeglass.components.api.selectors import from_label_selector
from kubeglass.components.controllers.actions import Patch, Plan
from kubeglass.components.controllers.context import ControllerContext
from kubeglass.components.machinery.informer import Change
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler


def plan(role: ClusterRole, roles: Sequence[ClusterRole]) -> Plan:
    """Give the role the rules of those it selects, by name and each rule once."""
    if role.aggregation_rule is None:
        return Plan()
    rules: list[PolicyRule] = []
    for selector in map(from_label_selector, role.aggregation_rule.cluster_role_selectors):
        for found in sorted(roles, key=lambda each: each.metadata.name):
            if found.metadata.name != role.metadata.name and selector.matches(found.metadata.labels):
                rules += [rule for rule in found.rules if rule not in rules]
    if tuple(rules) == role.rules:
        return Plan()
    patch = {
        "metadata": {"resourceVersion": role.metadata.resource_version},
        "rules": [encode(rule) for rule in rules],
    }
    return Plan((Patch(CLUSTER_ROLE, role.metadata.name, "", patch, ignore_missing=True),))


class ClusterRoleAggregation:
    """Watches ClusterRoles: a change of any may concern every aggregated one."""

    name = "clusterrole-aggregation-controller"
    kind = CLUSTER_ROLE

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._roles = context.informers.of(CLUSTER_ROLE, ClusterRole)
        self.queue = context.queue("ClusterRoleAggregator")
        self._roles.subscribe(self._role_changed)

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, workers=5, started=started)

    async def reconcile(self, key: str) -> Result:
        role = self._roles.get(key)
        if role is not None:
            await self._writer.apply(plan(role, self._roles.list()).actions)
        return DONE

    def _role_changed(self, change: Change[ClusterRole]) -> None:
        for role in (change.new, *self._roles.list()):
            if role.aggregation_rule is not None:
                self.queue.add(role.metadata.name)
