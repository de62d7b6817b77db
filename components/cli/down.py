"""`kubeglass down`: end every process of a cluster, Pods included, and leave only its data dir."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from kubeglass.components.cli import processes
from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.lookup import add_data_dir_flag, data_dir_of
from kubeglass.components.kubelet.runtime.shims import stop_all

_GRACE_SECONDS = 10.0
STOP_ORDER = (
    ("prometheus", "alertmanager"),
    ("scheduler", "controller-manager", "kubelet"),
    ("state-metrics", "dns", "proxy"),
    ("apiserver",),
    ("collector",),
)
"""Who watches goes first, and who writes before who serves: nothing fails on the way out, and the last spans arrive."""


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb."""
    parser = verbs.add_parser("down", help="stop a cluster", description=__doc__)
    add_data_dir_flag(parser)
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Stop whatever runs; doing so twice is fine."""
    data = data_dir_of(flags)
    stopped = stop_cluster(data, print)
    print(f"stopped {stopped} processes; the data stays in {data.root}" if stopped else f"nothing runs in {data.root}")
    return 0


def stop_cluster(data: DataDir, say: Callable[[str], None]) -> int:
    """End every process the data dir knows of; the answer is how many there were."""
    records = data.pids()
    count = 0
    for prefixes in STOP_ORDER:
        chosen = [record for record in records if record.stem.startswith(prefixes)]
        pids = [pid for record in chosen if (pid := processes.running(record))]
        count += len(pids)
        for pid in processes.stop(pids, _GRACE_SECONDS):
            say(f"pid {pid} did not end within {_GRACE_SECONDS:.0f} s and was killed")
        if "kubelet" in prefixes:
            count += stop_all(data.root)
        for record in chosen:
            record.unlink(missing_ok=True)
    return count
