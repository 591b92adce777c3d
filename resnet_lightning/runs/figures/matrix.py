"""The confusion matrix, in the colors of the report."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .style import RIGHT, WRONG, escape_dollars, new_figure, shortened, style, text_width

if TYPE_CHECKING:  # the import takes half a second, so it is left to the functions that draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_COUNTS = 20  # classes; with more, a cell has no room for a number
_MOST_PERCENT = 12  # likewise for a second number
_MOST_NAMES = 120
_LONGEST_NAME = 30


def order_of_classes(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The classes by accuracy, the lowest first; those without images last."""
    totals = counts.sum(1)
    shares = np.where(totals > 0, counts.diagonal() / np.maximum(totals, 1), np.inf)
    return np.argsort(shares, kind="stable")


@style()
def confusion_matrix(counts: NDArray[np.int64], classes: Sequence[str]) -> "Figure":
    """Draws image counts (K, K) by class (rows) and prediction (columns), with the accuracy of each class.

    The color of a cell is the stronger, the larger its share of the row. With more than 20 classes, a cell has a color
    alone, and the classes are sorted by their accuracy.
    """
    number = len(classes)
    if number > _MOST_COUNTS:
        order = order_of_classes(counts)
        counts, classes = counts[np.ix_(order, order)], [classes[label] for label in order]
    cell = min(max(4 / number, 0.42), 0.9) if number <= _MOST_COUNTS else max(9 / number, 0.01)
    names = [escape_dollars(shortened(name, _LONGEST_NAME)) for name in classes]
    has_names = number <= _MOST_NAMES
    letters = max(map(text_width, names)) if has_names else 0
    type_size = min(8.0, 72 * cell * 0.8)
    room = letters * type_size / 72 * 0.62 + 1.1
    figure = new_figure(cell * number + room + 0.7, cell * number + room)
    right, total = int(counts.trace()), int(counts.sum())
    images = f"{total:,} test images" if total != 1 else "1 test image"
    figure.suptitle(f"{images}, {right / max(total, 1):.1%} right", fontsize=10, x=0.02, ha="left")
    axes = figure.add_subplot()
    axes.imshow(_colors(counts), interpolation="nearest", aspect="equal")
    axes.grid(visible=False)
    axes.spines[:].set_visible(number > _MOST_COUNTS)
    axes.tick_params(length=0, labelsize=type_size)
    axes.tick_params(axis="x", labeltop=True, labelbottom=False)
    axes.xaxis.set_label_position("top")
    sorted_by = ", sorted by accuracy" if number > _MOST_COUNTS else ""
    axes.set(xlabel="prediction", ylabel=f"class{sorted_by}")
    if not has_names:
        axes.set(xticks=[], yticks=[])
        return figure
    positions = range(number)
    is_long = letters * type_size * 0.62 > 72 * cell
    axes.set_xticks(positions, names, rotation=90 if is_long else 0)
    axes.set_yticks(positions, names)
    _write_accuracies(axes, counts, type_size)
    if number <= _MOST_COUNTS:
        _lines_between_cells(axes, number)
        _write_counts(axes, counts, cell)
    return figure


def _colors(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The color of each cell (K, K, 4), transparent where there is no image.

    The square root of the share keeps single images visible.
    """
    from matplotlib.colors import to_rgb

    totals = np.maximum(counts.sum(1, keepdims=True), 1)
    colors = np.zeros((*counts.shape, 4))
    colors[..., :3] = to_rgb(WRONG)
    colors[..., 3] = np.where(counts > 0, 0.15 + 0.4 * np.sqrt(counts / totals), 0)
    diagonal = np.arange(len(counts))
    colors[diagonal, diagonal, :3] = to_rgb(RIGHT)
    return colors


def _write_accuracies(axes: "Axes", counts: NDArray[np.int64], type_size: float) -> None:
    """Writes the accuracy of each class at the end of its row."""
    totals = counts.sum(1)
    shares = [f"{counts[k, k] / totals[k]:.1%}" if totals[k] else "-" for k in range(len(counts))]
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(counts)), shares)
    right.set_ylabel("accuracy")
    right.tick_params(length=0, labelsize=type_size)
    right.spines[:].set_visible(False)


def _lines_between_cells(axes: "Axes", number: int) -> None:
    places = np.arange(number + 1) - 0.5
    axes.set_xticks(places, minor=True)
    axes.set_yticks(places, minor=True)
    axes.grid(visible=True, which="minor")
    axes.tick_params(which="minor", length=0)


def _write_counts(axes: "Axes", counts: NDArray[np.int64], cell_size: float) -> None:
    totals = np.maximum(counts.sum(1), 1)
    has_percent = len(counts) <= _MOST_PERCENT
    middle: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center"}
    for row, column in zip(*counts.nonzero(), strict=True):
        count, cell = counts[row, column], (column, row)
        type_size = 8 if len(f"{count:,}") * 8 * 0.62 < 72 * cell_size else 6
        axes.annotate(f"{count:,}", cell, xytext=(0, 4 if has_percent else 0), fontsize=type_size, **middle)
        if has_percent:
            share = f"{count / totals[row]:.1%}"
            axes.annotate(share, cell, xytext=(0, -7), fontsize=6.5, **middle)
