"""Compares settings by the seeds that they share.

A seed gives two runs the same order of images and the same augmentation, and so part of the difference between two runs
with different seeds drops out of the difference between two runs with one.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from .comparison import counted_runs, repeat_of
from .ranking import best_first, smaller_is_better, sort_metrics
from .reader import Run
from .student_t import t_quantile

LEVEL = 0.95


@dataclass(frozen=True)
class PairedDifference:
    """The difference of a metric between a setting and the one that it is compared with.

    Args:
        group: the runs of the setting.
        n: the number of shared seeds (and folds).
        mean: the mean difference, this setting minus the other.
        interval: the confidence interval of the mean difference; None with less than two pairs, and if all differences
            are equal.
        sign_probability: the two-sided p value of the exact sign test.
        better: the number of pairs in which this setting is better.
        worse: the number of pairs in which it is worse.
        verdict: ``better``, ``worse``, or ``not resolved``.
    """

    group: Sequence[Run]
    n: int
    mean: float
    interval: tuple[float, float] | None
    sign_probability: float
    better: int
    worse: int
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """The comparison of all settings with the best one by validation.

    Args:
        metric: the metric that is compared.
        best: the runs of the setting that the others are compared with.
        differences: the others that share a seed with it.
        level: the confidence level of each interval; all intervals together hold at ``LEVEL``.
    """

    metric: str
    best: Sequence[Run]
    differences: list[PairedDifference]
    level: float


def compare_with_best(groups: Sequence[Sequence[Run]]) -> Comparison | None:
    """Compares each setting with the one that is best by validation, in the test accuracy of runs with the same seed.

    The best is not chosen by the numbers that are compared, which would exaggerate its lead. Without a test accuracy
    it is another test metric.

    A setting is better or worse only if the interval of the paired t test (Student 1908) excludes 0. Its level is
    raised to 1 - 0.05 / m for m comparisons (Bonferroni), so that all of them hold together at 95 %. It assumes that
    the differences are roughly normal, which two or three values cannot show, and it holds for these training and test
    images only. If all differences are equal, which happens with few test images, their deviation is no estimate, and
    the exact sign test decides, which needs at least six pairs.

    The training sets of folds overlap, so that their results vary less than independent ones would. The variance is
    then multiplied by 1 + n / (k - 1) for k folds (Nadeau and Bengio 2003, "Inference for the generalization error",
    section 3; Bouckaert and Frank 2004 for repeated folds).

    Args:
        groups: the runs of each setting, on the same data, as ``by_seed`` returns them.

    Returns:
        None if no two settings share a seed.
    """
    ordered = [group for group in best_first(groups) if counted_runs(group)]
    if len(ordered) < 2:
        return None
    runs = [run for group in ordered for run in group]
    of_test = [name for name in sort_metrics(runs) if name.startswith("test/") and _has(ordered, name)]
    if not of_test:
        return None
    metric = of_test[0]
    best, *others = ordered
    pairs = {index: _differences(group, best, metric) for index, group in enumerate(others)}
    compared = {index: values for index, values in pairs.items() if values}
    if not compared:
        return None
    level = 1 - (1 - LEVEL) / len(compared)
    sign = -1 if smaller_is_better(runs, metric) else 1
    found = [_paired(others[index], values, level, sign) for index, values in compared.items()]
    return Comparison(metric, best, found, level)


def _has(groups: Sequence[Sequence[Run]], metric: str) -> bool:
    """Whether two settings have a metric."""
    return sum(any(run.last(metric) is not None for run in counted_runs(group)) for group in groups) > 1


def _differences(group: Sequence[Run], other: Sequence[Run], metric: str) -> list[float]:
    """The differences of runs that share a seed and fold, both of which are set."""
    values = [
        {repeat_of(run): value for run in counted_runs(runs) if (value := run.last(metric)) is not None}
        for runs in (group, other)
    ]
    differences = [values[0][repeat] - values[1][repeat] for repeat in values[0] if repeat in values[1]]
    return [value for value in differences if math.isfinite(value)]


def _paired(group: Sequence[Run], differences: Sequence[float], level: float, sign: int) -> PairedDifference:
    n = len(differences)
    better = sum(sign * value > 0 for value in differences)
    worse = sum(sign * value < 0 for value in differences)
    mean = statistics.fmean(differences)
    interval = _interval(differences, level, _folds(group))
    probability = sign_test(better, worse)
    is_resolved = probability < 1 - level if interval is None else interval[0] > 0 or interval[1] < 0
    verdict = "not resolved" if not is_resolved else "better" if sign * mean > 0 else "worse"
    return PairedDifference(group, n, mean, interval, probability, better, worse, verdict)


def _interval(differences: Sequence[float], level: float, folds: int) -> tuple[float, float] | None:
    n = len(differences)
    deviation = statistics.stdev(differences) if n > 1 else 0.0
    if deviation <= 1e-9 * max(map(abs, differences)):
        return None
    variance = deviation**2 * (1 / n + (1 / (folds - 1) if folds > 1 else 0))
    half = t_quantile((1 + level) / 2, n - 1) * math.sqrt(variance)
    mean = statistics.fmean(differences)
    return mean - half, mean + half


def _folds(group: Sequence[Run]) -> int:
    """The number of folds of the runs; 0 if they are no folds of a cross-validation."""
    numbers = [run.setting("data.init_args.num_folds") for run in group]
    return max((number for number in numbers if isinstance(number, int)), default=0)


def sign_test(better: int, worse: int) -> float:
    """The two-sided p value of the exact sign test; pairs without a difference are left out (Conover 1999, sec. 3.4).

    Five pairs that all agree have 0.0625, so that less than six never reach 0.05.
    """
    n = better + worse
    tail, term = 0, 1
    for k in range(min(better, worse) + 1):
        tail += term
        term = term * (n - k) // (k + 1)  # the next binomial coefficient
    return min(1.0, 2 * tail / 2**n)
