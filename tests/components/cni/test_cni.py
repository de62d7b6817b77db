"""The CNI plugin by the specification: verbs, results, error codes; and addresses that survive crashes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kubeglass
from kubeglass.components.cni.cni import run
from kubeglass.components.cni.ipam import AddressStore, Exhausted


def config(folder: Path, subnet: str = "127.128.1.0/24", **more: Any) -> str:
    return json.dumps(
        {
            "cniVersion": "1.1.0",
            "name": "net",
            "type": "kubeglass-loopback",
            "ipam": {"subnet": subnet, "dataDir": str(folder)},
            **more,
        }
    )


def environment(verb: str, container: str = "c1") -> dict[str, str]:
    return {"CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_NETNS": "/proc/1/ns/net", "CNI_IFNAME": "eth0"}


def add(folder: Path, container: str = "c1") -> str:
    code, result = run(environment("ADD", container), config(folder))
    assert code == 0
    assert result is not None
    return str(result["ips"][0]["address"])


def test_add_gives_an_address_and_repeats_itself(tmp_path: Path) -> None:
    """ADD answers with an address of the subnet, the same one when asked again."""
    assert add(tmp_path) == "127.128.1.2/24"
    assert add(tmp_path) == "127.128.1.2/24"
    assert add(tmp_path, "c2") == "127.128.1.3/24"


def test_a_freed_address_is_not_given_out_at_once(tmp_path: Path) -> None:
    """DEL frees the address, and the next ADD goes on behind the last one."""
    add(tmp_path)
    assert run(environment("DEL"), config(tmp_path)) == (0, None)
    assert run(environment("DEL"), config(tmp_path)) == (0, None)
    assert add(tmp_path, "c2") == "127.128.1.3/24"


def test_check_compares_with_the_result(tmp_path: Path) -> None:
    """CHECK passes for what ADD gave, and fails with code 3 after DEL."""
    _, result = run(environment("ADD"), config(tmp_path))
    previous = config(tmp_path, prevResult=result)
    assert run(environment("CHECK"), previous) == (0, None)
    run(environment("DEL"), config(tmp_path))
    code, error = run(environment("CHECK"), previous)
    assert (code, error and error["code"]) == (1, 3)


def test_status_and_exhaustion(tmp_path: Path) -> None:
    """With no address left ADD says try again later (11) and STATUS not available (50)."""
    small = config(tmp_path, "127.128.1.0/30")
    assert run(environment("STATUS"), small) == (0, None)
    assert run(environment("ADD"), small)[0] == 0
    assert (run(environment("ADD", "c2"), small)[1] or {})["code"] == 11
    assert (run(environment("STATUS"), small)[1] or {})["code"] == 50


def test_garbage_collection_keeps_what_is_valid(tmp_path: Path) -> None:
    """GC frees every address but those of the attachments it is given."""
    add(tmp_path, "keep")
    add(tmp_path, "leak")
    valid = config(tmp_path, **{"cni.dev/valid-attachments": [{"containerID": "keep", "ifname": "eth0"}]})
    assert run(environment("GC"), valid) == (0, None)
    store = AddressStore(tmp_path / "net", "127.128.1.0/24")
    assert store.address_of("keep", "eth0") == "127.128.1.2"
    assert store.address_of("leak", "eth0") is None


def test_version(tmp_path: Path) -> None:
    """VERSION lists what is supported."""
    code, answer = run({"CNI_COMMAND": "VERSION"}, '{"cniVersion": "1.1.0"}')
    assert code == 0
    assert answer is not None
    assert "1.1.0" in answer["supportedVersions"]


@pytest.mark.parametrize(
    ("env", "stdin", "code"),
    [
        ({}, "{}", 4),
        ({"CNI_COMMAND": "FLY"}, "{}", 4),
        ({"CNI_COMMAND": "ADD"}, "{", 6),
        ({"CNI_COMMAND": "ADD"}, "[]", 6),
        ({"CNI_COMMAND": "ADD"}, '{"cniVersion": "9.9.9", "name": "n"}', 1),
        ({"CNI_COMMAND": "ADD"}, '{"cniVersion": "1.0.0"}', 7),
        ({"CNI_COMMAND": "ADD"}, '{"cniVersion": "1.0.0", "name": "a b"}', 7),
        ({"CNI_COMMAND": "ADD"}, '{"cniVersion": "1.0.0", "name": "n", "type": "other"}', 7),
        ({"CNI_COMMAND": "ADD"}, '{"cniVersion": "1.0.0", "name": "n", "type": "kubeglass-loopback"}', 4),
    ],
)
def test_errors_have_the_codes_of_the_specification(env: dict[str, str], stdin: str, code: int) -> None:
    """Bad input gives the specification's code, and exit status 1."""
    status, error = run(env, stdin)
    assert (status, error and error["code"]) == (1, code)
    assert error
    assert error["msg"]


def test_a_subnet_outside_loopback_is_refused(tmp_path: Path) -> None:
    """Only 127.0.0.0/8 is local without set-up."""
    code, error = run(environment("ADD"), config(tmp_path, "10.0.0.0/24"))
    assert (code, error and error["code"]) == (1, 7)


def test_as_an_executable_it_needs_nothing_but_python(tmp_path: Path) -> None:
    """The plugin runs isolated, without site-packages."""
    plugin = Path(kubeglass.__file__).parent / "components/cni/main.py"
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(plugin)],
        input=config(tmp_path),
        env={**os.environ, **environment("ADD")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["ips"] == [{"address": "127.128.1.2/24", "interface": 0}]


def test_addresses_wrap_around_and_run_out(tmp_path: Path) -> None:
    """Every host address but .1 is used once before any is used again."""
    store = AddressStore(tmp_path, "127.0.0.0/29")
    given = [store.allocate(f"c{number}", "eth0") for number in range(5)]
    assert given == [f"127.0.0.{last}" for last in (2, 3, 4, 5, 6)]
    with pytest.raises(Exhausted, match=r"no IP addresses available in range set: 127\.0\.0\.0/29"):
        store.allocate("more", "eth0")
    store.release("c1", "eth0")
    assert store.allocate("more", "eth0") == "127.0.0.3"


def test_it_starts_without_slow_modules() -> None:
    """A Pod waits for it: what takes longer to load than the interpreter is not loaded."""
    plugin = Path(kubeglass.__file__).parent / "components/cni/main.py"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", str(plugin)],
        input="{}",
        env={"CNI_COMMAND": "VERSION"},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "json" in loaded
    assert not loaded & {"dataclasses", "inspect", "pathlib", "subprocess", "typing", "urllib"}
