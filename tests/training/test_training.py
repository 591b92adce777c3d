"""Whole trainings, each by the command that a user would type."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from repository import ROOT


def read_test_accuracy(folder: Path) -> float:
    with (folder / "metrics.csv").open() as file:
        return float([row["test/acc"] for row in csv.DictReader(file) if row["test/acc"]][-1])


def fit(folder: Path, config: str, *options: str) -> float:
    """Runs a shipped config, and returns its accuracy on the test set."""
    program = Path(sys.executable).with_name("lightning")
    command = [program, "fit", "--config", ROOT / "configs" / f"{config}.yaml", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "runs" / config).iterdir()
    return read_test_accuracy(run)


@pytest.mark.slow
def test_digits_reach_their_accuracy(tmp_path):
    assert fit(tmp_path, "digits") >= 0.985


@pytest.mark.slow
def test_mnist_learns_from_a_third_of_an_epoch(tmp_path, real_data):
    """The README has the accuracy of the whole training, which takes minutes."""
    options = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "140"]
    assert fit(tmp_path, "mnist_resnet18", "--data.root", str(real_data), *options) >= 0.97


@pytest.mark.slow
def test_airplanes_and_birds_are_told_apart_on_a_folder_of_images(tmp_path, real_data):
    """The command line replaces the data module. Chance is 50 %; the README has the accuracy of the whole training."""
    data = ["--data", "ImageFolderDataModule", "--data.root", str(real_data / "cifar10-jpeg")]
    assert fit(tmp_path, "cifar10_airplane_bird_resnet34", *data, "--trainer.max_epochs", "1") >= 0.75
