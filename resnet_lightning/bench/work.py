"""What the parts of ``lightning bench all`` are given."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .rows import Row


@dataclass(frozen=True)
class Work:
    """How much a part does, and with what.

    Args:
        fit: runs a command line in this process and returns its exit code.
        root: the folder of the data sets, as for ``lightning study``.
        is_full: whether to measure; otherwise each part only shows that it works, in seconds.
    """

    fit: Callable[[list[str]], int]
    root: Path
    is_full: bool

    def attempt(self, what: str, measure: Callable[[], Row]) -> Row:
        """Returns the row of a measurement; if it fails, one with the reason, so that the next one is tried."""
        try:
            return measure()
        except (Exception, SystemExit) as error:  # out of memory, a missing kernel, a refused combination
            reason = next(iter(str(error).strip().splitlines()), "")
            return Row(what, result=f"failed: {type(error).__name__}: {reason}"[:300])
