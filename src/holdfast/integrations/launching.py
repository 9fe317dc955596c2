"""Entry point of the launchers: one line on stderr and the exit code of docs, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from holdfast.core.errors import HoldfastError


def launch(run: Callable[[list[str]], Path]) -> None:
    """Run a launcher with the command line's arguments."""
    try:
        run(sys.argv[1:])
    except HoldfastError as error:
        sys.stderr.write(f"holdfast: {error}\n")
        sys.exit(error.exit_code)
