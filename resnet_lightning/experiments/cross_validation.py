"""k-fold cross-validation: one training for each fold, and what they have in common."""

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
    """What came out of one training.

    Args:
        validation: accuracy on the part that was held out, after the last epoch: no choice of an epoch flatters it.
        test: accuracy of the run's best checkpoint on the test set.
    """

    validation: float
    test: float


def cross_validate(options: Sequence[str], num_folds: int, folder: Path) -> list[Fold]:
    """Runs ``lightning fit`` once for each fold, each in a process of its own.

    Args:
        options: what follows ``lightning fit``.
        num_folds: how many parts the training set is cut into.
        folder: where the runs are kept; ``folds.csv`` in it has the results.

    Raises:
        InputError: where a run fails, which it has said why, or has nothing to read its accuracy from.
    """
    results = []
    for fold in range(num_folds):
        root = folder / f"fold_{fold}"
        own = [f"--data.num_folds={num_folds}", f"--data.fold={fold}", f"--trainer.default_root_dir={root}"]
        done = subprocess.run([sys.executable, "-m", "resnet_lightning", "fit", *options, *own], check=False)
        if done.returncode:
            before = f"; the folds before it are in {str(folder)!r}" if fold else ""
            raise InputError(f"fold {fold} of {num_folds} did not end well (see above){before}")
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
            f"there are no accuracies in {str(root)!r}; cross-validation needs trainer.logger and whole epochs"
        )
    return Fold(validation=accuracies["val/acc"], test=accuracies["test/acc"])


def as_table(folds: Sequence[Fold]) -> Table:
    """A row for each fold; mean and standard deviation (of a single fold, n - 1) last."""
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
    """The name of a folder for the runs of now, below ``base``."""
    return base / f"cross_validation_{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}"
