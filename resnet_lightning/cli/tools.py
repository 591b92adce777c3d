"""The commands beside those of the Trainer: ``resnet-lightning models|bench|report|...``."""

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path

from rich import box
from rich.table import Table

from ..errors import InputError
from .console import console

CommandLine = Callable[[list[str]], int]
"""Runs a command line such as ``["fit", "--config", ...]`` and returns its exit code."""


def _models(arguments: list[str], fit: CommandLine) -> None:
    from .models import catalogue  # which no training needs

    description = "Lists the models, with their sizes, costs and sources."
    parser = argparse.ArgumentParser(prog="resnet-lightning models", description=description)
    parser.add_argument("pattern", nargs="?", default="*", help="only the names that match, such as '*preact*'")
    console().print(catalogue(parser.parse_args(arguments).pattern))


def _bench(arguments: list[str], fit: CommandLine) -> None:
    from ..bench.comparison import as_table, write_csv

    description = "Times our work beside what a user would pick instead, turn about, in one run."
    parser = argparse.ArgumentParser(prog="resnet-lightning bench", description=description)
    parser.add_argument("what", choices=["backbones", "data", "progress", "startup", "step", "stream"])
    parser.add_argument("--rounds", type=int, default=9, help="how often each is timed (default: %(default)s)")
    parser.add_argument("--csv", type=Path, help="a file for the seconds of every round")
    parser.add_argument("--images", type=int, default=200_000, help="of stream (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="of stream (default: %(default)s)")
    options = parser.parse_args(arguments)
    for name, least in ("rounds", 1), ("images", 256), ("workers", 0):
        if getattr(options, name) < least:
            raise InputError(f"--{name} is {getattr(options, name)}; give at least {least}")
    if options.what == "stream":
        if options.csv:
            raise InputError("bench stream compares nothing and writes no --csv; keep what it prints")
        from ..bench.stream import as_table as as_stages
        from ..bench.stream import stream

        console().print(as_stages(stream(count=options.images, workers=options.workers)))
        return
    if options.csv:
        write_csv(options.csv, [])  # a file that cannot be written is found now
    measure = getattr(importlib.import_module(f"resnet_lightning.bench.{options.what}"), options.what)
    comparisons = list(measure(rounds=options.rounds, **({"fit": fit} if options.what == "step" else {})))
    console().print(as_table(comparisons))
    if options.csv:
        write_csv(options.csv, comparisons)


def _runs(arguments: list[str], fit: CommandLine) -> None:
    from ..runs.reader import runs_command

    runs_command(arguments)


def _report(arguments: list[str], fit: CommandLine) -> None:
    from ..runs.report.page import report_command

    report_command(arguments)


def _export(arguments: list[str], fit: CommandLine) -> None:
    from ..inference.export import export_command

    export_command(arguments)


def _explain(arguments: list[str], fit: CommandLine) -> None:
    from ..data.loading.files import list_images
    from ..inference.grad_cam import explain, save_overlays
    from ..inference.loaded import load_trained

    description = "Says what a net sees in images, and draws over each which part of it speaks for that (Grad-CAM)."
    parser = argparse.ArgumentParser(prog="resnet-lightning explain", description=description)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("images", type=Path, nargs="+", help="files, or folders of them")
    parser.add_argument("--output", type=Path, help="a folder for the pictures (default: in that of the run)")
    options = parser.parse_args(arguments)
    trained = load_trained(options.checkpoint)
    images = [Path(file) for path in options.images for file in (list_images(path) if path.is_dir() else [path])]
    if missing := [path for path in images if not path.exists()]:
        raise InputError(f"there is no image {str(missing[0])!r}")
    explanations = explain(trained, images)
    folder = options.output or options.checkpoint.resolve().parent.parent / "explanations"
    table = Table("image", "label", "probability", "then", "picture", box=box.SIMPLE)
    for column in table.columns:
        column.overflow = "fold"
    pictures = save_overlays(explanations, images, folder)
    for image, explanation, picture in zip(images, explanations, pictures, strict=True):
        ranked = explanation.probabilities.topk(min(3, len(trained.data.class_names)))
        names = [trained.data.class_names[label] for label in ranked.indices]
        label, *others = (f"{p:.1%}" for p in ranked.values)
        then = ", ".join(f"{name} {p}" for name, p in zip(names[1:], others, strict=True))
        table.add_row(str(image), f"[bold]{names[0]}", label, then, str(picture))
    console().print(table)


def _features(arguments: list[str], fit: CommandLine) -> None:
    from ..inference.grad_cam import first_filters
    from ..inference.loaded import load_trained
    from ..runs import figures
    from ..training.callbacks import Embedding

    description = "Draws what a net has learnt: the filters of its first layer, and where it puts the test images."
    parser = argparse.ArgumentParser(
        prog="resnet-lightning features",
        description=description,
        epilog="All other options are those of `lightning test`, such as --data.root.",
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--output", type=Path, help="a folder for the pictures (default: in that of the run)")
    options, of_test = parser.parse_known_args(arguments)
    folder = options.output or options.checkpoint.resolve().parent.parent / "pictures"
    weights = first_filters(load_trained(options.checkpoint).classifier)
    embedding = folder / "embedding.png"
    callback = f"{Embedding.__module__}.{Embedding.__name__}"
    own = [f"--trainer.callbacks+={callback}", f"--trainer.callbacks.path={embedding}"]
    if code := fit(["test", "--ckpt_path", str(options.checkpoint), *of_test, *own]):
        raise SystemExit(code)  # which it has said why
    filters = figures.save_mosaic(weights, folder / "filters.png")
    console().print(f"[dim]filters  [/] {filters}\n[dim]embedding[/] {embedding}", highlight=False, soft_wrap=True)


def _completion(arguments: list[str], fit: CommandLine) -> None:
    from .completion import bash_script

    description = "Prints a script for bash, and zsh with bashcompinit, that completes commands and options."
    parser = argparse.ArgumentParser(prog="resnet-lightning completion", description=description)
    parser.parse_args(arguments)
    print(bash_script(["fit", "validate", "test", "predict", *TOOLS], fit), end="")


def _cross_validate(arguments: list[str], fit: CommandLine) -> None:
    from ..experiments.cross_validation import as_table, cross_validate, new_folder

    description = "Trains once for each fold of the training set, and shows the accuracies' mean and deviation."
    parser = argparse.ArgumentParser(
        prog="resnet-lightning cross_validate",
        description=description,
        epilog="All other options are those of `lightning fit`.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--data.num_folds", dest="num_folds", type=int, default=5, help="default: %(default)s, whatever the config says"
    )
    parser.add_argument(
        "--trainer.default_root_dir", dest="root", type=Path, default=Path("runs"), help="default: runs"
    )
    options, of_fit = parser.parse_known_args(arguments)
    if options.num_folds < 2:
        raise InputError(f"--data.num_folds is {options.num_folds}; give at least 2")
    folder = new_folder(options.root)
    folds = cross_validate(of_fit, options.num_folds, folder)
    console().print(as_table(folds), f"[dim]folder[/] {folder}", highlight=False)


TOOLS: dict[str, Callable[[list[str], CommandLine], None]] = {
    "models": _models,
    "bench": _bench,
    "cross_validate": _cross_validate,
    "runs": _runs,
    "report": _report,
    "explain": _explain,
    "export": _export,
    "features": _features,
    "completion": _completion,
}
"""By name; each takes what follows the name, and the command line for those that train."""
