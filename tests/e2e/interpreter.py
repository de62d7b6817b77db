"""A Python with kubeglass in it that another user may run.

Tests run as root in CI and act as an unprivileged user, but the interpreter often lies where only its owner can look
(/root/.pyenv, a checkout below a private home). Then everything needed is linked into a folder that all can read:
hard links, which take a second and no disk space; copies where the folder is on another file system.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import kubeglass

_LEFT_OUT = shutil.ignore_patterns("test", "idlelib", "config-*", "site-packages")


class Interpreter(NamedTuple):
    """Where Python is (kubectl lies beside it), and what must be in the environment of those who start it."""

    python: Path
    environment: Mapping[str, str]


def interpreter_for(uid: int | None) -> Interpreter:
    """An interpreter that the user (None: ourselves) can run."""
    own = Interpreter(Path(sys.executable), {})
    return own if uid is None or _can_run(own, uid) else _relocated(uid)


def _can_run(interpreter: Interpreter, uid: int) -> bool:
    command = [interpreter.python, "-c", "import kubeglass.components.cli.main, aiohttp"]
    try:
        result = subprocess.run(
            command,
            user=uid,
            group=uid,
            extra_groups=[],
            cwd="/",
            env={**os.environ, **interpreter.environment},
            capture_output=True,
            check=False,
        )
    except OSError:
        return False
    return result.returncode == 0


@cache
def _relocated(uid: int) -> Interpreter:
    """The base installation and the virtual environment's packages as one installation elsewhere."""
    folder = _lasting_folder()
    base, version = Path(sys.base_prefix), f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = folder / "lib" / version
    for name in ("bin", "lib"):
        (folder / name).mkdir()
    for shared in base.glob("lib/libpython*"):
        _link(shared, folder / "lib" / shared.name)
    python = folder / "bin" / version
    _link(Path(sys.executable).resolve(), python)
    _link_tree(Path(sysconfig.get_path("stdlib")), library)
    _link_tree(Path(sysconfig.get_path("purelib")), library / "site-packages")
    _link_tree(Path(kubeglass.__file__).parent, library / "site-packages" / "kubeglass")
    _link(Path(sys.executable).with_name("kubectl"), folder / "bin" / "kubectl")
    relocated = Interpreter(python, {"LD_LIBRARY_PATH": str(folder / "lib")})
    assert _can_run(relocated, uid), f"{python} does not run as user {uid}"
    return relocated


def _lasting_folder() -> Path:
    """A folder that all can read, there until the tests end."""
    folder = Path(tempfile.mkdtemp(prefix="kubeglass-python-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    return folder


def _link_tree(source: Path, target: Path) -> None:
    ignore = None if source.name == "site-packages" else _LEFT_OUT
    shutil.copytree(source, target, copy_function=_link, ignore=ignore, dirs_exist_ok=True)


def _link(source: str | Path, target: str | Path) -> None:
    if not os.path.exists(source):
        return
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copy2(source, target)
