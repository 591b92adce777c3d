"""``lightning runs``: lists the runs in a folder."""

import argparse
import datetime
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.table import Table

from ..errors import InputError
from ..runs.comparison import own_metrics
from ..runs.formatting import epochs, percent, time_ago
from ..runs.reader import Run, find_runs
from .console import console


def command(arguments: list[str]) -> None:
    description = "Lists the runs in a folder, the newest first."
    parser = argparse.ArgumentParser(prog="resnet-lightning runs", description=description)
    parser.add_argument(
        "folder", nargs="?", type=Path, help="the folder that contains the runs, at any depth (default: runs)"
    )
    folder = parser.parse_args(arguments).folder
    if folder and not folder.is_dir():
        raise InputError(f"there is no folder {str(folder)!r}; give a folder that contains runs")
    folder = folder or Path("runs")
    runs = find_runs(folder)
    if runs:
        console().print(as_table(runs), highlight=False)
    else:
        message = f"there are no runs in '{folder}'; `lightning fit --config CONFIG` starts one"
        console().print(message, markup=False, highlight=False, soft_wrap=True)


def as_table(runs: Sequence[Run]) -> Table:
    """A table with a row for each run."""
    own = list(dict.fromkeys(name for run in runs for name in own_metrics(run, "test")))
    shown = [escape(name.replace("/", " ")) for name in own]
    columns = "folder", "config", "epochs", "best val", "test", *shown, "when", "state"
    table = Table(*columns, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.no_wrap = True
    for column in table.columns[2 : 5 + len(own)]:
        column.justify = "right"
    now = datetime.datetime.now().astimezone()
    for run in runs:
        state = run.state if run.state in ("finished", "running") else f"[bold]{run.state}[/]"
        name = escape(str(run.folder)) + "".join(f"\n[dim]{escape(note)}[/]" for note in run.notes)
        accuracies = percent(run.best_accuracy()), percent(run.last("test/acc"))
        values = ["-" if value is None else f"{value:.4f}" for value in map(run.last, own)]
        table.add_row(name, escape(run.name), epochs(run), *accuracies, *values, time_ago(now, run.started), state)
    return table
