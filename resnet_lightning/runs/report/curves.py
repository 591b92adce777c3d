"""Learning curves by setting, as inline SVG: a line and a band of deviation, with the values in titles."""

import itertools
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..comparison import Spread
from ..formatting import mean_and_deviation
from ..reader import Points, Run
from .limits import Limits, robust_limits

WIDTH, HEIGHT = 420, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 12, 34
_TICK_WIDTH = 24  # of the number of an epoch
_MARGIN = 0.02  # above and below the values, as a share of the height
MOST_POINTS = 300  # of a line; a screen has no more
MOST_TITLES = 60  # of a figure


@dataclass(frozen=True)
class Series:
    """The runs of one setting, which share a color.

    Args:
        color: the color, such as ``#2f7ed8``.
        label: names the runs in titles, such as ``runs 1-3``.
        runs: the runs, by their number in tables.
    """

    color: str
    label: str
    runs: Mapping[str, Run]


@dataclass(frozen=True)
class Line:
    """A polyline, and its color. ``kind`` is its class in the style sheet."""

    color: str
    points: str
    kind: str


@dataclass(frozen=True)
class Mark:
    """A place where a line leaves the axis: the points of a triangle."""

    color: str
    points: str


@dataclass(frozen=True)
class Tick:
    """A tick of an axis: where it is, and what it reads."""

    place: float
    text: str


@dataclass(frozen=True)
class Strip:
    """A part of the figure, whose title shows the values of one epoch."""

    left: float
    width: float
    center: float
    title: str


@dataclass(frozen=True)
class Chart:
    """The learning curves of one metric, as the template draws them.

    Args:
        number: a number that no other chart of the page has.
        note: what is not in the figure, such as values above the axis; empty if there is nothing.
    """

    number: int
    metric: str
    bands: list[Line]
    lines: list[Line]
    dots: list[tuple[float, float, str]]
    marks: list[Mark]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    strips: list[Strip]
    note: str


def diverged(metrics: Iterable[str], series: Sequence[Series]) -> frozenset[str]:
    """The numbers of the runs that are off the axis of a metric for half of their epochs, or not finite in one."""
    found = set()
    for metric in metrics:
        curves = {number: run.curves.get(metric, []) for some in series for number, run in some.runs.items()}
        limits = robust_limits([[value for _, value in curve] for curve in curves.values()])
        for number, curve in curves.items():
            values = [value for _, value in curve]
            outside = sum(not limits.contains(value) for value in values) if limits else 0
            if not all(map(math.isfinite, values)) or 2 * outside > len(values):
                found.add(number)
    return frozenset(found)


def chart(number: int, metric: str, series: Sequence[Series], alone: Collection[str] = ()) -> Chart | None:
    """The learning curves of a metric; None if no run has a finite value.

    The line of a setting is the mean of its runs, with a band of one sample standard deviation.

    Args:
        number: a number that no other chart of the page has.
        metric: the metric.
        series: the settings.
        alone: the numbers of runs that are in no mean and have a dashed line of their own.
    """
    curves = [run.curves[metric] for some in series for run in some.runs.values() if metric in run.curves]
    limits = robust_limits([[value for _, value in curve] for curve in curves])
    if limits is None:
        return None
    epochs = [epoch for curve in curves for epoch, _ in curve]
    return _Plot(metric, series, alone, limits, (min(epochs), max(epochs))).chart(number)


@dataclass(frozen=True)
class _Plot:
    metric: str
    series: Sequence[Series]
    alone: Collection[str]
    limits: Limits
    epochs: tuple[int, int]

    def chart(self, number: int) -> Chart:
        bands, lines, dots = [], [], []
        for some in self.series:
            means = self._means[some.label]
            points = [(self.x(epoch), self.y(spread.mean)) for epoch, spread in means.items()]
            if len(points) < 2:
                dots += [(*point, some.color) for point in points]
            deviations = {epoch: spread for epoch, spread in means.items() if spread.deviation is not None}
            if len(deviations) > 1:
                bands.append(Line(some.color, self._band(deviations), "band"))
            lines.append(Line(some.color, _path(points), "mean"))
            for number_of_run, run in some.runs.items():
                curve = run.curves.get(self.metric, []) if number_of_run in self.alone else []
                finite = [(epoch, value) for epoch, value in _thinned(curve) if math.isfinite(value)]
                lines.append(Line(some.color, _path([(self.x(e), self.y(v)) for e, v in finite]), "alone"))
        return Chart(
            number=number,
            metric=self.metric,
            bands=bands,
            lines=[line for line in lines if line.points],
            dots=dots,
            marks=self._marks(),
            x_ticks=[Tick(self.x(epoch - 1), f"{epoch:g}") for epoch in self._epoch_ticks()],
            y_ticks=[Tick(self.y(value), self._text(value)) for value in nice_ticks(self.limits.low, self.limits.high)],
            strips=self._strips(),
            note=self._note(),
        )

    @cached_property
    def _means(self) -> dict[str, dict[int, Spread]]:
        """Mean and deviation of each setting by epoch, over the runs that have a value there."""
        means = {}
        for some in self.series:
            counted = [
                dict(run.curves[self.metric])
                for number, run in some.runs.items()
                if self.metric in run.curves and number not in self.alone
            ]
            epochs = sorted({epoch for curve in counted for epoch in curve})
            means[some.label] = {
                epoch: Spread(len(values), statistics.fmean(values), statistics.stdev(values) if values[1:] else None)
                for epoch, _ in _thinned([(epoch, 0.0) for epoch in epochs])
                for values in [[curve[epoch] for curve in counted if epoch in curve]]
            }
        return means

    def x(self, epoch: float) -> float:
        first, last = self.epochs
        share = (epoch - first) / (last - first) if last > first else 0.5
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        """The place of a value; one that is far outside is only a little outside the figure, which is clipped."""
        low, high = self.limits.low, self.limits.high
        share = (value - low) / (high - low) if high > low else 0.5
        share = _MARGIN + (1 - 2 * _MARGIN) * min(max(share, -0.5), 1.5)
        return round(_TOP + (1 - share) * (HEIGHT - _TOP - _BOTTOM), 1)

    def _band(self, spreads: Mapping[int, Spread]) -> str:
        deviation = {epoch: spread.deviation or 0.0 for epoch, spread in spreads.items()}
        upper = [(self.x(epoch), self.y(spread.mean + deviation[epoch])) for epoch, spread in spreads.items()]
        lower = [(self.x(epoch), self.y(spread.mean - deviation[epoch])) for epoch, spread in spreads.items()]
        return _path([*upper, *reversed(lower)])

    def _marks(self) -> list[Mark]:
        """A triangle at the edge for each run with values outside, where the first of them is."""
        marks = []
        for some in self.series:
            for run in some.runs.values():
                curve = run.curves.get(self.metric, [])
                outside = [(epoch, value) for epoch, value in curve if not self.limits.contains(value)]
                if not outside:
                    continue
                epoch, value = outside[0]
                x = self.x(epoch)
                is_below = value < self.limits.low
                edge, inner = (HEIGHT - _BOTTOM, HEIGHT - _BOTTOM - 8) if is_below else (_TOP, _TOP + 8)
                marks.append(Mark(some.color, f"{x - 5:g},{inner} {x + 5:g},{inner} {x:g},{edge}"))
        return marks

    def _note(self) -> str:
        """What is not in the figure, or not as in the others."""
        having = {
            number: run.curves[self.metric]
            for some in self.series
            for number, run in some.runs.items()
            if self.metric in run.curves
        }
        cut = [f"run {number} {text}" for number, curve in having.items() if (text := self._outside(curve))]
        alone = [number for number in having if number in self.alone]
        more = f" and {len(cut) - 3} more" if len(cut) > 3 else ""
        notes = [f"The axis is cut: {', '.join(cut[:3])}{more}."] if cut else []
        if alone:
            notes.append(f"Dashed, in the tables but not in this mean: run{'s' * (len(alone) > 1)} {', '.join(alone)}.")
        return " ".join(notes)

    def _outside(self, curve: Points) -> str:
        """How a run leaves the axis; empty if it does not."""
        finite = [value for _, value in curve if math.isfinite(value)]
        parts = []
        if finite and max(finite) > self.limits.high:
            parts.append(f"reaches {max(finite):.3g}")
        if finite and min(finite) < self.limits.low:
            parts.append(f"falls to {min(finite):.3g}")
        if len(finite) < len(curve):
            first = next(epoch for epoch, value in curve if not math.isfinite(value))
            parts.append(f"is not finite in epoch {first + 1}")
        return " and ".join(parts)

    def _strips(self) -> list[Strip]:
        epochs = sorted({epoch for means in self._means.values() for epoch in means})
        chosen = epochs[:: math.ceil(len(epochs) / MOST_TITLES)] if epochs else []
        places = [self.x(epoch) for epoch in chosen]
        edges = [_LEFT, *((a + b) / 2 for a, b in itertools.pairwise(places)), WIDTH - _RIGHT]
        return [
            Strip(round(left, 1), round(right - left, 1), place, self._title(epoch))
            for epoch, place, left, right in zip(chosen, places, edges, edges[1:], strict=False)
        ]

    def _title(self, epoch: int) -> str:
        lines = [f"{self.metric}, epoch {epoch + 1}"]
        for some in self.series:
            if spread := self._means[some.label].get(epoch):
                count = f" (n = {spread.n})" if spread.n > 1 else ""
                lines.append(f"{some.label}: {mean_and_deviation(self.metric, spread)}{count}")
        return "\n".join(lines)

    def _epoch_ticks(self) -> list[float]:
        first, last = self.epochs
        ticks = [tick for tick in nice_ticks(first + 1, last + 1) if tick == int(tick)] or [float(first + 1)]
        has_room = self.x(ticks[0] - 1) - self.x(first) >= _TICK_WIDTH
        return [float(first + 1), *ticks] if has_room else ticks

    def _text(self, value: float) -> str:
        return f"{100 * value:.4g}%" if self.metric.endswith(("/acc", "/acc5")) else f"{value:.3g}"


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from ``low`` to ``high``, at most ``most`` and one."""
    if not high > low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * most >= high - low)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most about ``MOST_POINTS`` of the points, the last one included."""
    step = math.ceil(len(points) / MOST_POINTS) or 1
    return [point for index, point in enumerate(points) if index % step == 0 or index == len(points) - 1]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
