"""The plugin as an executable: `python -I -S main.py`, with CNI's environment and stdin. Stdlib only.

Every Pod waits for it at least once, and a node asks for its STATUS before it is Ready: it starts in little more than
Python itself takes. So this package imports nothing that is slow to load (dataclasses, pathlib, typing), and names what
only type checkers need behind a `TYPE_CHECKING` of its own, which they know.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":  # isolated mode has no path to the package: its parent is four folders up
    here = os.path.abspath(__file__)
    for _ in range(4):
        here = os.path.dirname(here)
    sys.path.append(here)

from kubeglass.components.cni.cni import main

if __name__ == "__main__":
    raise SystemExit(main())
