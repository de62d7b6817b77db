"""The command line's entry: the table of verbs, and the one place where errors become words and exit statuses."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from kubeglass import GIT_VERSION, __version__
from kubeglass.components.cli.lookup import CommandError

VERBS = ("up", "down", "status", "trace", "prometheus_config", "prove", "kubectl", "apf")
"""Modules of this package, each with `add_parser`; the first words of a user's day come first."""

COMPONENTS = (
    "apiserver", "scheduler", "controller-manager", "kubelet", "simulated-kubelets", "proxy", "collector",
    "state-metrics", "dns",
)  # fmt: skip

_EPILOG = """\
components, each with upstream's flags (kubeglass NAME --help):
  {components}

start here:
  kubeglass up --detach            boot a cluster in ~/.kubeglass
  kubeglass kubectl get nodes      ask it
  kubeglass status                 see where metrics, traces and logs are
  kubeglass down                   end it
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"error: {message}\nRun '{self.prog} --help' for usage.\n")
        raise SystemExit(2)


def main(argv: Sequence[str]) -> int:
    """Run one command; the answer is the exit status."""
    if argv and argv[0] in COMPONENTS:
        return _run_component(argv[0], argv[1:])
    if argv and argv[0] == "cni":
        from kubeglass.components.cni.cni import main as cni_main

        return cni_main()
    if argv and argv[0] == "kubectl":
        from kubeglass.components.cli.kubectl import exec_kubectl

        return _worded(lambda: exec_kubectl(argv[1:]))
    flags = _parser(argv).parse_args(argv)
    return _worded(lambda: int(flags.run(flags)))


def _run_component(name: str, argv: Sequence[str]) -> int:
    from kubeglass.components.cli.components import spec_of
    from kubeglass.components.machinery.process import run_component

    return run_component(spec_of(name), argv)


def _worded(command: object) -> int:
    """Run a command; a refusal is one message, Ctrl-C is no traceback, a closed pipe is silent."""
    assert callable(command)
    try:
        return int(command())
    except CommandError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the verb that is asked for is loaded, so that every command starts quickly."""
    parser = _Parser(
        prog="kubeglass",
        description="A Kubernetes you can see through.",
        epilog=_EPILOG.format(components=", ".join((*COMPONENTS, "cni"))),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"kubeglass {__version__} (Kubernetes {GIT_VERSION})")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    asked = argv[0].replace("-", "_") if argv else ""
    for verb in (asked,) if asked in VERBS else VERBS:
        import_module(f"kubeglass.components.cli.{verb}").add_parser(verbs)
    return parser
