"""In what runs differ, which of them compare, and what they come to together."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import configs
from .configs import as_text
from .reader import Run

FINAL = "test/acc", "test/loss", "val/acc", "val/loss", "train/acc", "train/loss"
"""The metrics that runs are compared by."""

# Where a run is written to, and what is shown of it, makes no other result.
_ELSEWHERE = {"trainer.default_root_dir", "trainer.logger", "checkpoint.dirpath", "data.predict_folder"}
_OF_THE_DATA = (
    "data",
    *(f"data.{name}" for name in "root classes val_split num_folds split_seed train_fraction".split()),
)


def settings(run: Run) -> dict[str, Any]:
    """The config, flat, under the keys that the command line takes: ``model.lr``, ``data.batch_size``."""
    return configs.flatten(run.config, leave_out=_ELSEWHERE)


def differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """The settings that are not the same in all runs: for each, what it is in every run."""
    return configs.differences([settings(run) for run in runs])


def data_settings(run: Run) -> dict[str, str]:
    """The settings that say which images a run was trained and tested with."""
    of_all = settings(run)
    return {key: as_text(of_all[key]) for key in _OF_THE_DATA if key in of_all}


def by_data(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs whose accuracies compare, together: those with the same data, classes and split."""
    same_settings: dict[str, list[Run]] = {}
    for run in runs:
        same_settings.setdefault(json.dumps(data_settings(run)), []).append(run)
    found: list[list[Run]] = []
    for some in same_settings.values():
        named = {tuple(run.tested.classes) for run in some if run.tested}
        if len(named) < 2:  # those of which no names are known go with the others
            found.append(some)
            continue
        same_names: dict[tuple[str, ...] | None, list[Run]] = {}
        for run in some:
            same_names.setdefault(tuple(run.tested.classes) if run.tested else None, []).append(run)
        found += same_names.values()
    return found


def by_seed(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs of the same data that differ in nothing but the seed, together."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps({**settings(run), "seed_everything": None}, default=str), []).append(run)
    return list(groups.values())


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (of a single run, n - 1) of a metric over ``n`` runs; of one there is none."""

    n: int
    mean: float
    deviation: float | None


def final_metrics(group: Sequence[Run]) -> dict[str, Spread]:
    """What the complete runs of a group ended with. Of several with the same seed the newest counts."""
    counted = {_seed_or_folder(run): run for run in sorted(group, key=lambda run: run.started) if run.is_complete}
    found = {}
    for metric in FINAL:
        values = [value for run in counted.values() if (value := run.last(metric)) is not None]
        if values:
            are_finite = all(map(math.isfinite, values))
            mean = statistics.fmean(values) if are_finite else math.nan
            deviation = statistics.stdev(values) if are_finite and len(values) > 1 else None
            found[metric] = Spread(len(values), mean, deviation)
    return found


def _seed_or_folder(run: Run) -> str:
    """What is the same for runs that repeat each other: those without a seed never do."""
    seed = run.config.get("seed_everything")
    return str(seed) if isinstance(seed, int) and not isinstance(seed, bool) else str(run.folder)


def seed_of(run: Run) -> str:
    return as_text(run.config.get("seed_everything"))
