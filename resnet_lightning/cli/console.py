"""Where the commands print."""

import contextlib
import logging
import sys
from collections.abc import Iterator

from rich.console import Console

_PACKAGE = __package__.partition(".")[0]


def console() -> Console:
    """Standard output, as wide as the terminal; 200 columns if there is none, so that a path stays on one line."""
    return Console(width=None if sys.stdout.isatty() else 200)


class _ConsoleHandler(logging.Handler):
    """Prints the package's log messages between the other lines on a console."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        self.console.print(record.getMessage(), style=style, highlight=False, soft_wrap=True, markup=False)


@contextlib.contextmanager
def shown_log(console: Console) -> Iterator[None]:
    """Prints what the package logs on a console, until the end of the ``with`` statement."""
    logger = logging.getLogger(_PACKAGE)
    logger.setLevel(logging.INFO)
    handler = _ConsoleHandler(console)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
