"""Draws settings by the results so far, with Optuna's tree-structured Parzen estimator (Bergstra et al. 2011)."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..runs.comparison import settings
from ..runs.reader import Run, find_runs
from .drawing import Range
from .halving import score_of
from .launcher import Outcome, has_overrides
from .trials import Trial, canonical, labelled

Axes = Mapping[str, Sequence[str] | Range]
Setting = dict[str, str]

_ATTEMPTS = 50


@dataclass(frozen=True)
class Result:
    """A setting and its result.

    Args:
        setting: the values, as on the command line.
        score: the mean over the seeds, larger being better; None if a run of it failed.
    """

    setting: Setting
    score: float | None


def ask(axes: Axes, results: Sequence[Result], count: int, seed: int) -> list[Setting]:
    """Returns the next settings to run, which depend on the arguments alone.

    Args:
        axes: for each option, its values or their range.
        results: all results so far.
        count: how many settings to return; those that run side by side do not know of each other's results.
        seed: of the sampler.

    Raises:
        InputError: if Optuna is not installed.
    """
    optuna = _optuna()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=seed + len(results), constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    spaces = {key: _space(optuna, values) for key, values in axes.items()}
    for result in results:
        state = optuna.trial.TrialState.FAIL if result.score is None else optuna.trial.TrialState.COMPLETE
        params = {key: _number(axes[key], value) for key, value in result.setting.items()}
        study.add_trial(optuna.trial.create_trial(state=state, params=params, distributions=spaces, value=result.score))
    asked = [study.ask(spaces).params for _ in range(count)]
    return [{key: _text(axes[key], value) for key, value in params.items()} for params in asked]


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise InputError("--sampler tpe needs Optuna; install it: pip install 'resnet-lightning[optuna]'") from error
    return optuna


def _space(optuna: Any, values: Sequence[str] | Range) -> Any:
    if not isinstance(values, Range):
        return optuna.distributions.CategoricalDistribution(list(values))
    if values.is_int:
        return optuna.distributions.IntDistribution(int(values.low), int(values.high), log=values.is_log)
    return optuna.distributions.FloatDistribution(values.low, values.high, log=values.is_log)


def _number(values: Sequence[str] | Range, text: str) -> Any:
    return (int(text) if values.is_int else float(text)) if isinstance(values, Range) else text


def _text(values: Sequence[str] | Range, number: Any) -> str:
    return values.as_option(number) if isinstance(values, Range) else str(number)


def run_tpe(
    run: Callable[[Sequence[Trial]], Sequence[Outcome]],
    axes: Axes,
    seeds: Sequence[Setting],
    folder: Path,
    count: int,
    jobs: int,
    seed: int,
) -> list[Outcome]:
    """Runs settings until so many have a result. What ran before is read from the folder.

    Args:
        run: runs trials.
        axes: for each option, its values or their range.
        seeds: the overrides of the seed; each setting runs with all of them.
        folder: the folder of the runs.
        count: the number of settings.
        jobs: how many runs train at a time; as many settings are asked for at once.
        seed: of the sampler.
    """
    outcomes: dict[str, Outcome] = {}
    known = _known_settings(folder, axes)
    while True:
        trials = [labelled({**setting, **one}) for setting in known[:count] for one in seeds]
        missing = [trial for trial in trials if trial.label not in outcomes]
        for outcome in run(missing) if missing else []:
            outcomes[outcome.trial.label] = outcome
        if len(known) >= count:
            return [outcomes[trial.label] for trial in trials]
        results = [
            _result(setting, [outcomes[labelled({**setting, **one}).label] for one in seeds]) for setting in known
        ]
        new = _ask_for_new(axes, results, min(max(1, jobs // len(seeds)), count - len(known)), seed)
        if not new:  # all have been run
            return [outcomes[trial.label] for trial in trials]
        known += new


def _ask_for_new(axes: Axes, results: Sequence[Result], count: int, seed: int) -> list[Setting]:
    """Returns the next settings that have not been run; none if the sampler finds none."""
    known = [result.setting for result in results]
    for attempt in range(_ATTEMPTS):
        new: list[Setting] = []
        for setting in ask(axes, results, count, seed + 1000 * attempt):
            if setting not in known and setting not in new:
                new.append(setting)
        if new:
            return new
    return []


def _known_settings(folder: Path, axes: Axes) -> list[Setting]:
    """The settings of the runs in a folder, in the order in which they were started."""
    found: dict[tuple[str, ...], Setting] = {}
    for run in sorted(find_runs(folder), key=lambda run: run.started):
        setting = {key: _value(run, key, values) for key, values in axes.items()}
        if all(value is not None for value in setting.values()):
            whole = {key: str(value) for key, value in setting.items()}
            found.setdefault(tuple(whole.values()), whole)
    return list(found.values())


def _value(run: Run, key: str, values: Sequence[str] | Range) -> str | None:
    """Returns the value of an option in a run's config; None if it is not one of those that are drawn from."""
    if not isinstance(values, Range):
        return next((value for value in values if has_overrides(run, {key: value})), None)
    number = settings(run).get(key)
    if isinstance(number, bool) or not isinstance(number, int | float) or not values.low <= number <= values.high:
        return None
    return canonical(str(number)) if not values.is_int or number == int(number) else None


def _result(setting: Setting, outcomes: Sequence[Outcome]) -> Result:
    scores = [score_of(outcome.run) if outcome.run else -math.inf for outcome in outcomes]
    return Result(setting, statistics.fmean(scores) if all(map(math.isfinite, scores)) else None)
