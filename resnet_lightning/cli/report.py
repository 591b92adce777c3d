"""``lightning report``: compares runs on one HTML page."""

import re
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..atomic_write import atomic_write_text
from ..errors import InputError
from ..runs.comparison import by_data, data_label, differences, numbered
from ..runs.mcnemar import compare_images
from ..runs.reader import Run, find_runs, read_run
from ..runs.report.page import MOST_RUNS_IN_COLUMNS, render
from .console import console
from .differences_by_seed import print_differences
from .table_by_setting import table_by_setting
from .table_of_runs import table_of_runs
from .tool_parser import ToolParser

# Control characters of names in files of runs, which a terminal that shows the page would obey.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def command(arguments: list[str]) -> None:
    description = "Compares runs on one HTML page, in a single file that works offline."
    parser = ToolParser(prog="resnet-lightning report", description=description)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the folder of a run, or a folder that contains runs")
    parser.add_argument(
        "--output", type=Path, default=Path("report.html"), help="the HTML file to write (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    _check_output(options.output)
    runs = _runs_of(options.runs)
    _write(options.output, render(runs))
    out = console()
    _print_summary(out, runs)
    out.print(f"[dim]page[/] {escape(str(options.output))}", highlight=False, soft_wrap=True)


def _runs_of(folders: Sequence[str]) -> list[Run]:
    """Returns the runs in the order of the arguments, each once. A folder of runs is sorted, oldest first."""
    found = {run.folder.resolve(): run for folder in folders for run in (find_runs(folder)[::-1] or [read_run(folder)])}
    return list(found.values())


def _check_output(path: Path) -> None:
    """Checks that the output replaces nothing but an HTML page.

    Raises:
        InputError: if the path is a folder or another file.
    """
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
        raise InputError(f"{str(path)!r} is not an HTML page, so it is not replaced; choose another --output")


def _write(path: Path, page: str) -> None:
    try:
        atomic_write_text(path, _CONTROL.sub("\N{REPLACEMENT CHARACTER}", page))
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror}") from error


def _print_summary(out: Console, runs: Sequence[Run]) -> None:
    numbers = numbered(runs)
    table, _ = table_of_runs(runs, out.width, numbers=numbers)
    out.print(table, highlight=False)
    if (differing := differences(runs)) and len(runs) <= MOST_RUNS_IN_COLUMNS:
        out.print(_plain_table(["setting", *numbers.values()], [[key, *values] for key, values in differing.items()]))
    datasets = by_data(runs)
    if len(datasets) > 1:
        out.print("[bold]these runs were trained on different data; their accuracies are not comparable[/]")
    for runs_on_data in datasets:
        title = data_label(runs_on_data, datasets) if len(datasets) > 1 else "mean ± deviation"
        table = table_by_setting(runs_on_data, width=out.width, numbers=numbers, title=title)
        out.print(table, highlight=False)
        print_differences(out, runs_on_data, numbers)
        for sentence in compare_images(runs_on_data, numbers):
            out.print(escape(sentence), highlight=False)
    out.print("[dim]test: of the tested checkpoint; val: after the last epoch; best val: of the best epoch[/]")


def _plain_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(*map(escape, head), box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*map(escape, row))
    return table
