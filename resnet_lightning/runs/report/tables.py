"""The values in the tables of the report, as plain text. The template escapes them and lays them out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..comparison import REPEATS, compared_metrics, differences, final_metrics, group_labels, run_numbers, seed_of
from ..formatting import duration, epochs, interval, mean_and_deviation, percent, signed
from ..paired import LEVEL, compare_with_best
from ..reader import Evaluation, Run
from ..robustness import COLUMNS, Robustness


@dataclass(frozen=True)
class RunRow:
    """A row of the first table, with a field for each column."""

    number: str
    name: str
    folder: str
    notes: tuple[str, ...]
    state: str
    test_accuracy: str
    test_interval: str
    best_accuracy: str
    epochs: str
    started: str
    duration: str
    images_per_second: str
    net: str
    parameters: str
    device: str


def run_row(run: Run, number: str) -> RunRow:
    speed, parameters = run.record.get("images_per_second"), run.record.get("parameters")
    return RunRow(
        number=number,
        name=run.name,
        folder=run.folder.name,
        notes=run.notes,
        state=run.state,
        test_accuracy=percent(run.last("test/acc")),
        test_interval=_interval_and_images(run),
        best_accuracy=percent(run.best_accuracy()),
        epochs=epochs(run),
        started=f"{run.started:%Y-%m-%d %H:%M}",
        duration=duration(run.record.get("training_seconds")),
        images_per_second=f"{speed:,.0f}" if speed is not None else "-",
        net=run.record.get("net", "-"),
        parameters=f"{parameters:,}" if parameters else "",
        device=run.record.get("device", "-"),
    )


def _interval_and_images(run: Run) -> str:
    """The 95 % interval of the test accuracy and the number of images; empty if they are unknown."""
    score, images = run.accuracy_score(), run.evaluation.images if run.evaluation else None
    return f"{score.interval_text()}, n = {images:,}" if score and images else ""


@dataclass(frozen=True)
class FinalRow:
    """The final metrics of runs that differ only in their seed.

    Args:
        label: the settings that distinguish them from other runs.
        runs: their numbers.
        n: the number of runs that the metrics are computed from.
        values: mean and deviation of each metric.
    """

    label: str
    runs: str
    n: int
    values: list[str]


@dataclass(frozen=True)
class FinalTable:
    """The final metrics: the names of the columns, and a row for each group."""

    metrics: list[str]
    rows: list[FinalRow]


def final_table(groups: Sequence[Sequence[Run]], numbers: dict[Path, str]) -> FinalTable | None:
    """The final metrics of each group; None if no run is complete."""
    spreads = [final_metrics(group) for group in groups]
    compared = compared_metrics([run for group in groups for run in group])
    metrics = [metric for metric in compared if any(metric in spread for spread in spreads)]
    labels = group_labels(groups)
    rows = [
        FinalRow(
            label=labels[group[0].folder],
            runs=run_numbers(group, numbers),
            n=max((metric.n for metric in spread.values()), default=0),
            values=[mean_and_deviation(metric, spread.get(metric)) for metric in metrics],
        )
        for group, spread in zip(groups, spreads, strict=True)
    ]
    return FinalTable(metrics, rows) if metrics else None


@dataclass(frozen=True)
class DifferenceRow:
    """The difference between a setting and the best one, over the seeds that they share."""

    label: str
    runs: str
    n: int
    difference: str
    interval: str
    seeds: str
    verdict: str


@dataclass(frozen=True)
class DifferenceTable:
    """The differences to the best setting.

    Args:
        metric: the metric that is compared, with its unit.
        best: the label of the best setting.
        level: the level of each interval, such as ``98.3%``.
        together: the level at which all intervals hold together.
    """

    metric: str
    best: str
    level: str
    together: str
    rows: list[DifferenceRow]


def difference_table(groups: Sequence[Sequence[Run]], numbers: dict[Path, str]) -> DifferenceTable | None:
    """The paired comparison of each setting with the best one; None if no two settings share a seed."""
    found = compare_with_best(groups)
    if found is None:
        return None
    labels = group_labels(groups)
    rows = [
        DifferenceRow(
            label=labels[pair.group[0].folder],
            runs=run_numbers(pair.group, numbers),
            n=pair.n,
            difference=signed(found.metric, pair.mean),
            interval=interval(found.metric, pair.interval),
            seeds=f"{pair.better} better, {pair.worse} worse",
            verdict=pair.verdict,
        )
        for pair in found.differences
    ]
    return DifferenceTable(
        metric=f"{found.metric}, in percentage points" if found.metric.endswith("/acc") else found.metric,
        best=f"{labels[found.best[0].folder]} ({run_numbers(found.best, numbers)})",
        level=f"{found.level:.2%}".replace(".00", ""),
        together=f"{LEVEL:.0%}",
        rows=rows,
    )


@dataclass(frozen=True)
class SettingTable:
    """The settings that differ: the names of the columns, and a row for each setting with its label and its values."""

    keys: list[str]
    rows: list[tuple[str, list[str]]]


def setting_table(groups: Sequence[Sequence[Run]], numbers: dict[Path, str]) -> SettingTable:
    """The settings that differ with a row for each group of runs, for more runs than there is place for columns."""
    found = differences([group[0] for group in groups])
    keys = [key for key in found if key not in REPEATS]
    rows = []
    for index, group in enumerate(groups):
        seeds = ", ".join(dict.fromkeys(seed_of(run) for run in group))
        rows.append((run_numbers(group, numbers), [*(found[key][index] for key in keys), seeds]))
    return SettingTable([*keys, "seed_everything"], rows)


@dataclass(frozen=True)
class ConfusionCell:
    """The number of images of a class with a prediction, how strongly it is colored, in percent, and both in words."""

    count: int
    strength: int
    is_right: bool
    title: str


@dataclass(frozen=True)
class ConfusionRow:
    """The predictions for the test images of a class."""

    name: str
    accuracy: str
    cells: list[ConfusionCell]


def confusion_rows(evaluation: Evaluation) -> list[ConfusionRow]:
    rows = []
    for k, (name, counts) in enumerate(zip(evaluation.classes, evaluation.confusion, strict=True)):
        total = sum(counts)
        cells = [
            ConfusionCell(count, _strength(count, total), column == k, _in_words(name, other, count, total))
            for column, (other, count) in enumerate(zip(evaluation.classes, counts, strict=True))
        ]
        rows.append(ConfusionRow(name, percent(counts[k] / total) if total else "-", cells))
    return rows


def _in_words(name: str, prediction: str, count: int, total: int) -> str:
    share = f": {percent(count / total)}" if total else ""
    return f"{count} of {total} test images of {name}, predicted as {prediction}{share}"


def _strength(count: int, total: int) -> int:
    """The strength of the color in percent. The square root of the share keeps single images visible."""
    return round(15 + 40 * math.sqrt(count / total)) if count else 0


@dataclass(frozen=True)
class RobustnessTable:
    """The accuracy on corrupted images.

    Args:
        caption: the checkpoint, the clean accuracy and the mean corruption error.
        columns: the names of the columns.
        rows: the name of each corruption, and its accuracy in each strength and in the mean.
    """

    caption: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]


def robustness_table(found: Robustness) -> RobustnessTable:
    """The table of the accuracy on corrupted images."""
    of = f"of {found.checkpoint}, step {found.step:,}; " if found.checkpoint and found.step is not None else ""
    caption = f"{of}clean accuracy {percent(found.clean)}, mean corruption error {percent(found.mean_error)}"
    rows = [(name.replace("_", " "), [percent(value) for value in values]) for name, *values in found.rows()]
    return RobustnessTable(caption, list(COLUMNS), rows)
