"""The plugin as an executable: `python -I -S main.py`, with CNI's environment and stdin. Stdlib only; starts fast."""

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
