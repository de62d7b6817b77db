"""The house rules that no linter knows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ("components", "telemetry", "logging", "collector")


def product_files() -> list[Path]:
    files = [file for folder in PRODUCT for file in (ROOT / folder).rglob("*.py")]
    return [file for file in files if not file.stem.endswith("_pb2")]


def test_logging_shadows_nothing():
    """From the repository root the standard library's logging is still the one that is imported."""
    assert not (ROOT / "logging" / "__init__.py").exists()
    for code in (["-m", "pytest", "--version"], ["-c", "import logging; logging.getLogger"]):
        subprocess.run([sys.executable, *code], cwd=ROOT, check=True, capture_output=True)


def test_the_package_is_four_links():
    """The import package holds its two entries (command line, pytest plugin) and relative links to the four folders."""
    package = ROOT / "src" / "kubeglass"
    links = {link.name: link.readlink().as_posix() for link in package.iterdir() if link.is_symlink()}
    assert links == {name: f"../../{name}" for name in PRODUCT}
    assert {file.name for file in package.glob("*.py")} == {"__init__.py", "__main__.py", "testing.py"}


@pytest.mark.parametrize("file", product_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_every_module_says_what_lives_in_it(file):
    """A module opens with a docstring, and no file outgrows a reader."""
    text = file.read_text()
    assert not text.strip() or text.lstrip().startswith('"""'), "no module docstring"
    assert text.count("\n") <= 500, "over 500 lines: which concept wants to leave?"


@pytest.mark.parametrize("file", sorted((ROOT / "logging").glob("*.py")), ids=lambda file: file.name)
def test_logging_is_the_lowest_layer(file):
    """logging/ imports nothing of kubeglass but itself. (It is a namespace portion, which import-linter cannot see.)"""
    imported = re.findall(r"^\s*(?:from|import) (kubeglass[\w.]*)", file.read_text(), re.M)
    assert [name for name in imported if not name.startswith("kubeglass.logging")] == []


def test_the_tree_in_the_docs_is_the_tree():
    """Every folder that docs/architecture.md draws exists, and every folder of components/ is drawn."""
    drawn = (ROOT / "docs" / "architecture.md").read_text()
    for folder in (ROOT / "components").iterdir():
        if folder.is_dir() and not folder.name.startswith("__"):
            assert f"  {folder.name}/" in drawn, folder.name
    for folder in ("components", "telemetry", "logging", "collector", "grafana", "tests", "examples", "docs"):
        assert f"\n{folder}/" in drawn
        assert (ROOT / folder).is_dir()
