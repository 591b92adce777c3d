"""``lightning cross_validate``: trains once for each fold of the training set."""

import argparse
from pathlib import Path

from rich.markup import escape

from ..errors import InputError
from ..experiments.cross_validation import as_table, cross_validate, new_folder
from .console import console


def command(arguments: list[str]) -> None:
    description = "Trains once for each fold of the training set, and prints the mean and deviation of the accuracies."
    parser = argparse.ArgumentParser(
        prog="resnet-lightning cross_validate",
        description=description,
        epilog="All other options are those of `lightning fit`.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--data.num_folds",
        dest="num_folds",
        type=int,
        default=5,
        help="number of folds (default: %(default)s; the config's is ignored)",
    )
    parser.add_argument(
        "--trainer.default_root_dir",
        dest="root",
        type=Path,
        default=Path("runs"),
        help="folder for the runs (default: runs)",
    )
    options, fit_options = parser.parse_known_args(arguments)
    if options.num_folds < 2:
        raise InputError(f"--data.num_folds is {options.num_folds}; give at least 2")
    folder = new_folder(options.root)
    folds = cross_validate(fit_options, options.num_folds, folder)
    console().print(as_table(folds), f"[dim]folder[/] {escape(str(folder))}", highlight=False, soft_wrap=True)
