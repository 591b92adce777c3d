"""The range of an axis, which runs that diverge do not stretch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_FACTOR = 4
_SPIKE = 10


@dataclass(frozen=True)
class Limits:
    """The range of an axis, and whether values lie above or below it."""

    low: float
    high: float
    cut_above: bool
    cut_below: bool

    def contains(self, value: float) -> bool:
        return self.low <= value <= self.high


def robust_limits(curves: Sequence[Sequence[float]]) -> Limits | None:
    """Returns a range with all values, unless a few would squeeze the others into a small part of it.

    A run is left out of the range if its highest value lies more than four times as far from the lowest one as that of
    the run at the lower quartile does (and the same for its lowest value): up to three of four runs may diverge. Of
    the runs that are left, single values more than ten times as far away as the 90 % quantile are left out.

    Args:
        curves: the values of each run.

    Returns:
        None if there is no finite value.
    """
    finite = [[value for value in curve if math.isfinite(value)] for curve in curves]
    finite = [curve for curve in finite if curve]
    if not finite:
        return None
    values = sorted(value for curve in finite for value in curve)
    upper = _end([max(curve) for curve in finite], values[0], values)
    below = [curve for curve in finite if min(curve) <= upper]
    mirrored = [-value for value in reversed(values) if value <= upper]
    lower = -_end([-min(curve) for curve in below], -upper, mirrored)
    if 4 * sum(any(lower <= value <= upper for value in curve) for curve in finite) < len(finite):
        lower, upper = values[0], values[-1]  # nothing is usual
    return Limits(lower, upper, values[-1] > upper, values[0] < lower)


def _end(ends: Sequence[float], start: float, values: Sequence[float]) -> float:
    """The upper end of a range that begins at ``start``, by the highest value of each run and all sorted values."""
    ordered = sorted(ends)
    usual = ordered[(len(ordered) - 1) // 4 :]
    reach = _FACTOR * next((value - start for value in usual if value > start), 0.0)  # a constant run has no extent
    end = max((value for value in ordered if value - start <= reach), default=ordered[0])
    inside = [value for value in values if value <= end]
    spike = _SPIKE * (inside[int(0.9 * (len(inside) - 1))] - start)
    return max((value for value in inside if value - start <= spike), default=end) if spike > 0 else end
