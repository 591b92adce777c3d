"""The scores of a test and how sure they are, from its confusion matrix."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_RESAMPLES = 1000
_BOOTSTRAP_SEED = 0  # the same test always gives the same intervals
_NORMAL = 1.959964  # the 97.5 % quantile of the standard normal distribution


@dataclass(frozen=True)
class Score:
    """A score and its 95 % interval; None if the test images do not determine one."""

    value: float
    interval: tuple[float, float] | None

    def __str__(self) -> str:
        """Formats it in percent: ``99.15% [97.5, 99.7]``."""
        return f"{self.value:.2%} {self.interval_text()}".rstrip()

    def interval_text(self) -> str:
        """Formats the interval in percent: ``[97.5, 99.7]``; empty if there is none."""
        return "" if self.interval is None else "[{:.1f}, {:.1f}]".format(*(100 * end for end in self.interval))

    def as_dict(self) -> dict[str, float | None]:
        """Returns what ``evaluation.json`` has of it."""
        low, high = self.interval or (None, None)
        return {"value": self.value, "low": low, "high": high}

    @classmethod
    def parse(cls, read: Mapping[str, Any]) -> Self:
        """Reads what ``as_dict`` returns.

        Raises:
            KeyError, TypeError, ValueError: if it is damaged.
        """
        low, high = read["low"], read["high"]
        return cls(float(read["value"]), None if low is None or high is None else (float(low), float(high)))


_KEYS = {
    **dict.fromkeys(("accuracy", "images with all labels right"), "acc"),
    "mean average precision": "mAP",
    "calibration error": "ece",
    "calibration error before": "ece_before",
}
"""The scores whose metrics have short names."""


def flat_scores(found: Mapping[str, Score]) -> dict[str, float]:
    """Returns scores by the names of metrics, with the ends of their intervals.

    Such as ``test/balanced_accuracy``, ``test/balanced_accuracy_low`` and ``test/balanced_accuracy_high``.
    """
    flat: dict[str, float] = {}
    for name, score in found.items():
        key = f"test/{_KEYS.get(name, name.lower().replace(' ', '_'))}"
        flat[key] = score.value
        if score.interval is not None:
            flat[f"{key}_low"], flat[f"{key}_high"] = score.interval
    return flat


def scores(confusion: Sequence[Sequence[int]] | Counts) -> dict[str, Score]:
    """Returns accuracy, balanced accuracy, and macro precision and macro F1.

    Balanced accuracy is the mean of the recalls of the classes, which is also called macro recall (Brodersen et al.
    2010). Macro precision and macro F1 are the means over the classes, too. A class counts in precision and F1 if it
    has test images or predictions, and in the recall if it has test images.

    The interval of the accuracy is that of Wilson 1927 (*Probable Inference, the Law of Succession, and Statistical
    Inference*), which also holds without mistakes, where a bootstrap interval has no width. The others are percentiles
    of 1,000 bootstrap samples of the test images (Efron 1979); without a mistake, these would all be the same, and
    there is none.

    The intervals are those of this model on other images of the same kind. They do not contain the deviation between
    trainings with different seeds.

    Args:
        confusion: the number of images by class (rows) and prediction (columns), (K, K).
    """
    counts = np.asarray(confusion, np.int64)
    total, right = int(counts.sum()), int(counts.diagonal().sum())
    if not total:
        return {}
    of_all = _means(*_sums(np.array([counts])))
    found = {"accuracy": Score(right / total, wilson_interval(right, total))}
    means = {"balanced accuracy": of_all[0], "macro precision": of_all[1], "macro F1": of_all[2]}
    intervals = _bootstrap_intervals(counts) if right < total else [None] * 3
    for (name, value), interval in zip(means.items(), intervals, strict=True):
        found[name] = Score(float(value[0]), interval)
    return found


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of a probability, from 0 to 1."""
    share, weight = successes / trials, _NORMAL**2 / trials
    middle = (share + weight / 2) / (1 + weight)
    half = math.sqrt(weight * (share * (1 - share) + weight / 4)) / (1 + weight)
    return max(middle - half, 0.0), min(middle + half, 1.0)


@dataclass(frozen=True)
class ClassScores:
    """The scores of a class; None where there is no image.

    Args:
        name: the name of the class.
        images: the number of its test images.
        precision: the share of its predictions that are right.
        recall: the share of its images that are predicted.
        f1: the harmonic mean of both.
        recall_low: the lower end of Wilson's 95 % interval of the recall.
        recall_high: its upper end.
    """

    name: str
    images: int
    precision: float | None
    recall: float | None
    f1: float | None
    recall_low: float | None
    recall_high: float | None


def class_scores(classes: Sequence[str], confusion: Sequence[Sequence[int]] | Counts) -> list[ClassScores]:
    """Returns the scores of each class.

    Args:
        classes: the names of the classes.
        confusion: the number of images by class (rows) and prediction (columns), (K, K).
    """
    counts = np.asarray(confusion, np.int64)
    precision, recall, f1 = (values[0] for values in _by_class(*_sums(counts[None])))
    rows = []
    for k, name in enumerate(classes):
        images = int(counts[k].sum())
        ends = wilson_interval(int(counts[k, k]), images) if images else (None, None)
        rows.append(ClassScores(name, images, *(_or_none(values[k]) for values in (precision, recall, f1)), *ends))
    return rows


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _sums(confusions: Counts) -> tuple[Floats, Floats, Floats]:
    """Confusion matrices (N, K, K) to the right predictions, images and predictions of each class, (N, K)."""
    return (
        confusions.diagonal(axis1=1, axis2=2).astype(np.float64),
        confusions.sum(2).astype(np.float64),
        confusions.sum(1).astype(np.float64),
    )


def _by_class(right: Floats, images: Floats, predictions: Floats) -> tuple[Floats, Floats, Floats]:
    """Returns precision, recall and F1 of each class (N, K). NaN where a class does not count."""
    exists = images + predictions > 0
    precision = np.where(exists, right / np.maximum(predictions, 1), np.nan)
    recall = np.where(images > 0, right / np.maximum(images, 1), np.nan)
    f1 = np.where(exists, 2 * right / np.maximum(images + predictions, 1), np.nan)
    return precision, recall, f1


def _means(right: Floats, images: Floats, predictions: Floats) -> tuple[Floats, Floats, Floats]:
    """Returns balanced accuracy, macro precision and macro F1, each (N,)."""
    precision, recall, f1 = _by_class(right, images, predictions)
    return np.nanmean(recall, 1), np.nanmean(precision, 1), np.nanmean(f1, 1)


def _bootstrap_intervals(counts: Counts) -> list[tuple[float, float] | None]:
    """Returns the intervals of ``_means`` over bootstrap samples of the images.

    A sample draws as many images with replacement. Its confusion matrix is therefore a multinomial draw from the cells.
    """
    rows, columns = counts.nonzero()
    cells = counts[rows, columns]
    generator = np.random.default_rng(_BOOTSTRAP_SEED)
    drawn = generator.multinomial(cells.sum(), cells / cells.sum(), size=_RESAMPLES)
    size = (_RESAMPLES, len(counts))
    right, images, predictions = np.zeros(size), np.zeros(size), np.zeros(size)
    for cell, (row, column) in enumerate(zip(rows, columns, strict=True)):
        images[:, row] += drawn[:, cell]
        predictions[:, column] += drawn[:, cell]
        if row == column:
            right[:, row] += drawn[:, cell]
    intervals: list[tuple[float, float] | None] = []
    for values in _means(right, images, predictions):
        low, high = np.quantile(values, (0.025, 0.975))
        intervals.append((float(low), float(high)))
    return intervals
