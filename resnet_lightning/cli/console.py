"""The console of the subcommands, and the log messages on it."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from ..errors import visible

_PACKAGE = __package__.partition(".")[0]


class SafeConsole(Console):
    """A console that shows control characters in texts as their codes.

    Names of classes, files and runs come from files of others. In a terminal, an escape sequence in such a name could
    hide text, change the window's title, or type.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def console() -> Console:
    """Returns a console for standard output.

    Without a terminal and without a width in ``COLUMNS`` it has 200 columns, so that paths stay on one line.
    """
    return SafeConsole(width=None if has_width() else 200)


def has_width() -> bool:
    """Whether standard output is a terminal, or the environment has its width."""
    return sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal()


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
