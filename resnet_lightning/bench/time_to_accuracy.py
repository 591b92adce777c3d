"""Measures how long the scripts of the worked examples, and our configs of the same tasks, take to an accuracy."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..experiments.processes import last_error
from ..experiments.studies.data_sets import study_data
from .rows import Row
from .run_parts import run

_SCRIPTS = "resnet_lightning.experiments.studies.worked_scripts"


@dataclass(frozen=True)
class Task:
    """A worked example.

    Args:
        data: the name of its data set, as in a study.
        config: our config.
        script: the module of its script in plain PyTorch.
        epochs: the number of epochs of the script.
        target: the test accuracy to reach.
    """

    data: str
    config: str
    script: str
    epochs: int
    target: float


TASKS = {
    "airplane_bird": Task("cifar10", "speed/airplane_bird", f"{_SCRIPTS}.airplane_bird_resnet34", 5, 0.899),
    "mnist": Task("mnist", "speed/mnist", f"{_SCRIPTS}.mnist_resnet50", 20, 0.9839),
}


@dataclass(frozen=True)
class Result:
    """A training that has ended.

    Args:
        accuracy: the share of test images that the network of its end classifies correctly.
        training: the seconds of the training.
        wall: the seconds of the whole command.
    """

    accuracy: float
    training: float
    wall: float


def time_to_accuracy(
    task: Task, *, runs: int, root: Path, their_epochs: int | None = None, further: Sequence[str] = ()
) -> Iterator[Row]:
    """Trains both with each seed, in turns, and yields a row for each seed and two of them all.

    Args:
        task: the worked example.
        runs: number of seeds.
        root: the folder of the data sets, as for ``lightning study``.
        their_epochs: so many epochs of the script are timed; its seconds are computed for all of its epochs.
        further: further words of our command line.
    """
    ours: list[Result] = []
    theirs: list[Result] = []
    epochs = min(their_epochs or task.epochs, task.epochs)
    for seed in range(runs):
        for side in (ours, theirs) if seed % 2 == 0 else (theirs, ours):
            side.append(_ours(task, seed, root, further) if side is ours else _theirs(task, seed, root, epochs))
        yield Row(f"seed {seed}", _in_words(ours[-1]), _in_words(theirs[-1]))
    yield from summary(task, ours, theirs, epochs)


def summary(task: Task, ours: Sequence[Result], theirs: Sequence[Result], their_epochs: int) -> Iterator[Row]:
    """Yields a row of the seconds of the commands, and one of the trainings."""
    for what, name in ("the whole command", "wall"), ("the training alone", "training"):
        sides = [[getattr(result, name) for result in results] for results in (ours, theirs)]
        medians = [statistics.median(seconds) for seconds in sides]
        cells = [f"{median:.1f} s ({min(s):.1f} to {max(s):.1f})" for median, s in zip(medians, sides, strict=True)]
        reached = f"{task.target:.2%} reached in {_reached(ours, task.target)}"
        if their_epochs < task.epochs:
            reached += f" of our runs; theirs computed from {their_epochs} of {task.epochs} epochs"
        else:
            reached += f" and {_reached(theirs, task.target)} runs"
        result = f"{medians[1] / medians[0]:.1f} times as fast; {reached}"
        yield Row(f"{what}, seeds: {len(ours)}", cells[0], cells[1], result)


def _in_words(result: Result) -> str:
    return f"{result.accuracy:.2%}, {result.wall:.1f} s"


def _reached(results: Sequence[Result], target: float) -> str:
    """States how many runs reach the target, and whether that is enough: all but one, or the only one."""
    count = sum(result.accuracy >= target for result in results)
    enough = count >= max(len(results) - 1, 1)
    return f"{count} of {len(results)} ({'enough' if enough else 'too few'})"


def _ours(task: Task, seed: int, root: Path, further: Sequence[str]) -> Result:
    settings = study_data(task.data, root).settings
    data = [f"--{key}={value}" for key, value in settings.items() if key != "data.augment"]
    words = ["fit", "--config", task.config, "--overlay", "fast", *data, f"--seed_everything={seed}", *further]
    with tempfile.TemporaryDirectory() as folder:
        done = run(words, Path(folder))
        return Result(done.test_accuracy, done.training_seconds, done.seconds)


def _theirs(task: Task, seed: int, root: Path, epochs: int) -> Result:
    folder = study_data(task.data, root).settings["data.root"]
    command = [sys.executable, "-m", task.script, f"root={folder}", f"epochs={epochs}", f"seed={seed}"]
    with tempfile.TemporaryDirectory() as name:
        log = Path(name, "log.txt")
        started = time.perf_counter()
        with log.open("wb") as output:
            code = subprocess.run(command, stdin=-3, stdout=output, stderr=output, check=False).returncode
        wall = time.perf_counter() - started
        if code:
            raise RuntimeError(last_error(log) or f"exit code {code}")
        found = json.loads(log.read_text().strip().splitlines()[-1])
    training = float(found["seconds"]) * task.epochs / epochs
    return Result(float(found["test_accuracy"]), training, wall - float(found["seconds"]) + training)
