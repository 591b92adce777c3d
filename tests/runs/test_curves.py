"""The learning curves of the report: their axes, bands and values, and runs that diverge."""

import datetime
import math
import re
from pathlib import Path

import pytest

from resnet_lightning.runs.reader import Run
from resnet_lightning.runs.report.curves import MOST_POINTS, MOST_TITLES, Series, chart, diverged, nice_ticks
from resnet_lightning.runs.report.limits import robust_limits


def run_with(**curves: list[float]) -> Run:
    """A run with these values by epoch, such as ``val_loss``."""
    points = {name.replace("_", "/"): list(enumerate(values)) for name, values in curves.items()}
    return Run(Path("a"), {}, {}, "finished", datetime.datetime.now().astimezone(), points, None, ())


def series(*runs: Run, color: str = "#2f7ed8") -> Series:
    return Series(color, f"setting {color}", {str(number): run for number, run in enumerate(runs, start=1)})


def falling(start: float = 2.3, epochs: int = 30) -> list[float]:
    return [start * 0.8**epoch for epoch in range(epochs)]


def ys(points: str) -> list[float]:
    return [float(point.split(",")[1]) for point in points.split()]


def test_the_axis_holds_usual_curves_whole():
    curves = [falling(2.3), falling(4.1), falling(1.9)]
    limits = robust_limits(curves)
    assert (limits.low, limits.high) == (min(map(min, curves)), 4.1)
    assert not limits.cut_above
    assert not limits.cut_below


@pytest.mark.parametrize("others", [1, 2, 3, 10])
@pytest.mark.parametrize("factor", [10, 1e6, 1e30])
def test_a_diverged_run_does_not_stretch_the_axis(others, factor):
    curves = [falling(2 + number / 10) for number in range(others)]
    limits = robust_limits([*curves, [2.5 * factor] * 30])
    assert limits.high == max(map(max, curves))
    assert limits.cut_above


def test_most_runs_may_diverge():
    limits = robust_limits([falling(), *([1e5 * number] * 30 for number in (1, 2, 3))])
    assert limits.high == 2.3


def test_a_spike_of_one_run_does_not_stretch_the_axis():
    values = falling()
    values[20] = 1e5
    limits = robust_limits([values])
    assert limits.high == 2.3
    assert limits.cut_above


def test_values_far_below_are_cut_too():
    limits = robust_limits([[1.0, 2.0, 3.0], [1.5, 2.5, 3.0], [-1e9, 2.0, 3.0]])
    assert (limits.low, limits.high) == (1.0, 3.0)
    assert limits.cut_below


@pytest.mark.parametrize("curves", [[], [[]], [[math.nan, math.inf]]])
def test_without_finite_values_there_is_no_axis(curves):
    assert robust_limits(curves) is None


def test_constant_values_have_an_axis():
    assert chart(0, "val/loss", [series(run_with(val_loss=[0.5, 0.5, 0.5]))]).lines
    assert chart(0, "val/loss", [series(run_with(val_loss=[0.5]))]).dots


def test_the_line_is_the_mean_and_the_band_one_deviation():
    drawn = chart(0, "val/acc", [series(run_with(val_acc=[0.1, 0.9]), run_with(val_acc=[0.2, 0.7]))])
    (band,), (line,) = drawn.bands, drawn.lines
    low_end, high_end = ys(line.points)  # 0.15 and 0.8
    upper = ys(band.points)[:2]
    scale = (low_end - high_end) / (0.8 - 0.15)
    assert low_end - upper[0] == pytest.approx(scale * 0.05 * math.sqrt(2), abs=0.2)
    assert high_end - upper[1] == pytest.approx(scale * 0.1 * math.sqrt(2), abs=0.2)
    assert drawn.strips[1].title == "val/acc, epoch 2\nsetting #2f7ed8: 80.00% ± 14.14% (n = 2)"
    assert chart(0, "val/acc", [series(run_with(val_acc=[0.1, 0.9]))]).bands == []


def test_a_diverged_run_is_dashed_marked_and_not_in_the_mean():
    usual = [run_with(val_loss=falling(), val_acc=[0.9] * 30) for _ in range(2)]
    bad = run_with(val_loss=[10.0**epoch for epoch in range(30)], val_acc=[0.1] * 30)
    some = [series(*usual, bad)]
    alone = diverged(["val/loss", "val/acc"], some)
    assert alone == {"3"}
    drawn = chart(0, "val/loss", some, alone)
    assert [line.kind for line in drawn.lines] == ["mean", "alone"]
    assert drawn.note == "The axis is cut: run 3 reaches 1e+29. Dashed, in the tables but not in this mean: run 3."
    assert len(drawn.marks) == 1
    assert "n = 2" in drawn.strips[-1].title
    accuracy = chart(1, "val/acc", some, alone)  # its accuracy is on the axis, but it diverged
    assert "90.00% ± 0.00% (n = 2)" in accuracy.strips[-1].title


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_run_that_is_not_finite_is_named(value):
    some = [series(run_with(train_loss=falling()), run_with(train_loss=[2.0, 1.0, value]))]
    drawn = chart(0, "train/loss", some, diverged(["train/loss"], some))
    assert "run 2 is not finite in epoch 3" in drawn.note
    places = [float(number) for line in drawn.lines for number in re.split("[ ,]", line.points)]
    assert all(map(math.isfinite, places))


def test_long_runs_have_a_bounded_number_of_points_and_titles():
    drawn = chart(0, "val/loss", [series(run_with(val_loss=falling(2.3, 5000)))])
    assert len(drawn.lines[0].points.split()) <= MOST_POINTS + 1
    assert len(drawn.strips) <= MOST_TITLES
    assert sum(strip.width for strip in drawn.strips) == pytest.approx(366, abs=5)  # the whole axis


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0.03, 2.3, [0.5, 1, 1.5, 2]), (1, 30, [10, 20, 30]), (5, 5, [5])],
)
def test_ticks_are_round_numbers(low, high, ticks):
    assert nice_ticks(low, high) == ticks
