"""Where the commands print."""

import sys

from rich.console import Console


def console() -> Console:
    """Standard output; as wide as any table where no terminal sets the width, so that a path stays on its line."""
    return Console(width=None if sys.stdout.isatty() else 200)
