"""``lightning report``: compares runs on one HTML page."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..atomic_write import atomic_write_text
from ..errors import InputError
from ..runs.comparison import FINAL, by_data, by_seed, differences, final_metrics
from ..runs.reader import Run, find_runs, read_run
from ..runs.report.page import group_labels, name_of_data, report, run_numbers, spread_as_text
from .console import console
from .runs import as_table


def command(arguments: list[str]) -> None:
    description = "Compares runs on one HTML page that needs nothing but itself."
    parser = argparse.ArgumentParser(prog="resnet-lightning report", description=description)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, or one for all runs in it")
    parser.add_argument("--output", type=Path, default=Path("report.html"), help="the page (default: %(default)s)")
    options = parser.parse_args(arguments)
    _check_output(options.output)
    runs = _runs_of(options.runs)
    page = report(runs)
    _write(options.output, page)
    out = console()
    _print_summary(out, runs)
    out.print(f"[dim]page[/] {escape(str(options.output))}", highlight=False, soft_wrap=True)


def _runs_of(folders: Sequence[str]) -> list[Run]:
    """In the order given, those of a folder of runs in that of time, none of them twice."""
    found = {run.folder.resolve(): run for folder in folders for run in (find_runs(folder)[::-1] or [read_run(folder)])}
    return list(found.values())


def _check_output(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"--output is {str(path)!r}, a folder; give the name of a file")
    try:
        with path.open("rb") as file:
            start = file.read(200).lstrip().lower()
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}, which --output would replace: {error.strerror}") from error
    if start and not start.startswith((b"<!doctype html", b"<html")):
        raise InputError(f"{str(path)!r} is no HTML page and is left as it is; give another --output")


def _write(path: Path, page: str) -> None:
    try:
        atomic_write_text(path, page)
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror}") from error


def _print_summary(out: Console, runs: Sequence[Run]) -> None:
    numbers = {run.folder: str(number) for number, run in enumerate(runs, start=1)}
    out.print(as_table(runs), highlight=False)
    if found := differences(runs):
        out.print(_plain_table(["setting", *numbers.values()], [[key, *values] for key, values in found.items()]))
    of_data = by_data(runs)
    if len(of_data) > 1:
        out.print("[bold]these runs were trained on different data: their accuracies do not compare[/]")
    for some in of_data:
        groups = by_seed(some)
        labels = group_labels(groups)
        of_groups = [final_metrics(group) for group in groups]
        metrics = [metric for metric in FINAL[:3] if any(metric in one for one in of_groups)]
        rows = [
            [
                f"{labels[group[0].folder]} ({run_numbers(group, numbers)})",
                *(spread_as_text(metric, one.get(metric)) for metric in metrics),
            ]
            for group, one in zip(groups, of_groups, strict=True)
        ]
        head = name_of_data(some, of_data) if len(of_data) > 1 else "mean ± deviation"
        out.print(_plain_table([head, *metrics], rows), highlight=False)
    out.print("[dim]test: of the checkpoint that was tested; val: after the last epoch[/]")


def _plain_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(*map(escape, head), box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*map(escape, row))
    return table
