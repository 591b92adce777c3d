"""``lightning bench``: compares the speed of this package with that of the alternatives."""

import importlib
from pathlib import Path

from ..bench.comparison import as_table, write_csv
from ..errors import InputError
from .console import console
from .main import main
from .tool_parser import ToolParser


def command(arguments: list[str]) -> None:
    description = "Compares the speed of this package with that of the alternatives, in interleaved rounds of one run."
    parser = ToolParser(prog="resnet-lightning bench", description=description)
    parser.add_argument("what", choices=["backbones", "data", "progress", "startup", "step", "stream", "threads"])
    parser.add_argument("--rounds", type=int, default=9, help="number of rounds (default: %(default)s)")
    parser.add_argument("--csv", type=Path, help="CSV file for the time of every round, in seconds")
    parser.add_argument(
        "--images", type=int, default=200_000, help="number of images of `stream` (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=2, help="number of processes of `stream` (default: %(default)s)")
    options = parser.parse_args(arguments)
    for name, least in ("rounds", 1), ("images", 256), ("workers", 0):
        if getattr(options, name) < least:
            raise InputError(f"--{name} is {getattr(options, name)}; give at least {least}")
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
