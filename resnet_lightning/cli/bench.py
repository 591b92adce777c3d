"""``lightning bench``: compares the speed of this package with that of the alternatives."""

import argparse
import importlib
import os
from pathlib import Path

from ..bench.comparison import as_table, write_csv
from ..errors import InputError, did_you_mean
from .console import console
from .main import main
from .tool_parser import ToolParser

_COMPARISONS = ["backbones", "data", "progress", "startup", "step", "threads"]


def command(arguments: list[str]) -> None:
    description = "Compares the speed of this package with that of the alternatives, in interleaved rounds of one run."
    parser = ToolParser(prog="resnet-lightning bench", description=description)
    parser.add_argument("what", choices=["all", *_COMPARISONS, "stream", "time_to_accuracy"])
    parser.add_argument("--rounds", type=int, default=9, help="number of rounds (default: %(default)s)")
    parser.add_argument("--csv", type=Path, help="CSV file for the time of every round, in seconds")
    parser.add_argument(
        "--images", type=int, default=200_000, help="number of images of `stream` (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=2, help="number of processes of `stream` (default: %(default)s)")
    parser.add_argument(
        "--budget_minutes", type=float, default=8, help="time for `all`, in minutes (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, help="Markdown file for the table of `all` or `time_to_accuracy`")
    parser.add_argument("--parts", help="parts of `all`, separated by commas (default: all, in order of worth)")
    parser.add_argument(
        "--data_folder",
        type=Path,
        default=Path(os.environ.get("RESNET_LIGHTNING_DATA", "data")),
        help="folder of MNIST and CIFAR-10 for both (default: $RESNET_LIGHTNING_DATA, or data)",
    )
    parser.add_argument("--task", default="airplane_bird", help="task of `time_to_accuracy` (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="seeds of `time_to_accuracy` (default: %(default)s)")
    parser.add_argument(
        "--their_epochs", type=int, help="epochs of the script in `time_to_accuracy` that are timed (default: all)"
    )
    options = parser.parse_args(arguments)
    for name, least in ("rounds", 1), ("images", 256), ("workers", 0), ("runs", 1), ("their_epochs", 1):
        given = getattr(options, name)
        if given is not None and given < least:
            raise InputError(f"--{name} is {given}; give at least {least}")
    if options.what == "all":
        _all(options)
        return
    if options.what == "time_to_accuracy":
        _time_to_accuracy(options)
        return
    if options.what == "stream":
        if options.csv:
            raise InputError("--csv does not apply to stream, which has no rounds; leave it out")
        from ..bench.stream import as_table as stages_table
        from ..bench.stream import stream

        console().print(stages_table(stream(count=options.images, workers=options.workers)))
        return
    if options.csv:
        write_csv(options.csv, [])  # fails before the measurements if the file cannot be written
    measure = getattr(importlib.import_module(f"resnet_lightning.bench.{options.what}"), options.what)
    comparisons = list(measure(rounds=options.rounds, **({"fit": main} if options.what == "step" else {})))
    console().print(as_table(comparisons))
    if options.csv:
        write_csv(options.csv, comparisons)


def _all(options: argparse.Namespace) -> None:
    from ..bench.suite import PARTS, suite  # imported here, since importing Lightning takes seconds

    if options.csv:
        raise InputError("--csv does not apply to all; give --output FILE.md")
    if not 0 < options.budget_minutes < float("inf"):
        raise InputError(f"--budget_minutes is {options.budget_minutes:g}; give a number above 0")
    names = list(PARTS) if options.parts is None else options.parts.split(",")
    for name in names:
        if name not in PARTS:
            raise InputError(f"--parts has {name!r}; {did_you_mean(name, PARTS)}")
    suite(names, options.budget_minutes, options.output, options.data_folder, f"{__package__}.bench_part")


def _time_to_accuracy(options: argparse.Namespace) -> None:
    from ..bench.markdown_table import MarkdownTable
    from ..bench.time_to_accuracy import TASKS, time_to_accuracy

    if options.task not in TASKS:
        raise InputError(f"--task is {options.task!r}; {did_you_mean(options.task, TASKS)}")
    if options.csv:
        raise InputError("--csv does not apply to time_to_accuracy; give --output FILE.md")
    table = MarkdownTable(options.output)
    task = TASKS[options.task]
    measured = time_to_accuracy(task, runs=options.runs, root=options.data_folder, their_epochs=options.their_epochs)
    try:
        for row in measured:
            table.add(options.task, row)
    except RuntimeError as error:  # the message of a command that failed
        raise InputError(f"a training of {options.task} failed: {error}") from error
