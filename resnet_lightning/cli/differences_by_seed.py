"""The comparison of settings with the best one, over the seeds that they share, as commands print it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..runs.comparison import by_seed, group_labels, run_numbers
from ..runs.formatting import interval, signed
from ..runs.paired import compare_with_best
from ..runs.ranking import best_first
from ..runs.reader import Run


def print_differences(out: Console, runs: Sequence[Run], numbers: Mapping[Path, str] | None = None) -> None:
    """Prints the difference of each setting to the best one by validation; nothing if no two settings share a seed.

    Args:
        out: where to print.
        runs: runs on the same data; see ``by_data``.
        numbers: the number of each run, if another table has them, by its folder.
    """
    groups = best_first(by_seed(runs))
    found = compare_with_best(groups)
    if found is None:
        return
    labels = group_labels(groups)

    def name(group: Sequence[Run]) -> str:
        return labels[group[0].folder] + ("" if numbers is None else f" ({run_numbers(group, numbers)})")

    unit = ", in percentage points" if found.metric.endswith("/acc") else ""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(f"{found.metric} by seed", overflow="fold")
    level = f"{found.level:.2%}".replace(".00", "")
    for head in "n", "difference", f"{level} interval", "result":
        table.add_column(head, justify="right", no_wrap=True)
    for pair in found.differences:
        difference, ends = signed(found.metric, pair.mean), interval(found.metric, pair.interval)
        table.add_row(escape(name(pair.group)), str(pair.n), difference, ends, pair.verdict)
    out.print(table, highlight=False)
    best = escape(name(found.best))
    line = f"[dim]differences to {best}, the best by validation{unit}; paired t test, all intervals together 95%[/]"
    out.print(line, highlight=False)
