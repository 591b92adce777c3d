"""Whether an expected order came out, and how sure that is."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .results import Results
from .study import Order

Verdict = Literal["came out", "did not come out", "not resolved"]


@dataclass(frozen=True)
class Resolved:
    """What the runs tell about an order.

    Args:
        order: the order.
        verdict: ``came out`` if the whole interval of the difference is above 0, ``did not come out`` if it is below,
            otherwise ``not resolved``.
        difference: the mean of the number that should be higher, minus the mean of the other; None without runs.
        interval: the 95 % confidence interval of the difference (Welch's); None with less than two runs of either.
        runs: the number of runs of both.
        agreeing: the number of pairs of runs, one of each, in which the expected one is higher.
    """

    order: Order
    verdict: Verdict
    difference: float | None
    interval: tuple[float, float] | None
    runs: tuple[int, int]
    agreeing: int

    @property
    def how_sure(self) -> str:
        """The difference, its interval, the pairs and the number of runs, in words."""
        n = f"n = {self.runs[0]}" if self.runs[0] == self.runs[1] else f"n = {self.runs[0]} and {self.runs[1]}"
        if self.difference is None:
            return n
        pairs = f"{self.agreeing} of {self.runs[0] * self.runs[1]} pairs of runs agree"
        if self.interval is None:
            return f"difference {self.difference:+.2f}; {pairs}; {n}"
        low, high = self.interval
        return f"difference {self.difference:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}; {pairs}; {n}"


def resolve(order: Order, results: Results) -> Resolved:
    """Compares the runs of the two variants of an order.

    The interval is that of Welch's t test, which does not assume that both variants vary alike from seed to seed. The
    variants are different networks, so that a seed gives them different initial weights, and runs are not paired.
    """
    higher, lower = (list(results.values(*side).values()) for side in (order.higher, order.lower))
    runs = len(higher), len(lower)
    if not all(runs):
        return Resolved(order, "not resolved", None, None, runs, 0)
    difference = statistics.fmean(higher) - statistics.fmean(lower)
    agreeing = sum(a > b for a in higher for b in lower)
    interval = welch_interval(higher, lower)
    verdict: Verdict = "not resolved"
    if interval and interval[0] > 0:
        verdict = "came out"
    elif interval and interval[1] < 0:
        verdict = "did not come out"
    return Resolved(order, verdict, difference, interval, runs, agreeing)


def welch_interval(a: Sequence[float], b: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Returns the confidence interval of mean(a) - mean(b) for unequal variances (Welch 1947).

    None if one of them has less than two values.
    """
    if min(len(a), len(b)) < 2:
        return None
    difference = statistics.fmean(a) - statistics.fmean(b)
    parts = [statistics.variance(values) / len(values) for values in (a, b)]
    if not sum(parts):
        return difference, difference
    freedom = sum(parts) ** 2 / sum(p**2 / (len(v) - 1) for p, v in zip(parts, (a, b), strict=True))
    half = t_quantile((1 + level) / 2, freedom) * math.sqrt(sum(parts))
    return difference - half, difference + half


def t_quantile(probability: float, freedom: float) -> float:
    """Returns the quantile of Student's t distribution with at least 1 degree of freedom.

    For t = sqrt(freedom) tan(angle), the density of the angle is proportional to cos(angle) ** (freedom - 1).
    """
    angles = np.linspace(-math.pi / 2, math.pi / 2, 20_001)[1:-1]
    density = np.cos(angles) ** (freedom - 1)
    cumulative = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    angle = float(np.interp(probability, cumulative / cumulative[-1], angles))
    return math.sqrt(freedom) * math.tan(angle)
