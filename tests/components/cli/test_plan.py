"""A cluster's plan: what runs where."""

import argparse
import socket

import pytest

from kubeglass.components.cli import plan as plans
from kubeglass.components.cli import processes
from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.decide import decide, refuse_taken_ports, with_free_ports
from kubeglass.components.cli.lookup import CommandError
from kubeglass.components.cli.main import COMPONENTS
from kubeglass.components.cli.plan import Plan, Process
from kubeglass.components.cli.up import add_parser
from kubeglass.components.machinery.loopback import host_port


def flags(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return parser.parse_args(["up", *argv])


def test_the_default_plan_uses_upstream_ports(tmp_path):
    """Without flags every component listens where upstream's does."""
    listens = {p.name: [port for _, port in p.listens] for p in plans.processes(Plan(), DataDir(tmp_path))}
    assert listens == {
        "collector": [4317, 4318, 16686, 8888],
        "apiserver": [6443],
        "controller-manager": [10257],
        "scheduler": [10259],
        "dns": [9153, host_port(53)],
        "kubelet/node-1": [10250],
        "proxy/node-1": [10249, 10256],
        "state-metrics": [8080, 8081],
    }


def test_every_process_is_a_known_component(tmp_path):
    """The launcher finds a row for each process."""
    assert {p.component for p in plans.processes(Plan(simulated_nodes=1), DataDir(tmp_path))} == set(COMPONENTS)


def test_flags_change_only_what_they_name():
    """A second `up` keeps what it is not told to change."""
    first = decide(flags("--nodes", "2", "-v", "4"), None)
    second = decide(flags("--nodes", "3"), first)
    assert second.nodes == ("node-1", "node-2", "node-3")
    assert second.verbosity == 4
    assert second.ports == first.ports


def test_auto_ports_are_all_different():
    """--ports auto gives every listener a port of its own and the cluster a loopback slot of its own."""
    plan = decide(flags("--ports", "auto"), None)
    ports = [getattr(plan.ports, name) for name in plan.ports.__struct_fields__]
    assert len(set(ports)) == len(ports)
    assert plan.slot > 0


def test_a_plan_survives_its_file(tmp_path):
    """What is written reads back equal; no file is no plan."""
    file = tmp_path / "cluster.json"
    assert plans.read(file) is None
    plan = decide(flags("--nodes", "2"), None)
    file.write_bytes(plans.encode(plan))
    assert plans.read(file) == plan


def test_a_taken_port_is_named_with_its_holder():
    """The refusal names component, address, port and the process that listens there."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        wanted = Process("scheduler", "scheduler", (), (("127.0.0.1", port),), "", "", ())
        with pytest.raises(CommandError, match=rf"scheduler cannot listen on 127.0.0.1:{port}.*in use by pid \d+"):
            refuse_taken_ports([wanted])


def test_a_reused_pid_is_not_the_component(tmp_path):
    """A record whose start time differs from the process of that pid counts as stopped."""
    import os

    file = tmp_path / "x.pid"
    processes.write_record(file, os.getpid())
    assert processes.running(file) == os.getpid()
    file.write_bytes(b'{"pid": %d, "started": 1}' % os.getpid())
    assert processes.running(file) is None


def test_a_stopped_cluster_leaves_ports_that_were_taken(tmp_path):
    """One taken port moves the whole cluster to free ones; its addresses, which its objects have, stay."""
    plan = decide(flags("--ports", "auto"), None)
    wanted = plans.processes(plan, DataDir(tmp_path))
    assert with_free_ports(plan, wanted) == plan
    with socket.socket() as other:
        other.bind((plan.node_ip("node-1"), plan.ports.kubelet))
        other.listen()
        moved = with_free_ports(plan, wanted)
    assert moved.slot == plan.slot
    assert moved.ports != plan.ports
    refuse_taken_ports(plans.processes(moved, DataDir(tmp_path)))
