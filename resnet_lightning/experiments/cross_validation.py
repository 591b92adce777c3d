"""k-fold cross-validation: one training run for each fold, and a table of the results."""

import csv
import datetime
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from ..atomic_write import atomic_write_csv
from ..errors import InputError


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


def cross_validate(options: Sequence[str], num_folds: int, folder: Path) -> list[Fold]:
    """Runs ``lightning fit`` once for each fold, each time in a new process.

    Args:
        options: the command line after ``lightning fit``.
        num_folds: the number of folds that the training set is split into.
        folder: the folder for the runs. The results are written to its ``folds.csv``.

    Returns:
        The result of each fold, in order.

    Raises:
        InputError: if a run fails, after printing its own error, or if it logged no accuracies.
    """
    results = []
    for fold in range(num_folds):
        root = folder / f"fold_{fold}"
        overrides = [f"--data.num_folds={num_folds}", f"--data.fold={fold}", f"--trainer.default_root_dir={root}"]
        done = subprocess.run([sys.executable, "-m", "resnet_lightning", "fit", *options, *overrides], check=False)
        if done.returncode:
            earlier = f"; the results of the earlier folds are in {str(folder)!r}" if fold else ""
            raise InputError(f"fold {fold} of {num_folds} failed; see the error above{earlier}")
        results.append(_read_result(root))
        rows = [[number, result.validation, result.test] for number, result in enumerate(results)]
        atomic_write_csv(folder / "folds.csv", [["fold", "validation_accuracy", "test_accuracy"], *rows])
    return results


def _read_result(root: Path) -> Fold:
    accuracies: dict[str, float] = {}
    for metrics in root.glob("*/*/metrics.csv"):
        with metrics.open() as file:
            for row in csv.DictReader(file):
                accuracies.update({name: float(row[name]) for name in ("val/acc", "test/acc") if row.get(name)})
    if len(accuracies) < 2:
        raise InputError(
            f"no accuracies were logged in {str(root)!r}; cross-validation needs trainer.logger and complete epochs"
        )
    return Fold(validation=accuracies["val/acc"], test=accuracies["test/acc"])


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
    return base / f"cross_validation_{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}"
