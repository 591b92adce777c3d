"""Images in feature space."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .style import PAGE, SERIES, escape_dollars, new_figure, shortened, style

if TYPE_CHECKING:  # the import takes half a second, so it is left to the functions that draw
    from matplotlib.figure import Figure

_COLORS = *SERIES, "#8c564b", "#6f7680"
_LONGEST_NAME = 18


@style()
def embedding(
    points: NDArray[np.float64],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    shares: Sequence[float] | None = None,
) -> "Figure":
    """Points (N, 2) in the plane of two principal components, colored by class, with a name at each cluster.

    Args:
        points: the points.
        labels: the label of each point (N,).
        classes: the name of each class.
        shares: the share of the variance of each component.
    """
    from matplotlib import colormaps, patheffects
    from matplotlib.colors import to_rgb

    figure = new_figure(6.4, 5.6)
    axes = figure.add_subplot()
    many = colormaps["turbo"]
    size = 8 if len(classes) <= 20 else 5.5
    for label, name in enumerate(classes):
        chosen = points[labels == label]
        if not len(chosen):
            continue
        color = _COLORS[label] if len(classes) <= len(_COLORS) else many((label + 0.5) / len(classes))
        axes.scatter(chosen[:, 0], chosen[:, 1], s=9, linewidths=0, alpha=0.6, color=color)
        text = axes.text(
            float(np.median(chosen[:, 0])),
            float(np.median(chosen[:, 1])),
            escape_dollars(shortened(name, _LONGEST_NAME)),
            ha="center",
            va="center",
            fontsize=size,
            fontweight="bold",
            color=[0.6 * value for value in to_rgb(color)],
        )
        text.set_path_effects([patheffects.withStroke(linewidth=2.2, foreground=PAGE)])
    names = ["first principal component", "second principal component"]
    if shares is not None:
        names = [f"{name}, {share:.0%} of the variance" for name, share in zip(names, shares, strict=True)]
    axes.set(title=f"{len(points):,} test images by the features of the last layer", xlabel=names[0], ylabel=names[1])
    return figure
