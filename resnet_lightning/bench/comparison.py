"""How two ways of doing the same work are timed, and shown."""

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
    """The seconds that the same work took us and them, round by round.

    Args:
        work: what it was.
        amount: how much of it, in ``unit``.
        ours: our seconds.
        theirs: their seconds.
        unit: what the work is counted in.
    """

    work: str
    amount: int
    ours: list[float]
    theirs: list[float]
    unit: str = "images"

    @property
    def ratio(self) -> float:
        """How many times faster we are: the median over the rounds, each of which ran on the same machine at once."""
        return statistics.median(theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True))


def timed(run: Callable[[], object]) -> Callable[[], float]:
    """Runs it and returns the seconds that it took, and the accelerator with it."""

    def run_and_time() -> float:
        started = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - started

    return run_and_time


def turn_about(
    work: str,
    amount: int,
    ours: Callable[[], float],
    theirs: Callable[[], float],
    *,
    rounds: int,
    unit: str = "images",
) -> Comparison:
    """Runs both, ours and theirs in turn, and who begins in turn too, after one round that does not count.

    Each returns the seconds that the work took it; see ``timed``.
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
    """A row for each comparison: the speeds by the median, and the ratio last."""
    table = Table("work", "ours", "theirs", "ours is faster", box=box.SIMPLE)
    for column in table.columns[1:]:
        column.justify = "right"
    for c in comparisons:
        medians = [statistics.median(seconds) for seconds in (c.ours, c.theirs)]
        table.add_row(c.work, *(_speed(c, seconds) for seconds in medians), f"{c.ratio:.2f} times")
    return table


def _speed(comparison: Comparison, seconds: float) -> str:
    if comparison.amount == 1:
        return f"{seconds:.2f} s"
    speed = comparison.amount / seconds
    return f"{speed:,.{1 if speed < 1000 else 0}f} {comparison.unit}/s"


def write_csv(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Writes the seconds of every round.

    Raises:
        InputError: where the file cannot be written.
    """
    rows: list[list[object]] = [["work", "amount", "unit", "round", "ours_seconds", "theirs_seconds"]]
    for c in comparisons:
        rows += ([c.work, c.amount, c.unit, i, *pair] for i, pair in enumerate(zip(c.ours, c.theirs, strict=True)))
    try:
        path.parent.stat()  # a missing folder is more likely a typing error than one to make
        atomic_write_csv(path, rows)
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror}") from error
