"""k-fold cross-validation: one trial for each fold, and a table of the results."""

import datetime
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from ..atomic_write import atomic_write_csv
from ..errors import InputError
from .launcher import Outcome
from .trials import Trial

PREFIX = "cross_validation_"
"""How the names of the folders of cross-validations begin."""


@dataclass(frozen=True)
class Fold:
    """The accuracies of one training run.

    Args:
        validation: accuracy on the held-out fold after the last epoch. That of the best epoch would be biased, since
            the epoch is selected on the same images.
        test: accuracy of the run's best checkpoint on the test set.
    """

    validation: float
    test: float


def trials_of_folds(num_folds: int) -> list[Trial]:
    """Returns a trial for each fold of the training set."""
    return [
        Trial(f"fold {fold}", {"data.num_folds": str(num_folds), "data.fold": str(fold)}) for fold in range(num_folds)
    ]


def result_of(outcome: Outcome) -> Fold:
    """Returns the accuracies of a finished trial.

    Raises:
        InputError: if it logged none.
    """
    run = outcome.run
    assert run is not None
    validation, test = run.last("val/acc"), run.last("test/acc")
    if validation is None or test is None or "val/acc" not in run.curves:
        raise InputError(
            f"no accuracies were logged in {str(run.folder.parents[1])!r}; cross-validation needs trainer.logger and "
            "complete epochs"
        )
    return Fold(validation, test)


def write_folds(folds: dict[int, Fold], folder: Path) -> None:
    """Writes the results of folds, by their numbers, into ``folds.csv``."""
    rows = [[number, fold.validation, fold.test] for number, fold in sorted(folds.items())]
    atomic_write_csv(folder / "folds.csv", [["fold", "validation_accuracy", "test_accuracy"], *rows])


def as_table(folds: Sequence[Fold]) -> Table:
    """Returns a table with one row for each fold; its footer has the mean and the sample standard deviation (n - 1)."""
    table = Table("fold", "validation accuracy", "test accuracy", box=box.SIMPLE, show_footer=True)
    for column in table.columns[1:]:
        column.justify = "right"
    for number, fold in enumerate(folds):
        table.add_row(str(number), f"{fold.validation:.2%}", f"{fold.test:.2%}")
    table.columns[0].footer = "mean ± deviation"
    for column, values in zip(table.columns[1:], ([f.validation for f in folds], [f.test for f in folds]), strict=True):
        column.footer = f"{statistics.mean(values):.2%} ± {statistics.stdev(values):.2%}"
    return table


def new_folder(base: Path) -> Path:
    """Returns a path below ``base`` with the current time in its name. The folder is not created."""
    return base / f"{PREFIX}{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}"
