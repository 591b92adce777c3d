"""``lightning runs``: lists the runs in a folder."""

import json
import sys
from pathlib import Path

from rich.markup import escape

from ..atomic_write import csv_text
from ..errors import InputError, visible
from ..runs.listing import metric_named, records, rows, setting_named, sorted_runs
from ..runs.reader import find_runs
from .console import console, has_width
from .table_of_runs import table_of_runs
from .tool_parser import ToolParser


def command(arguments: list[str]) -> None:
    parser = ToolParser(
        prog="resnet-lightning runs",
        description="Lists the runs in a folder, the newest first, with the settings that differ between them.",
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, help="the folder that contains the runs, at any depth (default: runs)"
    )
    parser.add_argument(
        "--sort",
        metavar="KEY",
        default="started",
        help="a metric such as test/acc (the best first), a setting such as model.lr or lr, or started, name, folder, "
        "state, epochs or best_val_acc; runs without the value are last (default: %(default)s)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print all settings and metrics as CSV, in full precision")
    form.add_argument("--json", action="store_true", help="print the same as JSON; a metric that is not finite is null")
    options = parser.parse_args(arguments)
    folder = options.folder or Path("runs")
    if options.folder and not folder.is_dir():
        raise InputError(f"there is no folder {str(folder)!r}; give a folder that contains runs")
    runs = find_runs(folder)
    if runs:
        runs = sorted_runs(runs, options.sort)
    if options.json:
        print(json.dumps(records(runs), indent=1))
    elif options.csv:
        text = csv_text(rows(runs), line_end="\n")
        sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    elif runs:
        out = console()
        chosen = setting_named(runs, options.sort), metric_named(runs, options.sort)
        table, left_out = table_of_runs(runs, out.width if has_width() else 80, *chosen, folds=has_width())
        out.print(table, highlight=False)
        if left_out:
            names = ", ".join(left_out[:5]) + (f" and {len(left_out) - 5} more" if len(left_out) > 5 else "")
            line = f"[dim]not shown: {escape(names)}; --csv prints all settings and metrics[/]"
            out.print(line, highlight=False)
    else:
        message = f"there are no runs in '{folder}'; `lightning fit --config CONFIG` starts one"
        console().print(message, markup=False, highlight=False, soft_wrap=True)
