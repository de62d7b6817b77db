"""Pod ranges: every node gets its own subnet of --cluster-cidr. Upstream: node-ipam-controller, RangeAllocator.

A node whose address ends in .N gets subnet N when it is free, so that addresses tell where a Pod runs; else the lowest
free one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, ip_address, ip_network

from kubeglass.components.api.kinds import NODE
from kubeglass.components.api.objects import Node
from kubeglass.components.controllers.actions import Emit, Patch
from kubeglass.components.controllers.context import ControllerContext
from kubeglass.components.controllers.metrics import NodeIpamMetrics
from kubeglass.components.machinery.informer import Change
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler


class Ranges:
    """The subnets of a cluster range, and which are taken."""

    def __init__(self, cluster: IPv4Network, mask_size: int) -> None:
        if mask_size < cluster.prefixlen or mask_size - cluster.prefixlen > 16:
            raise ValueError(
                f"New CIDR set failed; the node CIDR size is too big or too small: {cluster} with /{mask_size}"
            )
        self.cluster = cluster
        self._mask_size = mask_size
        self.count = 1 << (mask_size - cluster.prefixlen)
        self._taken: dict[int, str] = {}

    def subnet(self, index: int) -> str:
        step = 1 << (32 - self._mask_size)
        return f"{ip_address(int(self.cluster.network_address) + index * step)}/{self._mask_size}"

    def occupy(self, subnet: str, node: str) -> None:
        """The node has that subnet already. A subnet from elsewhere is none of ours."""
        network = ip_network(subnet)
        if isinstance(network, IPv4Network) and network.subnet_of(self.cluster):
            offset = int(network.network_address) - int(self.cluster.network_address)
            self._taken[offset >> (32 - self._mask_size)] = node

    def take(self, node: str, preferred: int) -> tuple[str, int] | None:
        """(a free subnet, how many were tried), or None when all are taken."""
        # Subnet 0 is the last choice: its first addresses are also those of the whole range.
        for tries, index in enumerate((preferred, *range(1, self.count), 0), 1):
            if 0 <= index < self.count and index not in self._taken:
                self._taken[index] = node
                return self.subnet(index), tries
        return None

    def release(self, node: str) -> int:
        """Free what a node had; the answer is how many subnets that were."""
        freed = [index for index, owner in self._taken.items() if owner == node]
        for index in freed:
            del self._taken[index]
        return len(freed)

    @property
    def usage(self) -> float:
        """The share that is taken."""
        return len(self._taken) / self.count


def preferred_index(addresses: Iterable[str], count: int) -> int:
    """The number that a node's address ends with, where it is one of the subnets'; else -1."""
    for text in addresses:
        address = ip_address(text)
        index = int(address) & 0xFFFF if address.version == 4 else 0
        if 0 < index < count:
            return index
    return -1


class NodeIpamController:
    """Watches nodes. Does nothing without --cluster-cidr."""

    name = "node-ipam-controller"
    kind = NODE

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._ranges: Ranges | None = context.options["pod_ranges"]
        self._metrics = NodeIpamMetrics(context.telemetry.metrics)
        self._nodes = context.informers.of(NODE, Node)
        self.queue = context.queue("cidrallocator")
        self._nodes.subscribe(self._node_changed)

    async def run(self, started: Callable[[], None]) -> None:
        if self._ranges is not None:
            self._metrics.node_ipam_controller_cirdset_max_cidrs.labels(str(self._ranges.cluster)).set(
                self._ranges.count
            )
        await run_reconciler(self, self.queue, self._telemetry, started=started)

    async def reconcile(self, key: str) -> Result:
        node, ranges = self._nodes.get(key), self._ranges
        if node is None or ranges is None or node.spec.pod_cidr or node.metadata.deletion_timestamp:
            return DONE
        addresses = [found.address for found in node.status.addresses if found.type == "InternalIP"]
        taken = ranges.take(key, preferred_index(addresses, ranges.count))
        if taken is None:
            message = f"Node {key} status is now: CIDRNotAvailable"
            await self._writer.apply([Emit(node, "Normal", "CIDRNotAvailable", message)])
            return Result(30.0)
        subnet, tries = taken
        try:
            patch = {"spec": {"podCIDR": subnet, "podCIDRs": [subnet]}}
            await self._writer.apply([Patch(NODE, key, "", patch, patch_type="strategic")])
        except Exception:
            ranges.release(key)
            raise
        cluster = str(ranges.cluster)
        self._metrics.node_ipam_controller_cidrset_allocation_tries_per_request.labels(cluster).observe(tries)
        self._metrics.node_ipam_controller_cidrset_cidrs_allocations_total.labels(cluster).inc()
        self._metrics.node_ipam_controller_cidrset_usage_cidrs.labels(cluster).set(ranges.usage)
        return DONE

    def _node_changed(self, change: Change[Node]) -> None:
        ranges = self._ranges
        if ranges is None:
            return
        node = change.new
        if change.type == "DELETED":
            freed = ranges.release(node.metadata.name)
            cluster = str(ranges.cluster)
            self._metrics.node_ipam_controller_cidrset_cidrs_releases_total.labels(cluster).inc(freed)
            self._metrics.node_ipam_controller_cidrset_usage_cidrs.labels(cluster).set(ranges.usage)
        elif node.spec.pod_cidr:
            ranges.occupy(node.spec.pod_cidr, node.metadata.name)
        else:
            self.queue.add(change.key)
