"""`kubeglass apf explain`: which schema a request falls into, which were tried and why not, and what it would get.

Nothing is sent on behalf of the user: the server classifies the attributes given here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from kubeglass.components.cli.apf_server import FlowControlServer, add_server_flags
from kubeglass.components.cli.lookup import CommandError
from kubeglass.logging.goduration import duration_text


def add_parser(own: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb."""
    parser = own.add_parser("explain", help="which flow schema and level a request gets, and why", description=__doc__)
    add_server_flags(parser)
    parser.add_argument("--as", dest="user", required=True, metavar="USER", help="who asks")
    parser.add_argument(
        "--as-group", action="append", default=[], metavar="GROUP", help="a group of the user; repeatable"
    )
    parser.add_argument("--verb", default="get", help="get, list, watch, create, … (%(default)s)")
    parser.add_argument(
        "--resource", default="", metavar="RESOURCE[.GROUP][/SUBRESOURCE]", help="e.g. deployments.apps"
    )
    parser.add_argument("-n", "--namespace", default="", help="none: cluster-scoped or all namespaces")
    parser.add_argument("--name", default="", help="the object's name")
    parser.add_argument("--path", default="", help="a non-resource request, e.g. /healthz")
    parser.add_argument("--limit", default="", help="page size of a list")
    parser.add_argument("--resource-version", default="", help="resourceVersion of a list or watch")
    parser.add_argument("--selector", default="", help="label selector of a list or watch")
    parser.add_argument("--field-selector", default="", help="field selector of a list or watch")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="(%(default)s)")
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Ask and print."""
    if bool(flags.resource) == bool(flags.path):
        raise CommandError("say either --resource (what is asked of which objects) or --path (a non-resource request)")
    found = FlowControlServer.of(flags).json("explain", **question(flags))
    if flags.output == "json":
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    else:
        print("\n".join(text(found)))
    return 0


def question(flags: argparse.Namespace) -> dict[str, str]:
    """The query of the explain page."""
    resource, _, subresource = flags.resource.partition("/")
    plural, _, group = resource.partition(".")
    return {
        "user": flags.user,
        "groups": ",".join(flags.as_group or standard_groups(flags.user)),
        "verb": flags.verb,
        "resource": plural,
        "group": group,
        "subresource": subresource,
        "namespace": flags.namespace,
        "name": flags.name,
        "path": flags.path,
        "limit": flags.limit,
        "resourceVersion": flags.resource_version,
        "labelSelector": flags.selector,
        "fieldSelector": flags.field_selector,
    }


def standard_groups(user: str) -> Sequence[str]:
    """The groups a user of this name has without being told: what authentication would add."""
    if user == "system:anonymous":
        return ("system:unauthenticated",)
    parts = user.split(":")
    if len(parts) == 4 and parts[:2] == ["system", "serviceaccount"]:
        return ("system:serviceaccounts", f"system:serviceaccounts:{parts[2]}", "system:authenticated")
    return ("system:nodes", "system:authenticated") if user.startswith("system:node:") else ("system:authenticated",)


def text(found: Mapping[str, Any]) -> Iterator[str]:
    """The explanation for people."""
    for schema in found["tried"]:
        mark = "✓" if schema["matches"] else "✗"
        yield f"{mark} {schema['matchingPrecedence']:>5}  {schema['name']} → {schema['priorityLevel']}"
        for rule in schema["rules"]:
            yield f"          rule {rule['index']}: {rule['why'] or 'matches'}"
    yield ""
    yield f"Flow schema:     {found['flowSchema']}"
    yield f"Priority level:  {found['priorityLevel']} ({found['levelType']})"
    if found["distinguisherMethod"]:
        yield f"Flow:            {found['distinguisherMethod']} {found['distinguisher']!r}, hash {found['flowHash']}"
    if found["hand"]:
        waiting = zip(found["hand"], found["queueLengths"], strict=True)
        yield "Queues:          " + ", ".join(f"{queue} ({length} waiting)" for queue, length in waiting)
    yield f"Seats:           {_seats(found)}"
    yield f"Level's seats:   {_level_seats(found)}"
    for warning in found["warnings"]:
        yield f"Warning:         {warning}"


def _level_seats(found: Mapping[str, Any]) -> str:
    if found["levelType"] == "Exempt":
        return f"{found['seatsInUse']} in use, no limit"
    bounds = f"nominal {found['nominal']}, may shrink to {found['minimum']} and grow to {found['maximum']}"
    return f"{found['seatsInUse']} of {found['limit']} in use ({bounds})"


def _seats(found: Mapping[str, Any]) -> str:
    parts = [str(found["initialSeats"])]
    if found["finalSeats"]:
        latency = duration_text(found["additionalLatencyNs"])
        parts.append(f"then {found['finalSeats']} for {latency} after the response")
    if found["inputs"]:
        parts.append("from " + ", ".join(f"{name} {value}" for name, value in found["inputs"].items()))
    if found["seatCap"]:
        parts.append(f"at most {found['seatCap']} in this level")
    return ", ".join(parts)
