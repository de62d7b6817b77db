"""The loopback address plan."""

import ipaddress

import pytest

from kubeglass.components.machinery.loopback import SLOTS, AddressPlan, host_port


def test_slots_never_overlap():
    """No address of one cluster belongs to another, and all are loopback."""
    networks = []
    for slot in range(SLOTS):
        plan = AddressPlan(slot)
        networks += [ipaddress.ip_network(plan.cluster_cidr), ipaddress.ip_network(plan.service_cidr)]
        networks.append(ipaddress.ip_network(plan.node_ip(1).rsplit(".", 2)[0] + ".0.0/16"))
    assert all(network.is_loopback for network in networks)
    assert len({network.network_address for network in networks}) == 3 * SLOTS


def test_pods_of_a_node_come_from_the_cluster_range():
    """A node's Pod range lies inside the cluster's."""
    plan = AddressPlan(2)
    assert ipaddress.ip_network(plan.pod_cidr(7)).subnet_of(ipaddress.ip_network(plan.cluster_cidr))


def test_a_slot_out_of_range_is_refused():
    """There are 16 slots."""
    with pytest.raises(ValueError, match="slot must be"):
        AddressPlan(SLOTS)


def test_privileged_ports_move_without_privilege(monkeypatch):
    """A port the kernel keeps for root is found 10000 higher; others stay."""
    monkeypatch.setattr("kubeglass.components.machinery.loopback.first_unprivileged_port", lambda: 1024)
    assert host_port(80) == 10080
    assert host_port(8080) == 8080
    assert host_port(0) == 0
