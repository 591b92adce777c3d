"""Times two implementations of the same work and shows the results."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich import box
from rich.table import Table

from ..atomic_write import atomic_write_csv
from ..errors import InputError


@dataclass(frozen=True)
class Comparison:
    """The times of this package and of an alternative for the same work, in each round.

    Args:
        work: a description of the work, including the alternative if it is not obvious.
        amount: the amount of work in a round, in ``unit``.
        ours: the seconds of this package, one value per round.
        theirs: the seconds of the alternative, one value per round.
        unit: the unit of ``amount``.
    """

    work: str
    amount: int
    ours: list[float]
    theirs: list[float]
    unit: str = "images"

    @property
    def ratio(self) -> float:
        """How many times faster this package is: the median of the ratios of the rounds."""
        return statistics.median(theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True))


def timed(run: Callable[[], object]) -> Callable[[], float]:
    """Returns a function that calls ``run`` and returns the seconds it took, including the work of a GPU."""

    def run_and_time() -> float:
        started = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - started

    return run_and_time


def interleaved(
    work: str,
    amount: int,
    ours: Callable[[], float],
    theirs: Callable[[], float],
    *,
    rounds: int,
    unit: str = "images",
) -> Comparison:
    """Runs both alternately, after a warm-up round that is not counted; the order is reversed from round to round.

    ``ours`` and ``theirs`` do the work once and return the seconds it took; see ``timed``.
    """
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    runs = [("ours", ours), ("theirs", theirs)]
    for i in range(-1, rounds):
        for name, run in runs if i % 2 else reversed(runs):
            took = run()
            if i >= 0:
                seconds[name].append(took)
    return Comparison(work, amount, seconds["ours"], seconds["theirs"], unit)


def as_table(comparisons: Sequence[Comparison]) -> Table:
    """Makes a table with a row for each comparison: the median speeds and the ratio."""
    table = Table("work", "ours", "theirs", "ours is faster", box=box.SIMPLE)
    for column in table.columns[1:]:
        column.justify = "right"
    for c in comparisons:
        medians = [statistics.median(seconds) for seconds in (c.ours, c.theirs)]
        table.add_row(c.work, *(speed(c, seconds) for seconds in medians), f"{c.ratio:.2f} times")
    return table


def speed(comparison: Comparison, seconds: float) -> str:
    """Returns the speed of a round, or its seconds if it is a single piece of work."""
    if comparison.amount == 1:
        return f"{seconds:.2f} s"
    rate = comparison.amount / seconds
    return f"{rate:,.{1 if rate < 1000 else 0}f} {comparison.unit}/s"


def write_csv(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Writes the times of all rounds, in seconds, to a file.

    Raises:
        InputError: if the file cannot be written.
    """
    rows: list[list[object]] = [["work", "amount", "unit", "round", "ours_seconds", "theirs_seconds"]]
    for c in comparisons:
        rows += ([c.work, c.amount, c.unit, i, *pair] for i, pair in enumerate(zip(c.ours, c.theirs, strict=True)))
    try:
        path.parent.stat()  # a missing folder is probably a typo, so it is not created
        atomic_write_csv(path, rows)
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror}") from error
