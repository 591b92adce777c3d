"""``lightning cross_validate``: trains once for each fold of the training set."""

import argparse
from pathlib import Path

from ..errors import InputError
from ..experiments.cross_validation import as_table, cross_validate, new_folder
from .console import console


def command(arguments: list[str]) -> None:
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
