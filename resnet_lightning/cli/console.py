"""The console of the subcommands, and the log messages on it."""

import contextlib
import logging
import sys
from collections.abc import Iterator

from rich.console import Console

_PACKAGE = __package__.partition(".")[0]


def console() -> Console:
    """Returns a console for standard output. Without a terminal it has 200 columns, so that paths stay on one line."""
    return Console(width=None if sys.stdout.isatty() else 200)


class _ConsoleHandler(logging.Handler):
    """Prints the package's log messages on a console."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        self.console.print(record.getMessage(), style=style, highlight=False, soft_wrap=True, markup=False)


@contextlib.contextmanager
def shown_log(console: Console) -> Iterator[None]:
    """Prints the package's log messages on a console until the end of the ``with`` statement."""
    logger = logging.getLogger(_PACKAGE)
    logger.setLevel(logging.INFO)
    handler = _ConsoleHandler(console)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
