"""The reliability diagram of the report: the places of its parts."""

import math
from dataclasses import dataclass

from ..formatting import percent
from ..reliability import Bin, Reliability
from ..scores import wilson_interval

SIDE = 260
"""The side of the diagram, which begins at (46, 12)."""

_BARS = 60  # their height


@dataclass(frozen=True)
class ReliabilityBin:
    """A bin: its point and its interval in the diagram, its bar below, and a text to show where the pointer rests."""

    x: float
    y: float
    low: float
    high: float
    left: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class ReliabilityChart:
    """The diagram.

    Args:
        bins: those of the model.
        before: those without its temperature, of which the points are drawn.
        caption: the calibration errors.
        chance: what a perfectly calibrated model stays below.
    """

    bins: list[ReliabilityBin]
    before: list[ReliabilityBin]
    caption: str
    chance: str


def reliability_chart(found: Reliability | None) -> ReliabilityChart | None:
    """The diagram of a test; None if its confidences are unknown."""
    if found is None or not found.bins:
        return None
    caption = f"expected calibration error {percent(found.error)}"
    if found.temperature is not None and found.error_before is not None:
        caption += f" with temperature {found.temperature:.2f}, {percent(found.error_before)} without it"
    return ReliabilityChart(_bins(found.bins), _bins(found.before or []), caption, percent(found.error_by_chance))


def _bins(bins: list[Bin]) -> list[ReliabilityBin]:
    most = max((one.images for one in bins), default=1)
    return [_bin(one, most) for one in bins]


def _bin(one: Bin, most: int) -> ReliabilityBin:
    low, high = wilson_interval(one.right, one.images)
    height = _BARS * math.log(2 * one.images) / math.log(2 * most) if most > 1 else _BARS
    return ReliabilityBin(
        x=round(46 + SIDE * one.confidence, 1),
        y=_y(one.accuracy),
        low=_y(low),
        high=_y(high),
        left=round(46 + SIDE * one.low + 1, 1),
        width=round(SIDE * (one.high - one.low) - 2, 1),
        height=round(height, 1),
        title=f"{one.images:,} images: confidence {percent(one.confidence)}, accuracy {percent(one.accuracy)} "
        f"[{100 * low:.1f}, {100 * high:.1f}]",
    )


def _y(share: float) -> float:
    return round(12 + SIDE * (1 - share), 1)
