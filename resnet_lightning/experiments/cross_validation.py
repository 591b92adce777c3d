"""k-fold cross-validation: one trial for each fold, and a table of the results."""

import datetime
import statistics
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from ..atomic_write import atomic_write_csv
from ..errors import InputError
from .launcher import Outcome
from .trials import Trial

PREFIX = "cross_validation_"
"""How the names of the folders of cross-validations begin."""


ACCURACIES = {"val/acc": "validation accuracy", "test/acc": "test accuracy"}
"""The metrics of an ``ImageClassifier``, and their columns."""

Fold = dict[str, float]
"""The results of one run, by metric.

Those of the validation are the values on the held-out fold after the last epoch. Those of the best epoch would be
biased, since the epoch is selected on the same images. Those of the test are of the run's best checkpoint.
"""


def trials_of_folds(num_folds: int) -> list[Trial]:
    """Returns a trial for each fold of the training set."""
    return [
        Trial(f"fold {fold}", {"data.num_folds": str(num_folds), "data.fold": str(fold)}) for fold in range(num_folds)
    ]


def result_of(outcome: Outcome) -> Fold:
    """Returns the results of a finished trial: the accuracies or, of a module that logs none, what it does log.

    Raises:
        InputError: if it logged nothing in validation.
    """
    run = outcome.run
    assert run is not None
    accuracies = {name: run.last(name) for name in ACCURACIES}
    if "val/acc" in run.curves and None not in accuracies.values():
        return {name: value for name, value in accuracies.items() if value is not None}
    tested = run.evaluation.metrics if run.evaluation else {}
    stages = [[name for name in (*run.curves, *tested) if name.startswith(stage)] for stage in ("val", "test")]
    found = {name: value for names in stages for name in names if (value := run.last(name)) is not None}
    if not stages[0]:
        raise InputError(
            f"no accuracies were logged in {str(run.folder.parents[1])!r}, nor any metric of a validation; "
            "cross-validation needs trainer.logger, complete epochs, and a name that begins with val, such as val/loss"
        )
    return found


def write_folds(folds: dict[int, Fold], folder: Path) -> None:
    """Writes the results of folds, by their numbers, into ``folds.csv``."""
    names = _names(list(folds.values()))
    titles = [ACCURACIES.get(name, name).replace(" ", "_") for name in names]
    rows = [[number, *(fold.get(name, "") for name in names)] for number, fold in sorted(folds.items())]
    atomic_write_csv(folder / "folds.csv", [["fold", *titles], *rows])


def as_table(folds: Sequence[Fold]) -> Table:
    """Returns a table with one row for each fold; its footer has the mean and the sample standard deviation (n - 1)."""
    names = _names(folds)
    table = Table("fold", *(ACCURACIES.get(name, name) for name in names), box=box.SIMPLE, show_footer=True)
    for number, fold in enumerate(folds):
        table.add_row(str(number), *(_shown(name, fold.get(name)) for name in names))
    table.columns[0].footer = "mean ± deviation"
    for column, name in zip(table.columns[1:], names, strict=True):
        column.justify = "right"
        values = [fold[name] for fold in folds if name in fold]
        if len(values) == len(folds):
            column.footer = f"{_shown(name, statistics.mean(values))} ± {_shown(name, statistics.stdev(values))}"
    return table


def _names(folds: Sequence[Fold]) -> list[str]:
    return list(dict.fromkeys(name for fold in folds for name in fold))


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2%}" if name in ACCURACIES else f"{value:.4g}"


def new_folder(base: Path) -> Path:
    """Returns a path below ``base`` with the current time in its name. The folder is not created."""
    return base / f"{PREFIX}{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}"
