"""``lightning bench time_to_accuracy`` trains both ways on the same files and states what reached the target."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_lightning.bench.time_to_accuracy import TASKS, Result, summary, time_to_accuracy
from resnet_lightning.cli.main import main


def results(*accuracies: float, seconds: float) -> list[Result]:
    return [Result(accuracy, seconds, seconds + i) for i, accuracy in enumerate(accuracies, 1)]


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ((0.95, 0.95, 0.95), "3 of 3 (enough)"),
        ((0.95, 0.95, 0.80), "2 of 3 (enough)"),
        ((0.95, 0.80, 0.80), "1 of 3 (too few)"),
        ((0.899,), "1 of 1 (enough)"),
        ((0.898,), "0 of 1 (too few)"),
    ],
    ids=str,
)
def test_all_runs_but_one_have_to_reach_the_target(accuracies, expected):
    good = results(*[0.9] * len(accuracies), seconds=10)
    wall, _ = summary(TASKS["airplane_bird"], results(*accuracies, seconds=10), good, 5)
    assert f"reached in {expected} and {len(good)} of {len(good)} (enough) runs" in wall.result


def test_seconds_are_medians_with_their_spread():
    ours, theirs = results(0.9, 0.9, 0.9, seconds=1), results(0.9, 0.9, 0.9, seconds=10)
    wall, training = summary(TASKS["airplane_bird"], ours, theirs, 5)
    assert (wall.ours, wall.theirs) == ("3.0 s (2.0 to 4.0)", "12.0 s (11.0 to 13.0)")
    assert wall.result.startswith("4.0 times as fast; ")
    assert (training.ours, training.theirs) == ("1.0 s (1.0 to 1.0)", "10.0 s (10.0 to 10.0)")
    assert "computed" not in training.result
    wall, _ = summary(TASKS["airplane_bird"], ours, theirs, 2)
    assert wall.result.endswith("; theirs computed from 2 of 5 epochs")


def write_images(root: Path) -> None:
    generator = np.random.default_rng(0)
    for part, count in ("train", 64), ("test", 16):
        for name in "airplane", "bird", "cat":
            folder = root / "cifar10-jpeg" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(generator.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{i}.jpg")


@pytest.mark.slow
def test_both_train_on_the_same_files(tmp_path):
    write_images(tmp_path)
    task = TASKS["airplane_bird"]
    rows = list(time_to_accuracy(task, runs=1, root=tmp_path, their_epochs=1, further=["--trainer.max_epochs=1"]))
    assert [row.work for row in rows] == ["seed 0", "the whole command, seeds: 1", "the training alone, seeds: 1"]
    assert "times as fast" in rows[1].result
    assert rows[1].result.endswith("theirs computed from 1 of 5 epochs")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--task", "birds"], "--task is 'birds'; "),
        (["--runs", "0"], "--runs is 0; give at least 1"),
        (["--their_epochs", "0"], "--their_epochs is 0; give at least 1"),
    ],
    ids=" ".join,
)
def test_bad_options_are_one_line(options, error, capsys):
    assert main(["bench", "time_to_accuracy", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {error}")
