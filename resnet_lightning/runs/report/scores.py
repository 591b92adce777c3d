"""The scores of a test in the report: those of all images with their intervals, and those of each class."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..formatting import percent
from ..reader import Evaluation
from ..scores import Score

FEW_IMAGES = 30

# The scores of a class, and the names of their columns.
_SHARES = {"recall": "recall", "precision": "precision", "f1": "F1", "average_precision": "average precision"}
_COUNTS = {"images": "images", "missed": "missed", "wrongly_predicted": "wrongly predicted"}
_TEXTS = {**_COUNTS, "threshold": "threshold", **_SHARES}


@dataclass(frozen=True)
class ScoreTable:
    """The scores of a test.

    Args:
        images: the number of test images.
        rows: the name, the value and the 95 % interval of each score.
    """

    images: str
    rows: list[tuple[str, str, str]]


def score_table(evaluation: Evaluation) -> ScoreTable | None:
    """The scores of a test with their intervals; None if there are none."""
    if not evaluation.scores or evaluation.images is None:
        return None
    rows = [(name, percent(score.value), _ends(score)) for name, score in evaluation.scores.items()]
    return ScoreTable(f"{evaluation.images:,}", rows)


def _ends(score: Score) -> str:
    return score.interval_text() or "-"


@dataclass(frozen=True)
class ClassTable:
    """The scores of each class, and the test metrics that have a value for each class.

    Args:
        kind: ``class``, or ``label`` if an image may have several.
        columns: the names of the columns.
        rows: the name of each class, and its values.
        few: a sentence on classes with few images; empty if there are none.
    """

    kind: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]
    few: str


def class_table(evaluation: Evaluation) -> ClassTable | None:
    """The scores of each class, the lowest F1 first, then the metrics that are logged as ``test/recall/cat``.

    None if there are none.
    """
    rows = {row["name"]: row for row in evaluation.by_class}
    own = {name: values for name, values in _metrics_by_class(evaluation).items() if not _is_in(rows, name)}
    if not rows and not own:
        return None
    names = sorted(rows, key=lambda name: _lowest_first(rows[name])) if rows else evaluation.classes
    columns = [key for key in _TEXTS if any(key in row for row in rows.values())]
    cells = [
        (
            name,
            [
                *(_cell(rows[name], key) for key in columns),
                *(f"{values[name]:.4f}" if name in values else "-" for values in own.values()),
            ],
        )
        for name in names
    ]
    heads = [*(f"{_TEXTS[key]} [95% interval]" if _has_interval(rows, key) else _TEXTS[key] for key in columns), *own]
    are_classes = bool(evaluation.confusion)
    return ClassTable("class" if are_classes else "label", heads, cells, _few(rows, are_classes))


def _metrics_by_class(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for name, value in evaluation.metrics.items():
        metric, _, of_class = name.removeprefix("test/").partition("/")
        if of_class in evaluation.classes:
            found.setdefault(metric, {})[of_class] = value
    return found


def _is_in(rows: Mapping[str, Mapping[str, Any]], metric: str) -> bool:
    """Whether a metric is a score of the labels, which is logged, too."""
    return any("missed" in row and metric in row for row in rows.values())


def _lowest_first(row: Mapping[str, Any]) -> tuple[bool, float]:
    """Sort key; classes without images are last."""
    return row["f1"] is None, row["f1"] or 0.0


def _cell(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if key in _COUNTS or value is None:
        return "-" if value is None else f"{value:,}"
    if key == "threshold":
        return f"{value:.3f}"
    low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
    return str(Score(value, None if low is None or high is None else (low, high)))


def _has_interval(rows: Mapping[str, Mapping[str, Any]], key: str) -> bool:
    return any(f"{key}_low" in row for row in rows.values())


def _few(rows: Mapping[str, Mapping[str, Any]], are_classes: bool) -> str:
    few = sum(row["images"] < FEW_IMAGES for row in rows.values())
    if not few:
        return ""
    kind = ("class" if len(rows) == 1 else "classes") if are_classes else "labels"
    has = "has" if few == 1 else "have"
    return f"{few} of {len(rows)} {kind} {has} fewer than {FEW_IMAGES} test images; their scores are uncertain."
