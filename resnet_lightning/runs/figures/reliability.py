"""The reliability diagram: accuracy by confidence."""

from typing import TYPE_CHECKING

from ..reliability import BINS, Bin, Reliability
from ..scores import wilson_interval
from .style import BLUE, QUIET, new_figure, style

if TYPE_CHECKING:  # the import takes half a second, so it is left to the functions that draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@style()
def reliability(found: Reliability) -> "Figure":
    """Draws the accuracy of the images of each bin by their confidence, and below it how many there are.

    A calibrated model lies on the diagonal (Guo et al. 2017, Figure 1). The lines are 95 % intervals of the accuracy
    (Wilson 1927). If the model has a temperature, it is drawn without it, too.
    """
    figure = new_figure(4.4, 5.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    for axes in upper, lower:
        axes.grid(color=QUIET, alpha=0.2)  # on a light and on a dark page
    upper.plot([0, 100], [0, 100], color=QUIET, linewidth=0.9, linestyle=(0, (3, 3)), zorder=1)
    if found.before is not None:
        _draw_bins(upper, found.before, QUIET, f"without temperature, ECE {found.error_before:.2%}", hollow=True)
    name = "" if found.temperature is None else f"temperature {found.temperature:.2f}, "
    _draw_bins(upper, found.bins, BLUE, f"{name}ECE {found.error:.2%}")
    upper.set(ylabel="accuracy (%)", xlim=(-1, 102), ylim=(-2, 104))
    upper.set_title(f"Accuracy by confidence, {sum(one.images for one in found.bins):,} test images")
    upper.plot([], [], " ", label=f"by chance, ECE up to {found.error_by_chance:.2%}")
    left, counts = [100 * one.low for one in found.bins], [one.images for one in found.bins]
    lower.bar(left, counts, 94 / BINS, align="edge", color=BLUE)
    lower.set(xlabel="confidence (%)", ylabel="images", yscale="log", ylim=(0.7, 2 * max(counts)))
    lower.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    lower.minorticks_off()
    figure.legend(loc="outside lower left", frameon=False)  # the points may be anywhere
    return figure


def _draw_bins(axes: "Axes", bins: list[Bin], color: str, label: str, *, hollow: bool = False) -> None:
    x, y = [100 * one.confidence for one in bins], [100 * one.accuracy for one in bins]
    ends = [wilson_interval(one.right, one.images) for one in bins]
    below = [max(one.accuracy - low, 0.0) * 100 for one, (low, _) in zip(bins, ends, strict=True)]
    above = [max(high - one.accuracy, 0.0) * 100 for one, (_, high) in zip(bins, ends, strict=True)]
    if not hollow:
        axes.errorbar(x, y, (below, above), fmt="none", ecolor=color, elinewidth=1, alpha=0.6)
    face = "none" if hollow else color
    axes.plot(x, y, "o", markersize=5, color=color, markerfacecolor=face, label=label, clip_on=False, zorder=3)
