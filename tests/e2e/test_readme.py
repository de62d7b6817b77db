"""The README's commands work for somebody who has nothing but a checkout: a copy of the tree, and an empty HOME."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.e2e.cluster import ROOT, leftovers

NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", ".cache", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A clean copy of the tree; its cluster is ended afterwards whatever happens."""
    tree = tmp_path_factory.mktemp("checkout") / "kubeglass"
    shutil.copytree(ROOT, tree, symlinks=True, ignore=NOT_COPIED)
    yield tree
    make(tree, "down", check=False)


def environment(tree: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "CI") if name in os.environ}
    trust = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    home = tree.parent / "home"
    home.mkdir(exist_ok=True)
    return {**trust, **kept, "HOME": str(home), "NO_APT": "1"}


def make(tree: Path, *words: str, check: bool = True) -> str:
    result = subprocess.run(
        ["make", *words], cwd=tree, env=environment(tree), capture_output=True, text=True, timeout=280, check=False
    )
    assert result.returncode == 0 or not check, result.stdout + result.stderr
    return result.stdout


def written_outside(tree: Path) -> list[str]:
    home = tree.parent / "home"
    # pip asks rustc for its version; where that is rustup's proxy, the proxy makes its own folder.
    return [entry.name for entry in home.iterdir() if entry.name not in (".kubeglass", ".rustup")]


def test_the_readme_names_the_two_commands():
    """`make up` and `make test` are the first commands a reader meets."""
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    first = [line.removeprefix("$ ") for line in blocks[0].splitlines()]
    assert any(line.startswith("make up") for line in first)
    assert any(line.startswith("make test") for line in first)


def test_pictures_are_there():
    """What the README shows or links to exists; `make screenshots` takes the pictures."""
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert [target for target in targets if not target.startswith("http") and not (ROOT / target).exists()] == []
    assert sum(target.endswith(".png") for target in targets) >= 4


def test_make_up_then_down(checkout):
    """`make up` on a clean machine ends with the example running; `make down` leaves no process."""
    said = make(checkout, "up", "UP=--ports auto")
    assert "ready in" in said
    assert "successfully rolled out" in said
    assert len(re.findall(r"my-nginx-\S+\s+1/1\s+Running", said)) == 3
    assert written_outside(checkout) == []
    make(checkout, "down")
    assert leftovers(checkout.parent / "home" / ".kubeglass") == []


def test_make_test_runs(checkout):
    """`make test` installs what tests need and runs them (here: the architecture's)."""
    said = make(checkout, "test", "TESTS=tests/test_architecture.py", "ARGS=-k shadows")
    assert "100%" in said
    assert written_outside(checkout) == []


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"^\$ (kubeglass [^\n]*--help)", (ROOT / "README.md").read_text(), re.M)))
)
def test_help_commands_exist(command):
    """Every `--help` the README shows is answered."""
    assert subprocess.run(command.split(), capture_output=True, check=False).returncode == 0
