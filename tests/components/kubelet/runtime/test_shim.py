"""The shim stays small: the standard library and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import kubeglass

SHIM = Path(kubeglass.__file__).parent / "components/kubelet/runtime/shim/main.py"


def test_the_shim_loads_the_standard_library_only() -> None:
    """No asyncio, no third-party module: each pod pays for what the shim loads."""
    root = SHIM.parents[5]
    script = (
        f"import sys; sys.path.append({str(root)!r}); import kubeglass.components.kubelet.runtime.shim.main; "
        "print('\\n'.join(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if not name.startswith("_")}
    assert loaded <= {*sys.stdlib_module_names, "kubeglass"}
    assert not loaded & {"asyncio", "dataclasses", "inspect", "subprocess", "ssl", "http", "email"}


def test_the_starter_forks_shims_on_request(tmp_path: Path) -> None:
    """A line is a sandbox directory; a directory that is none is refused and the starter goes on."""
    starter = subprocess.Popen(
        [sys.executable, "-I", "-S", str(SHIM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdin
    assert starter.stdout
    assert "namespaces" in starter.stdout.readline()
    starter.stdin.write(f"{tmp_path / 'missing'}\n")
    starter.stdin.flush()
    assert starter.stdout.readline().startswith("error ")
    starter.stdin.close()
    assert starter.wait(5) == 0
    starter.stdout.close()
