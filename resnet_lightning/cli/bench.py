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
    parser.add_argument("what", choices=["all", *_COMPARISONS, "stream"])
    parser.add_argument("--rounds", type=int, default=9, help="number of rounds (default: %(default)s)")
    parser.add_argument("--csv", type=Path, help="CSV file for the time of every round, in seconds")
    parser.add_argument(
        "--images", type=int, default=200_000, help="number of images of `stream` (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=2, help="number of processes of `stream` (default: %(default)s)")
    parser.add_argument(
        "--budget_minutes", type=float, default=8, help="time for `all`, in minutes (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, help="Markdown file for the table of `all`, which is also printed")
    parser.add_argument("--parts", help="parts of `all`, separated by commas (default: all, in order of worth)")
    parser.add_argument(
        "--data_folder",
        type=Path,
        default=Path(os.environ.get("RESNET_LIGHTNING_DATA", "data")),
        help="folder of MNIST and CIFAR-10 for `all` (default: $RESNET_LIGHTNING_DATA, or data)",
    )
    options = parser.parse_args(arguments)
    for name, least in ("rounds", 1), ("images", 256), ("workers", 0):
        if getattr(options, name) < least:
            raise InputError(f"--{name} is {getattr(options, name)}; give at least {least}")
    if options.what == "all":
        _all(options)
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
