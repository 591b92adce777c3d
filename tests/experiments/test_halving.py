"""Which settings successive halving stops, and when."""

import datetime
from pathlib import Path

import pytest

from resnet_lightning.experiments.halving import halve, rungs
from resnet_lightning.experiments.launcher import Outcome
from resnet_lightning.experiments.trials import grid
from resnet_lightning.runs.reader import Run


@pytest.mark.parametrize(
    ("max_epochs", "count", "eta", "expected"),
    [
        (27, 9, 3, [3, 9, 27]),
        (30, 6, 3, [10, 30]),
        (4, 4, 2, [1, 2, 4]),
        (10, 1, 3, [10]),
        (2, 100, 3, [1, 2]),
        (1, 9, 3, [1]),
    ],
)
def test_the_stages(max_epochs, count, eta, expected):
    assert rungs(max_epochs, count, eta) == expected


def run_with(accuracies: list[float], state: str, max_epochs: int) -> Run:
    config = {"checkpoint": {"monitor": "val/acc", "mode": "max"}, "trainer": {"max_epochs": max_epochs}}
    curve = list(enumerate(accuracies))
    return Run(Path("run"), config, {}, state, datetime.datetime.now(), {"val/acc": curve}, None, ())


def test_one_of_three_settings_goes_on_judged_by_the_mean_of_its_seeds():
    trials = list(grid({"x": [str(x) for x in range(9)], "seed_everything": ["0", "1"]}))
    log: list[tuple[int | None, int]] = []

    def accuracy(trial, epoch: int) -> float:
        seed = int(trial.overrides["seed_everything"])
        x = int(trial.overrides["x"])
        late = 1.0 if epoch >= 3 and x == 0 else 0.0  # comes too late, and counts no more
        return x / 10 + epoch / 100 + (0.9 if (x, seed) == (1, 0) else 0.0) + late

    def run(chosen, epochs):
        log.append((epochs, len(chosen)))
        return [
            Outcome(trial, run_with([accuracy(trial, epoch) for epoch in range(epochs or 9)], "stopped", 9))
            if trial.overrides["x"] != "8"
            else Outcome(trial, None, "the loss is nan")
            for trial in chosen
        ]

    outcomes = halve(run, trials, 9, 3)
    assert log == [(1, 18), (3, 6), (None, 2)]
    assert [outcome.trial for outcome in outcomes] == trials
    lengths = {o.trial.overrides["x"]: len(o.run.curves["val/acc"]) for o in outcomes if o.run}
    assert lengths == {"0": 1, "1": 3, "2": 1, "3": 1, "4": 1, "5": 1, "6": 3, "7": 9}
