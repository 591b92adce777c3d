"""Compares runs: which settings differ, which results are comparable, and means over seeds."""

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import configs
from .configs import as_text
from .reader import Run

FINAL = "test/acc", "test/loss", "val/acc", "val/loss", "train/acc", "train/loss"
"""The metrics of every run that are compared, in the order of the tables."""

REPEATS = "seed_everything", "data.fold"
"""Runs that differ in nothing else repeat one setting."""

# These settings do not change a run's results.
_IGNORED = {
    *("checkpoint.dirpath", "data.predict_folder", "trainer.default_root_dir", "trainer.logger"),
    *("trainer.enable_model_summary", "trainer.enable_progress_bar", "trainer.log_every_n_steps"),
}
_DATA_SETTINGS = (
    "data",
    *(f"data.{name}" for name in "root classes val_split num_folds split_seed train_fraction".split()),
    *(f"data.{name}" for name in "table file_column label_column split_column group_column".split()),
    *("data.group_file", "data.split_file"),
)


def settings(run: Run) -> dict[str, Any]:
    """The flattened config, with the keys of the command line: ``model.lr``, ``data.batch_size``."""
    return configs.flatten(run.config, leave_out=_IGNORED)


def differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """The settings that are not the same in all runs, each with its value in every run; a dash if it has none."""
    return configs.differences([settings(run) for run in runs])


def data_settings(run: Run) -> dict[str, str]:
    """The settings that determine the images of training, validation and test."""
    flat = settings(run)
    return {key: as_text(flat[key]) for key in _DATA_SETTINGS if key in flat}


def by_data(runs: Sequence[Run]) -> list[list[Run]]:
    """Groups runs by data, classes and split. Accuracies are comparable within a group only."""
    groups: list[list[Run]] = []
    for same_settings in _grouped(runs, data_settings):
        # The class names of a run without an evaluation are unknown. This matters only if the other runs differ.
        same_classes = _grouped(same_settings, _class_names)
        known = [group for group in same_classes if _class_names(group[0]) is not None]
        groups += same_classes if len(known) > 1 else [same_settings]
    return groups


def by_seed(runs: Sequence[Run]) -> list[list[Run]]:
    """Groups runs on the same data by setting: the runs of a group differ in nothing but the seed or the fold."""
    return _grouped(runs, lambda run: {**settings(run), **dict.fromkeys(REPEATS)})


def _grouped(runs: Sequence[Run], key: Callable[[Run], Any]) -> list[list[Run]]:
    """Groups runs whose keys are equal as JSON, in the order of their first runs."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps(key(run), default=str), []).append(run)
    return list(groups.values())


def _class_names(run: Run) -> list[str] | None:
    return run.evaluation.classes if run.evaluation else None


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1) of a metric over ``n`` runs; a single run has no deviation."""

    n: int
    mean: float
    deviation: float | None


def compared_metrics(runs: Sequence[Run]) -> list[str]:
    """The metrics that are compared: ``FINAL``, and after them the test and validation metrics that configs add."""
    own = {name: None for run in runs for stage in ("test", "val") for name in own_metrics(run, stage)}
    return [*FINAL, *sorted(own, key=lambda name: name.startswith("val/"))]


def own_metrics(run: Run, stage: str) -> list[str]:
    """The metrics of a stage that a run's config adds and that are single numbers, such as ``test/f1``.

    Those with a value for each class have a further part in their name, such as ``test/recall/cat``.
    """
    logged = [*run.curves, *(run.evaluation.metrics if run.evaluation else ())]
    named = [name for name in logged if name.startswith(f"{stage}/") and name.count("/") == 1]
    return [name for name in dict.fromkeys(named) if name not in FINAL and name != f"{stage}/acc5"]


def counted_runs(group: Sequence[Run]) -> list[Run]:
    """The runs of a setting that its means are taken over: the complete ones, only the newest of each seed and fold."""
    newest = {repeat_of(run): run for run in sorted(group, key=lambda run: run.started) if run.is_complete}
    return list(newest.values())


def final_metrics(group: Sequence[Run]) -> dict[str, Spread]:
    """The final metrics of the complete runs of a group, with only the newest run of each seed and fold."""
    counted = counted_runs(group)
    found = {
        metric: spread([value for run in counted if (value := run.last(metric)) is not None])
        for metric in compared_metrics(group)
    }
    return {metric: values for metric, values in found.items() if values}


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and deviation of values; None without values. If one of them is not finite, the mean is not a number."""
    if not values:
        return None
    are_finite = all(map(math.isfinite, values))
    mean = statistics.fmean(values) if are_finite else math.nan
    return Spread(len(values), mean, statistics.stdev(values) if are_finite and len(values) > 1 else None)


def repeat_of(run: Run) -> tuple[str, str]:
    """The seed and the fold. Without a seed it is the folder: then no run repeats another."""
    seed = run.config.get("seed_everything")
    is_set = isinstance(seed, int) and not isinstance(seed, bool)
    return str(seed) if is_set else str(run.folder), as_text(settings(run).get("data.fold"))


def seed_of(run: Run) -> str:
    return as_text(run.config.get("seed_everything"))


# Labels for tables.


def numbered(runs: Sequence[Run]) -> dict[Path, str]:
    """The number of each run in tables, by its folder: 1, 2, 3."""
    return {run.folder: str(number) for number, run in enumerate(runs, start=1)}


def run_numbers(runs: Sequence[Run], numbers: Mapping[Path, str]) -> str:
    """Formats the numbers of runs, such as ``run 1``, ``runs 1, 3`` or ``runs 1-5, 7``."""
    texts = [numbers[run.folder] for run in runs]
    ranges: list[list[int]] = []
    for number in sorted(map(int, texts)):
        if ranges and ranges[-1][-1] == number - 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    parts = [f"{part[0]}-{part[-1]}" if len(part) > 2 else ", ".join(map(str, part)) for part in ranges]
    return f"run{'s' * (len(runs) > 1)} {', '.join(parts)}"


def group_labels(groups: Sequence[Sequence[Run]]) -> dict[Path, str]:
    """For each run, by its folder, the settings that distinguish its group from the others on the same data."""
    differing = differences([group[0] for group in groups])
    parts = [
        [f"{key} {values[index]}" for key, values in differing.items() if key not in REPEATS]
        for index in range(len(groups))
    ]
    # As few settings as tell the groups apart, but three where there are as many.
    length = next(
        (n for n in range(3, len(differing) + 1) if len({*map(tuple, (p[:n] for p in parts))}) == len(parts)), 3
    )
    labels = {}
    for group, own in zip(groups, parts, strict=True):
        label = ", ".join(own[:length]) + ", ..." * (len(own) > length)
        labels.update({run.folder: label or run.name for run in group})
    return labels


def data_label(group: Sequence[Run], groups: Sequence[Sequence[Run]]) -> str:
    """The data of a group of ``by_data``: the data module, and the settings that distinguish it from other groups."""
    settings_of_all = [data_settings(other[0]) for other in groups]
    own = data_settings(group[0])
    differing = [key for key in own if any(other.get(key) != own[key] for other in settings_of_all) and key != "data"]
    parts = [own.get("data", "unknown data").rpartition(".")[2], *(f"{key} {own[key]}" for key in differing)]
    if settings_of_all.count(own) > 1:
        classes = next((names for run in group if (names := _class_names(run)) is not None), None)
        parts.append(f"classes {', '.join(classes)}" if classes is not None else "unknown classes")
    return ", ".join(parts)
