"""Images in feature space."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .style import PAGE, SERIES, escape_dollars, new_figure, shortened, style, text_width

if TYPE_CHECKING:  # the import takes half a second, so it is left to the functions that draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = *SERIES, "#8c564b", "#6f7680"
_LONGEST_NAME = 24
_FEW = 20  # classes; each of them has a name in the figure, of more those that have a place
_LETTER = 0.68  # mean width of a bold letter, as a share of the type size
_LINES_AWAY = 6  # how far a name may move from its cluster


@style()
def embedding(
    points: NDArray[np.float64],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    shares: Sequence[float] | None = None,
) -> "Figure":
    """Points (N, 2) in the plane of two principal components, colored by class, with a name at each cluster.

    Names that would overlap move up or down. Of more than 20 classes, names that find no place are left out.

    Args:
        points: the points.
        labels: the label of each point (N,).
        classes: the name of each class.
        shares: the share of the variance of each component.
    """
    figure = new_figure(6.4, 5.6)
    axes = figure.add_subplot()
    present = [label for label in range(len(classes)) if (labels == label).any()]
    colors = dict(zip(present, _colors(len(classes), present), strict=True))
    shown = np.random.default_rng(0).permutation(len(points))  # no class lies on top of all others
    of_points = [colors[int(label)] for label in labels[shown]]
    axes.scatter(points[shown, 0], points[shown, 1], s=9, linewidths=0, alpha=0.6, c=of_points)
    names = ["first principal component", "second principal component"]
    if shares is not None:
        names = [f"{name}, {share:.0%} of the variance" for name, share in zip(names, shares, strict=True)]
    count = f"{len(points):,} test images" if len(points) != 1 else "1 test image"
    axes.set(title=f"{count} by the features of the last layer", xlabel=names[0], ylabel=names[1])
    medians = {label: np.median(points[labels == label], axis=0) for label in present}
    _write_names(axes, {label: classes[label] for label in present}, medians, colors)
    return figure


def _colors(count: int, labels: Sequence[int]) -> Iterator[tuple[float, float, float]]:
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    for label in labels:
        few = count <= len(_COLORS)
        yield to_rgb(_COLORS[label] if few else colormaps["turbo"]((label + 0.5) / count))


def _write_names(
    axes: "Axes",
    names: dict[int, str],
    medians: dict[int, NDArray[np.float64]],
    colors: dict[int, tuple[float, float, float]],
) -> None:
    """Writes the names of classes at their medians, or as near to them as other names leave room."""
    from matplotlib import patheffects

    size = 9.0 if len(names) <= _FEW else 6.0
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # only now does the layout state where the axes are
    points_per_pixel = 72 / figure.dpi
    window = axes.get_window_extent()
    left, right = window.x0 * points_per_pixel, window.x1 * points_per_pixel
    taken: list[tuple[float, float, float]] = []  # the center of a name, and half its width
    for label, name in names.items():
        text = shortened(name, _LONGEST_NAME)
        half = text_width(text) * size * _LETTER / 2
        x, y = axes.transData.transform(medians[label]) * points_per_pixel
        inside = float(min(max(x, left + half), max(right - half, left + half)))
        steps = [step * sign * 1.15 * size for step in range(_LINES_AWAY + 1) for sign in (1, -1)]
        free = [step for step in steps if not _is_taken(inside, y + step, half, size, taken)]
        if not free and len(names) > _FEW:
            continue
        move = free[0] if free else 0.0
        taken.append((inside, y + move, half))
        written = axes.annotate(
            escape_dollars(text),
            (float(medians[label][0]), float(medians[label][1])),
            xytext=(inside - x, move),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=size,
            fontweight="bold",
            color=[0.6 * value for value in colors[label]],
        )
        written.set_path_effects([patheffects.withStroke(linewidth=2.2, foreground=PAGE)])


def _is_taken(x: float, y: float, half: float, size: float, taken: Sequence[tuple[float, float, float]]) -> bool:
    return any(abs(x - at) < half + other and abs(y - line) < 1.1 * size for at, line, other in taken)
