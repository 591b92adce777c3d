"""Curves of a run: its losses and accuracies by epoch, and the loss by learning rate."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..report.limits import robust_limits
from .style import BLUE, ORANGE, QUIET, escape_dollars, new_figure, style

if TYPE_CHECKING:  # the import takes half a second, so it is left to the functions that draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = Sequence[tuple[float, float]]
"""Points (x, y), sorted by x."""

_STAGES = {"train": ("training", BLUE), "val": ("validation", ORANGE)}
_NAMES = {"acc": "accuracy (%)", "acc5": "top-5 accuracy (%)"}
_FEW = 30  # so many points are drawn as points too


@style()
def learning_curves(
    curves: Mapping[str, Curve], best: tuple[str, int] | None = None, *, of_label_sets: bool = False
) -> "Figure":
    """Plots the losses and accuracies of a run by epoch, training and validation in one plot.

    Args:
        curves: by metric, such as ``val/acc``, the pairs (epoch, value) with epochs counted from 0. Accuracies are
            shares; the figure shows epochs from 1, and percent.
        best: marks the best epoch: the metric that chooses it, and the epoch.
        of_label_sets: an image has any number of labels; its accuracy is the share of those with all labels right.
    """
    names = {**_NAMES, "acc": "images with all labels right (%)"} if of_label_sets else _NAMES
    quantities: dict[str, dict[str, Curve]] = {}
    for metric, curve in curves.items():
        stage, _, quantity = metric.partition("/")
        points = [(epoch + 1, value) for epoch, value in curve if math.isfinite(value)]
        if points and stage in _STAGES:
            quantities.setdefault(quantity, {})[stage] = points
    figure = new_figure(max(4.4 * len(quantities), 4.4), 3.4)
    for number, (quantity, stages) in enumerate(quantities.items(), start=1):
        axes = figure.add_subplot(1, len(quantities), number)
        axes.set_title(escape_dollars(names.get(quantity, quantity)))
        _draw_quantity(axes, quantity, stages, best)
    return figure


def _draw_quantity(axes: "Axes", quantity: str, stages: Mapping[str, Curve], best: tuple[str, int] | None) -> None:
    factor = 100 if quantity in _NAMES else 1
    for stage, curve in stages.items():
        name, color = _STAGES[stage]
        x, y = zip(*curve, strict=True)
        marker = "." if len(curve) <= _FEW else None
        axes.plot(x, [factor * value for value in y], color=color, label=name, marker=marker, clip_on=False)
    axes.set_xlabel("epoch")
    last = max(epoch for curve in stages.values() for epoch, _ in curve)
    axes.set_xlim(1 - 0.02 * last if last > 1 else 0.5, 1.02 * last if last > 1 else 1.5)
    axes.set_xticks(_ticks(int(last)))
    if best:
        _mark_best(axes, quantity, stages, best, factor)
    if factor == 1:  # shares are within [0, 100]: no value is far away
        _set_limits(axes, list(stages.values()))
    spaces = {"columnspacing": 1.0, "handlelength": 1.4, "handletextpad": 0.5}
    axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.17), ncols=3, **spaces)  # where it hides no line


def _ticks(last: int) -> list[int]:
    """The first and the last epoch, and round numbers between them."""
    step = next((step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500) if last <= 7 * step), last)
    between = [epoch for epoch in range(step, last, step) if epoch > 1 and last - epoch > step / 2]
    return sorted({1, *between, last})


def _set_limits(axes: "Axes", curves: Sequence[Curve]) -> None:
    """Sets the range of the y axis, which single values that are far away do not stretch, and clips what is drawn."""
    limits = robust_limits([[value for _, value in curve] for curve in curves])
    if limits and (limits.cut_above or limits.cut_below):
        margin = 0.05 * (limits.high - limits.low)
        axes.set_ylim(limits.low - margin, limits.high + margin)
        for line in axes.get_lines():
            line.set_clip_on(True)


def _mark_best(axes: "Axes", quantity: str, stages: Mapping[str, Curve], best: tuple[str, int], factor: int) -> None:
    metric, epoch = best[0], best[1] + 1
    line = axes.axvline(epoch, color=QUIET, linewidth=0.9, linestyle=(0, (3, 3)), zorder=1)
    stage, _, monitored = metric.partition("/")
    value = dict(stages.get(stage, ())).get(epoch)
    if value is None:
        line.set_label(f"best epoch: {epoch}")
        return
    shown = f"{value:.2%}" if factor == 100 else f"{value:.4g}"
    if monitored != quantity:  # the best epoch by another metric
        line.set_label(f"best epoch {epoch}: {shown}")
        return
    axes.plot(
        *(epoch, factor * value),
        marker="o",
        markersize=7,
        markerfacecolor="none",
        markeredgecolor=_STAGES[stage][1],
        markeredgewidth=1.5,
        linestyle="none",
        label=f"best: {shown} in epoch {epoch}",
        clip_on=False,
    )


@style()
def learning_rates(rates: Sequence[float], losses: Sequence[float], suggestion: float) -> "Figure":
    """Plots the loss over the learning rate, with a line where it falls fastest."""
    figure = new_figure(5, 3)
    axes = figure.add_subplot()
    axes.plot(rates, losses, color=BLUE)
    axes.axvline(suggestion, linestyle="--", linewidth=1, color=ORANGE)
    axes.set(xlabel="learning rate", ylabel="loss", xscale="log", title=f"The loss falls fastest at {suggestion:.2g}")
    return figure
