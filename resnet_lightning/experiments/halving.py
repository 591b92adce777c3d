"""Successive halving: all settings train for a short time, and only the best of them go on (Jamieson, Talwalkar 2016).

A run that goes on resumes exactly, with the schedule of the whole training, so that its result is the one that it has
without halving.
"""

import math
import statistics
from collections.abc import Callable, Sequence

from ..runs.reader import Run
from .launcher import Outcome
from .trials import Trial

Setting = tuple[tuple[str, str], ...]


def rungs(max_epochs: int, count: int, eta: int) -> list[int]:
    """Returns the numbers of epochs after which settings are compared, and the whole length last.

    Args:
        max_epochs: the length of the training.
        count: the number of settings.
        eta: one of so many settings goes on, and trains so many times as long.
    """
    stages = [max_epochs]
    while len(stages) <= math.log(count + 0.5, eta) and stages[0] > 1:
        stages.insert(0, math.ceil(stages[0] / eta))
    return stages


def halve(
    run: Callable[[Sequence[Trial], int | None], Sequence[Outcome]],
    trials: Sequence[Trial],
    max_epochs: int,
    eta: int,
) -> list[Outcome]:
    """Runs trials, of which the worse settings are stopped early.

    Args:
        run: runs trials for a number of epochs, or to their end for None.
        trials: the trials. Those of one setting, with different seeds, are judged by their mean.
        max_epochs: the length of the training.
        eta: one of so many settings goes on.

    Returns:
        The last outcome of each trial.
    """
    settings = list(dict.fromkeys(trial.setting for trial in trials))
    stages = rungs(max_epochs, len(settings), eta)
    outcomes: dict[str, Outcome] = {}
    for stage, epochs in enumerate(stages):
        is_last = epochs == max_epochs
        left = [trial for trial in trials if trial.setting in settings]
        for outcome in run(left, None if is_last else epochs):
            outcomes[outcome.trial.label] = outcome
        if not is_last:
            scores = {setting: _score(setting, list(outcomes.values()), epochs) for setting in settings}
            best = sorted(settings, key=lambda setting: scores[setting], reverse=True)
            count = max(1, len({trial.setting for trial in trials}) // eta ** (stage + 1))
            settings = [setting for setting in best[:count] if scores[setting] > -math.inf]
    return [outcomes[trial.label] for trial in trials]


def _score(setting: Setting, outcomes: Sequence[Outcome], epochs: int) -> float:
    """Returns how good a setting is after some epochs, larger being better: the mean over its seeds."""
    own = [outcome for outcome in outcomes if outcome.trial.setting == setting]
    values = [score_of(outcome.run, epochs) if outcome.run else -math.inf for outcome in own]
    return statistics.fmean(values) if all(map(math.isfinite, values)) else -math.inf


def score_of(run: Run, epochs: int | None = None) -> float:
    """Returns the best value of the metric that a run monitors, larger being better; minus infinity without one.

    Args:
        run: the run.
        epochs: count only so many epochs; None for all.
    """
    points = run.curves.get(run.setting("checkpoint.monitor") or "", [])
    sign = -1 if run.setting("checkpoint.mode") == "min" else 1
    values = [sign * value for epoch, value in points if math.isfinite(value) and (epochs is None or epoch < epochs)]
    return max(values, default=-math.inf)
