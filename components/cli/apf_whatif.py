"""`kubeglass apf what-if`: recorded traffic against changed FlowSchemas and levels, before and after.

Record with `kubeglass apf record`. Manifests lie over the recorded objects by name; one without spec removes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kubeglass.components.api.objects.flowcontrol import FlowSchema, PriorityLevel
from kubeglass.components.apiserver.flowcontrol.simulator import ScenarioError, objects_of
from kubeglass.components.apiserver.flowcontrol.whatif import (
    Comparison,
    Recording,
    RecordingError,
    Summary,
    read_recording,
    what_if,
)
from kubeglass.components.cli.apf_simulate import aligned, read_yaml
from kubeglass.components.cli.lookup import CommandError


def add_parser(own: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb."""
    parser = own.add_parser("what-if", help="replay recorded traffic against changed objects", description=__doc__)
    parser.add_argument("-f", "--filename", type=Path, action="append", required=True, metavar="FILE", help="manifests")
    parser.add_argument("--recording", type=Path, required=True, metavar="FILE", help="what `apf record` wrote")
    parser.add_argument("--server-limit", type=int, metavar="SEATS", help="another total than the recorded one")
    parser.add_argument("--users", type=int, default=20, metavar="N", help="how many users to list (%(default)s)")
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Replay and print."""
    if flags.server_limit is not None and flags.server_limit <= 0:
        raise CommandError("--server-limit must be positive")
    recording = _recording(flags.recording)
    schemas, levels = _changed(recording, flags.filename)
    comparison = what_if(recording, schemas, levels, flags.server_limit)
    print("\n".join(text(comparison, flags.users)))
    return 0


def _recording(file: Path) -> Recording:
    try:
        return read_recording(file.read_bytes())
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror}") from error
    except RecordingError as error:
        raise CommandError(f"{file}: {error}") from error


def _changed(recording: Recording, files: Sequence[Path]) -> tuple[list[FlowSchema], list[PriorityLevel]]:
    header = recording.header
    manifests = [manifest for file in files for document in read_yaml(file) for manifest in _items(document)]
    try:
        return objects_of(manifests, header.flow_schemas, header.priority_levels)
    except ScenarioError as error:
        raise CommandError(str(error)) from error


def _items(document: Any) -> Iterable[dict[str, Any]]:
    """The objects of a document: itself, or the items of a List."""
    if not isinstance(document, dict):
        raise CommandError("a manifest is a mapping with kind, metadata and spec")
    return document.get("items") or () if str(document.get("kind", "")).endswith("List") else (document,)


def text(comparison: Comparison, users: int) -> Iterator[str]:
    """Totals, then the users whose fate changes most."""
    rows: list[Sequence[str]] = [("", "REQUESTS", "EXECUTED", "REJECTED", "MEAN WAIT", "LONGEST WAIT")]
    for name, summaries in (
        ("recorded", comparison.recorded),
        ("replayed, as it was", comparison.before),
        ("replayed, changed", comparison.after),
    ):
        rows.append((name, *_cells(_total(summaries.values()))))
    yield from aligned(rows)
    yield ""
    changes = [("USER", "LEVEL BEFORE", "LEVEL AFTER", "REJECTED", "→", "MEAN WAIT", "→")]
    for user in sorted(comparison.before | comparison.after, key=lambda user: _change(comparison, user))[:users]:
        before, after = comparison.before.get(user, Summary()), comparison.after.get(user, Summary())
        changes.append(
            (
                user,
                ",".join(sorted(before.levels)),
                ",".join(sorted(after.levels)),
                str(before.rejections),
                str(after.rejections),
                f"{before.mean_wait_seconds:.3f}s",
                f"{after.mean_wait_seconds:.3f}s",
            )
        )
    yield from aligned(changes)


def _change(comparison: Comparison, user: str) -> tuple[float, str]:
    """Sorts the most changed first: rejections and waits, in seconds that a client loses."""
    before, after = comparison.before.get(user, Summary()), comparison.after.get(user, Summary())
    moved = abs(after.rejections - before.rejections) + abs(after.wait_ns - before.wait_ns) / 1e9
    return -moved, user


def _total(summaries: Iterable[Summary]) -> Summary:
    total = Summary()
    for summary in summaries:
        total.requests += summary.requests
        total.executed += summary.executed
        total.wait_ns += summary.wait_ns
        total.longest_wait_ns = max(total.longest_wait_ns, summary.longest_wait_ns)
        for reason, count in summary.rejected.items():
            total.rejected[reason] = total.rejected.get(reason, 0) + count
    return total


def _cells(summary: Summary) -> tuple[str, ...]:
    return (
        str(summary.requests),
        str(summary.executed),
        str(summary.rejections),
        f"{summary.mean_wait_seconds:.3f}s",
        f"{summary.longest_wait_ns / 1e9:.3f}s",
    )
