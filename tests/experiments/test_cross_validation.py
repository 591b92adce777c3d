"""`lightning cross_validate`: a run for each fold, what they have in common, and how it ends where one fails."""

import csv
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console

from repository import ROOT
from resnet_lightning import DigitsDataModule
from resnet_lightning.cli.main import main
from resnet_lightning.experiments.cross_validation import Fold, as_table, new_folder

DIGITS = ["--config", str(ROOT / "configs" / "digits.yaml")]
SHORT = [
    *(*DIGITS, "--model.backbone", "resnet_lightning.models.cifar.cifar_resnet", "--model.backbone_args", "{depth: 8}"),
    *("--trainer.max_epochs", "2", "--trainer.limit_train_batches", "12"),
]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def last_value(rows: list[dict[str, str]], name: str) -> float:
    return float([row[name] for row in rows if row[name]][-1])


def error_lines(capfd, *arguments: str) -> list[str]:
    """What a command that has to fail says, and the runs that it started."""
    capfd.readouterr()
    assert main(["cross_validate", *arguments]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert all(line.startswith("error: ") for line in lines), lines
    return lines


@pytest.mark.slow
def test_three_folds_are_trained_and_their_accuracies_shown_and_written():
    command = [sys.executable, "-m", "resnet_lightning", "cross_validate", *SHORT, "--data.num_folds", "3"]
    options = ["--trainer.default_root_dir", "kept", "--seed_everything", "4"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    (folder,) = Path("kept").iterdir()
    assert re.fullmatch(r"cross_validation_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", folder.name)
    assert str(folder) in done.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["fold_0", "fold_1", "fold_2", "folds.csv"]
    rows = rows_of(folder / "folds.csv")
    assert [row["fold"] for row in rows] == ["0", "1", "2"]

    # What is written is what the runs came to, with their options.
    for number, row in enumerate(rows):
        (run,) = (folder / f"fold_{number}" / "digits").iterdir()
        metrics = rows_of(run / "metrics.csv")
        assert float(row["validation_accuracy"]) == last_value(metrics, "val/acc")
        assert float(row["test_accuracy"]) == last_value(metrics, "test/acc")
        config = yaml.safe_load((run / "config.yaml").read_text())
        options = config["data"]["init_args"]
        assert (options["num_folds"], options["fold"], config["seed_everything"]) == (3, number, 4)
        assert max(int(line["epoch"]) for line in metrics if line["val/acc"]) == 1
        assert (run / "checkpoints" / "last.ckpt").is_file()

    # What is printed is what is written.
    (footer,) = [line for line in done.stdout.splitlines() if line.strip().startswith("mean ± deviation")]
    for name in "validation_accuracy", "test_accuracy":
        values = [float(row[name]) for row in rows]
        mean = sum(values) / 3
        deviation = (sum((value - mean) ** 2 for value in values) / 2) ** 0.5
        assert f"{mean:.2%} ± {deviation:.2%}" in footer
        assert all(f"{value:.2%}" in done.stdout for value in values)
    assert len({row["validation_accuracy"] for row in rows}) > 1


def test_the_folds_of_the_digits_are_three_parts_of_the_training_set():
    parts = [DigitsDataModule(num_folds=3, fold=fold) for fold in range(3)]
    whole = torch.cat([part.split("val").indices for part in parts])
    assert torch.equal(whole.sort().values, torch.arange(1442))
    for part in parts:
        both = torch.cat([part.split("val").indices, part.split("train").indices])
        assert torch.equal(both.sort().values, torch.arange(1442))


@pytest.mark.parametrize("values", [[0.5, 0.25], [0.9, 0.8, 0.7, 0.95]])
def test_the_table_has_a_row_for_each_fold_and_mean_and_deviation_last(values):
    folds = [Fold(validation=value, test=value / 2) for value in values]
    console = Console(width=100)
    with console.capture() as captured:
        console.print(as_table(folds))
    lines = [" ".join(line.split()) for line in captured.get().splitlines()]
    for number, value in enumerate(values):
        assert f"{number} {value:.2%} {value / 2:.2%}" in lines
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    half = f"{mean / 2:.2%} ± {deviation / 2:.2%}"
    assert f"mean ± deviation {mean:.2%} ± {deviation:.2%} {half}" in lines


def test_the_folder_has_the_time_in_its_name():
    assert new_folder(Path("a")).parent == Path("a")
    assert new_folder(Path("a")).name.startswith("cross_validation_20")


# What cannot be done.


@pytest.mark.parametrize("folds", ["1", "0", "-3"])
def test_fewer_than_two_folds_are_refused(folds, capfd):
    lines = error_lines(capfd, *DIGITS, f"--data.num_folds={folds}")
    assert lines == [f"error: --data.num_folds is {folds}; give at least 2"]
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize("options", [["--data.num_folds", "many"], ["--data.num_folds"]], ids=str)
def test_a_number_of_folds_that_is_none_shows_the_usage(options, capfd):
    with pytest.raises(SystemExit) as stopped:
        main(["cross_validate", *DIGITS, *options])
    assert stopped.value.code == 2
    assert "--data.num_folds" in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data.batchsize", "3"], ["batchsize", "did you mean"]),
        (["--data.num_folds", "1443"], ["data.num_folds", "1443", "1442"]),
    ],
    ids=str,
)
def test_what_fit_refuses_ends_at_the_first_fold(options, words, capfd):
    number = "1443" if "1443" in options else "5"
    of_fit, own = error_lines(capfd, *DIGITS, *options)
    assert all(word in of_fit for word in words), of_fit
    assert own.startswith(f"error: fold 0 of {number} did not end well (see above)")
    assert not list(Path.cwd().rglob("folds.csv"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [["--trainer.logger", "false"], ["--trainer.fast_dev_run", "true"]], ids=["no log", "one batch"]
)
def test_runs_that_leave_no_accuracies_are_an_error(options, capfd):
    (line,) = error_lines(capfd, *SHORT, "--data.num_folds", "2", "--trainer.max_epochs", "1", *options)
    assert "there are no accuracies" in line
    assert "trainer.logger" in line


@pytest.mark.parametrize("fold", ["3", "-1"])
def test_a_fold_that_does_not_exist_is_refused(fold, capfd):
    capfd.readouterr()
    assert main(["fit", *DIGITS, "--data.num_folds", "3", "--data.fold", fold]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line == f"error: data.fold is {fold}; there are the folds 0 to 2"


@pytest.mark.slow
def test_a_fold_that_is_typed_does_not_matter(capfd):
    """Each run gets its own."""
    options = ["--data.fold", "1", "--data.num_folds", "2", "--trainer.max_epochs", "1"]
    assert main(["cross_validate", *SHORT, *options]) == 0
    assert "mean ± deviation" in capfd.readouterr().out
    configs = sorted(Path("runs").rglob("config.yaml"))
    assert [yaml.safe_load(path.read_text())["data"]["init_args"]["fold"] for path in configs] == [0, 1]
