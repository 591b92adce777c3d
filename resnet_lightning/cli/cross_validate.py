"""``lightning cross_validate``: a sweep over the folds of the training set."""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape

from ..errors import InputError, visible
from ..experiments.cross_validation import (
    PREFIX,
    Fold,
    as_table,
    new_folder,
    result_of,
    trials_of_folds,
    write_folds,
)
from ..experiments.launcher import Outcome, run_trials
from ..experiments.processes import check_jobs
from ..experiments.trials import SEED
from ..runs.configs import flatten
from ..runs.reader import find_runs
from ..signals import Signalled
from .console import console
from .error_line import error_line
from .sweep import print_interrupted
from .sweep_trials import base_config
from .tool_parser import ToolParser
from .trials_display import TrialsDisplay

_KEYS = {"data.fold"}


def command(arguments: list[str]) -> None:
    options, fit_options = _parser().parse_known_args(arguments)
    if options.num_folds < 2:
        raise InputError(f"--data.num_folds is {options.num_folds}; give at least 2")
    check_jobs(options.jobs)
    trials = trials_of_folds(options.num_folds)
    from .parsed_config import parsed_config  # imported here, since importing Lightning takes seconds

    _, config = parsed_config([*fit_options, *trials[0].options()])
    folder = _earlier_folder(options.root, config) or new_folder(options.root)
    out = console()
    folds: dict[int, Fold] = {}

    def show(outcome: Outcome) -> None:
        display.ended(outcome)
        if outcome.run is not None:
            folds[trials.index(outcome.trial)] = result_of(outcome)
            write_folds(folds, folder)

    try:
        with TrialsDisplay(out, folder, len(trials), options.jobs) as display:
            outcomes = run_trials(
                fit_options, trials, folder, jobs=options.jobs, stop_at_failure=True, show=show, watch=display.update
            )
    except (Signalled, KeyboardInterrupt):
        print_interrupted(shlex.join(["lightning", "cross_validate", *arguments]))
        raise
    _check_finished(outcomes, len(trials), folder)
    results = [folds[number] for number in range(len(trials))]
    out.print(as_table(results), f"[dim]folder[/] {escape(str(folder))}", highlight=False, soft_wrap=True)


def _parser() -> argparse.ArgumentParser:
    parser = ToolParser(
        prog="resnet-lightning cross_validate",
        description="Trains once for each fold of the training set, and prints the mean and deviation of the "
        "accuracies. The same command continues one that was interrupted.",
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
    parser.add_argument("--jobs", type=int, default=1, help="how many folds train at a time (default: %(default)s)")
    return parser


def _earlier_folder(root: Path, config: Mapping[str, Any]) -> Path | None:
    """Returns the newest folder of a cross-validation with this config; None if there is none."""
    wanted = {**base_config(config, _KEYS), SEED: config.get(SEED)}
    for folder in sorted(root.glob(f"{PREFIX}*/"), reverse=True):
        configs = [flatten(run.config) for run in find_runs(folder)]
        if configs and all({**base_config(found, _KEYS), SEED: found.get(SEED)} == wanted for found in configs):
            return folder
    return None


def _check_finished(outcomes: Sequence[Outcome], count: int, folder: Path) -> None:
    """Prints the error of a fold that failed.

    Raises:
        InputError: if one did.
    """
    for number, outcome in enumerate(outcomes):
        if outcome.run is None:
            print("error:", error_line(visible(outcome.reason)), file=sys.stderr)
            earlier = f"; the results of the other folds are in {str(folder)!r}" if number else ""
            raise InputError(f"{outcome.trial.label} of {count} failed; see the error above{earlier}")
