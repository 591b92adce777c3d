"""The report: one HTML page that compares runs. It has no scripts and loads nothing."""

import base64
import binascii
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from ...errors import InputError
from .. import figures
from ..comparison import (
    by_data,
    by_seed,
    data_label,
    differences,
    group_labels,
    numbered,
    own_metrics,
    run_numbers,
    seed_of,
)
from ..figures.style import SERIES
from ..mcnemar import compare_images
from ..ranking import best_first
from ..reader import Evaluation, Run
from .curves import HEIGHT, WIDTH, Chart, Series, chart, diverged
from .reliability import SIDE, reliability_chart
from .scores import class_table, score_table
from .tables import (
    DifferenceTable,
    FinalTable,
    confusion_rows,
    difference_table,
    final_table,
    robustness_table,
    run_row,
    setting_table,
)

CURVES = "train/loss", "val/loss", "train/acc", "val/acc"
COLORS = SERIES  # more than eight would look too similar
MOST_CLASSES_IN_TABLE = 20
MOST_RUNS_IN_COLUMNS = 8
MOST_ROWS_OPEN = 12
MOST_LABEL = 50
MOST_TESTS_OPEN = 3


def render(runs: Sequence[Run]) -> str:
    """The report on runs, as HTML.

    Raises:
        InputError: if there are no runs.
    """
    if not runs:
        raise InputError("there are no runs to report on; give the folder of at least one run")
    numbers = numbered(runs)
    groups = by_data(runs)
    return _template().render(
        title=" and ".join(dict.fromkeys(run.name for run in runs)),
        run_columns=[f"run {number}" for number in numbers.values()],
        datasets=[(run_numbers(group, numbers), data_label(group, groups)) for group in groups],
        runs=[run_row(run, numbers[run.folder]) for run in runs],
        runs_are_open=len(runs) <= MOST_ROWS_OPEN,
        tests_open=MOST_TESTS_OPEN,
        differences=differences(runs) if len(runs) <= MOST_RUNS_IN_COLUMNS else {},
        settings=setting_table(by_seed(runs), numbers) if len(runs) > MOST_RUNS_IN_COLUMNS else None,
        chart_width=WIDTH,
        chart_height=HEIGHT,
        side=SIDE,
        sections=[_section(group, groups, numbers) for group in groups],
        origins=[_origin(run, numbers[run.folder]) for run in runs],
    )


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader(__package__, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["breakable"] = _breakable
    return environment.get_template("page.html.j2")


def _breakable(key: str) -> Markup:
    """A key such as ``model.optimizer_args.lr``, escaped, which wraps after its dots and underscores first."""
    return Markup(re.sub(r"([._])(?=[A-Za-z])", r"\1<wbr>", str(escape(key))))


@dataclass(frozen=True)
class Legend:
    """A colored label of the learning curves."""

    color: str
    runs: str
    label: str


@dataclass(frozen=True)
class Section:
    """The results of runs on the same data.

    Args:
        data: the label of the data; empty if all runs have the same.
        charts: the learning curves of each metric.
        legend: the legend of the curves.
        hidden: the number of configs whose curves are not shown, since there are too few colors.
        final: the final metrics; None if no run is complete.
        differences: the paired comparison with the best setting; None if no two settings share a seed.
        by_image: the comparisons image by image, a sentence each.
        tests: the evaluations that are shown, as arguments of the template.
    """

    data: str
    charts: list[Chart]
    legend: list[Legend]
    hidden: int
    final: FinalTable | None
    differences: DifferenceTable | None
    by_image: list[str]
    tests: list[dict[str, Any]]


def _section(runs: Sequence[Run], datasets: Sequence[Sequence[Run]], numbers: dict[Path, str]) -> Section:
    groups = best_first(by_seed(runs))
    labels = group_labels(groups)
    legend, series = [], []
    for group, color in zip(groups, COLORS, strict=False):
        label, of_runs = labels[group[0].folder], run_numbers(group, numbers)
        legend.append(Legend(color, of_runs, label))
        short = label if len(label) <= MOST_LABEL else f"{label[:MOST_LABEL]}..."
        series.append(Series(color, f"{of_runs}, {short}", {numbers[run.folder]: run for run in group}))
    first_number = 100 * [*map(id, datasets)].index(id(runs))
    return Section(
        data=data_label(runs, datasets) if len(datasets) > 1 else "",
        charts=_charts(runs, series, first_number),
        legend=legend,
        hidden=max(len(groups) - len(COLORS), 0),
        final=final_table(groups, numbers),
        differences=difference_table(groups, numbers),
        by_image=compare_images(runs, numbers),
        tests=[test for group in groups if (test := _test(group, groups, numbers))],
    )


def _charts(runs: Sequence[Run], series: Sequence[Series], first_number: int) -> list[Chart]:
    """A chart for each logged metric."""
    metrics = dict.fromkeys([*CURVES, *(name for run in runs for name in own_metrics(run, "val"))])
    alone = diverged(metrics, series)
    drawn = (chart(first_number + place, metric, series, alone) for place, metric in enumerate(metrics))
    return [found for found in drawn if found]


def _test(group: Sequence[Run], groups: Sequence[Sequence[Run]], numbers: dict[Path, str]) -> dict[str, Any] | None:
    """The evaluation of the group's best run by validation: a selection on the test images would be biased."""
    evaluated = [(run, run.evaluation) for run in group if run.evaluation]
    if not evaluated:
        return None
    run, evaluation = max(evaluated, key=lambda pair: pair[0].best_monitored())
    test = {
        "label": group_labels(groups)[run.folder] if len(groups) > 1 else "",
        "number": numbers[run.folder],
        "is_selected": len(group) > 1,
        "scores": score_table(evaluation),
        "reliability": reliability_chart(evaluation.reliability),
        "by_class": class_table(evaluation),
        "is_long": len(evaluation.classes) > MOST_CLASSES_IN_TABLE,
        "mistakes": [_mistake(mistake) for mistake in evaluation.mistakes],
        "robustness": robustness_table(run.robustness) if run.robustness else None,
    }
    if not evaluation.confusion:  # an image may have several labels
        return test
    if len(evaluation.classes) > MOST_CLASSES_IN_TABLE:
        return {**test, "matrix": _matrix(evaluation)}
    return {**test, "classes": evaluation.classes, "confusion": confusion_rows(evaluation)}


def _matrix(evaluation: Evaluation) -> Markup:
    return _svg(figures.confusion_matrix(np.array(evaluation.confusion, dtype=np.int64), evaluation.classes))


def _svg(figure: Any) -> Markup:
    """Converts a figure to HTML. matplotlib escapes its texts."""
    return Markup(figures.as_svg(figure))


def _mistake(mistake: dict[str, Any]) -> dict[str, str]:
    texts = {name: str(mistake.get(name, "-")) for name in ("label", "prediction", "image")}
    return {**texts, "confidence": f"{mistake['confidence']:.1%}", "png": _valid_png(str(mistake.get("png", "")))}


def _valid_png(encoded: str) -> str:
    """Returns a PNG in base64; an empty string if the input is not one."""
    try:
        png = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return base64.b64encode(png).decode() if png.startswith(b"\x89PNG") else ""


def _origin(run: Run, number: str) -> dict[str, Any]:
    """The command that repeats a run, and the versions of its code."""
    git = run.record.get("git") or {}
    changes = ", with uncommitted changes" if git.get("changed") else ""
    return {
        "number": number,
        "name": run.name,
        "folder": run.folder.name,
        "command": run.record.get("command"),
        "from_config": shlex.join(["lightning", "fit", "--config", str(run.folder / "config.yaml")]),
        "facts": {
            "folder": str(run.folder),
            "seed": seed_of(run),
            "state": f"{run.state}, ended {run.record['ended']}" if "ended" in run.record else run.state,
            "git commit": f"{git['commit']}{changes}" if git.get("commit") else "unknown",
            "versions": ", ".join(f"{name} {value}" for name, value in run.record.get("versions", {}).items()) or "-",
        },
    }
