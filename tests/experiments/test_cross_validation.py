"""`lightning cross_validate`: a run for each fold, their mean, and how it ends where one fails."""

import csv
import re
import statistics
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console

from resnet_lightning import DigitsDataModule
from resnet_lightning.cli.main import main
from resnet_lightning.experiments.cross_validation import Fold, as_table
from runs_alike import DIGITS, SMALL

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")

CONFIG = ["--config", DIGITS]
SHORT = [*CONFIG, *SMALL, "--trainer.max_epochs", "2", "--trainer.limit_train_batches", "12"]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def last_value(rows: list[dict[str, str]], name: str) -> float:
    return float([row[name] for row in rows if row[name]][-1])


def error_lines(capfd, *arguments: str) -> list[str]:
    """The error lines of a command that has to fail, and of the runs that it started."""
    capfd.readouterr()
    assert main(["cross_validate", *arguments]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert all(line.startswith("error: ") for line in lines), lines
    return lines


@pytest.mark.slow
def test_each_fold_is_trained_and_the_accuracies_are_shown_and_written(capfd):
    """Each run gets its own fold, whichever is typed."""
    options = ["--data.num_folds", "2", "--data.fold", "1"]
    options += ["--trainer.default_root_dir", "kept", "--seed_everything", "4"]
    assert main(["cross_validate", *SHORT, *options]) == 0
    printed, errors = capfd.readouterr()
    assert not errors
    (folder,) = Path("kept").iterdir()
    assert re.fullmatch(r"cross_validation_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", folder.name)
    assert str(folder) in printed
    assert sorted(path.name for path in folder.iterdir()) == ["fold_0", "fold_1", "folds.csv"]
    rows = rows_of(folder / "folds.csv")
    assert [row["fold"] for row in rows] == ["0", "1"]

    # The table holds the accuracies of the runs, which have their options.
    for number, row in enumerate(rows):
        (run,) = (folder / f"fold_{number}" / "digits").iterdir()
        metrics = rows_of(run / "metrics.csv")
        assert float(row["validation_accuracy"]) == last_value(metrics, "val/acc")
        assert float(row["test_accuracy"]) == last_value(metrics, "test/acc")
        config = yaml.safe_load((run / "config.yaml").read_text())
        options = config["data"]["init_args"]
        assert (options["num_folds"], options["fold"], config["seed_everything"]) == (2, number, 4)
        assert max(int(line["epoch"]) for line in metrics if line["val/acc"]) == 1
        assert (run / "checkpoints" / "last.ckpt").is_file()

    # The printed numbers are those of the table.
    (footer,) = [line for line in printed.splitlines() if line.strip().startswith("mean ± deviation")]
    for name in "validation_accuracy", "test_accuracy":
        values = [float(row[name]) for row in rows]
        mean = sum(values) / 2
        deviation = abs(values[0] - values[1]) / 2**0.5
        assert f"{mean:.2%} ± {deviation:.2%}" in footer
        assert all(f"{value:.2%}" in printed for value in values)
    assert len({row["validation_accuracy"] for row in rows}) > 1


def test_the_folds_of_the_digits_are_three_parts_of_the_training_set():
    parts = [DigitsDataModule(num_folds=3, fold=fold) for fold in range(3)]
    whole = torch.cat([part.split("val").indices for part in parts])
    assert torch.equal(whole.sort().values, torch.arange(1442))
    for part in parts:
        both = torch.cat([part.split("val").indices, part.split("train").indices])
        assert torch.equal(both.sort().values, torch.arange(1442))


def test_the_table_has_a_row_for_each_fold_and_mean_and_deviation_last():
    values = [0.9, 0.8, 0.7, 0.95]
    folds: list[Fold] = [{"val/acc": value, "test/acc": value / 2} for value in values]
    console = Console(width=100)
    with console.capture() as captured:
        console.print(as_table(folds))
    lines = [" ".join(line.split()) for line in captured.get().splitlines()]
    for number, value in enumerate(values):
        assert f"{number} {value:.2%} {value / 2:.2%}" in lines
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    half = f"{mean / 2:.2%} ± {deviation / 2:.2%}"
    assert f"mean ± deviation {mean:.2%} ± {deviation:.2%} {half}" in lines


# Errors.


@pytest.mark.parametrize("folds", ["1", "0", "-3"])
def test_fewer_than_two_folds_are_refused(folds, capfd):
    lines = error_lines(capfd, *CONFIG, f"--data.num_folds={folds}")
    assert lines == [f"error: --data.num_folds is {folds}; give at least 2"]
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize("options", [["--data.num_folds", "many"], ["--data.num_folds"]], ids=str)
def test_a_number_of_folds_that_is_none_is_one_line(options, capfd):
    assert main(["cross_validate", *CONFIG, *options]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: argument --data.num_folds: ")


@pytest.mark.slow
def test_an_error_of_fit_ends_it_at_the_first_fold(capfd):
    of_fit, own = error_lines(capfd, *CONFIG, "--data.num_folds", "1443")
    assert all(word in of_fit for word in ("data.num_folds", "1443", "1442")), of_fit
    assert own.startswith("error: fold 0 of 1443 failed; see the error above")
    assert not list(Path.cwd().rglob("folds.csv"))


@pytest.mark.slow
def test_runs_that_leave_no_accuracies_are_an_error(capfd):
    short = ["--data.num_folds", "2", "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1"]
    (line,) = error_lines(capfd, *SHORT, *short, "--trainer.logger", "false")
    assert "no accuracies were logged in" in line
    assert "trainer.logger" in line


@pytest.mark.parametrize("fold", ["3", "-1"])
def test_a_fold_that_does_not_exist_is_refused(fold, capfd):
    capfd.readouterr()
    assert main(["fit", *CONFIG, "--data.num_folds", "3", "--data.fold", fold]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line == f"error: data.fold is {fold}; there are the folds 0 to 2"
