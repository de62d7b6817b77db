"""``python -m kubeglass`` and the ``kubeglass`` console script."""

import sys


def main() -> int:
    """Run the command line; the verbs live in kubeglass.components.cli."""
    from kubeglass.components.cli.main import main as cli_main

    return cli_main(sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())
