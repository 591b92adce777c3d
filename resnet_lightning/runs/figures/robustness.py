"""The accuracy on corrupted images, in the colors of the report."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .style import QUIET, WRONG, new_figure, style

if TYPE_CHECKING:  # the import takes half a second, so it is left to the functions that draw
    from matplotlib.figure import Figure

_CELL = 0.55, 0.3  # width and height in inches


@style()
def robustness(accuracies: Mapping[str, Sequence[float]], clean: float) -> "Figure":
    """Draws the accuracy by corruption (rows) and strength (columns), in percent.

    The color of a cell is the stronger, the more of the clean accuracy is lost.

    Args:
        accuracies: by corruption, the accuracy in each strength, from 0 to 1.
        clean: the accuracy on the images as they are.
    """
    from matplotlib.colors import to_rgb

    values = np.array([[*row, np.mean(row)] for row in accuracies.values()])
    rows, columns = values.shape
    figure = new_figure(_CELL[0] * columns + 1.6, _CELL[1] * rows + 0.8)
    axes = figure.add_subplot()
    colors = np.zeros((rows, columns, 4))
    colors[..., :3] = to_rgb(WRONG)
    colors[..., 3] = 0.75 * np.clip(1 - values / max(clean, 1e-9), 0, 1)
    axes.imshow(colors, interpolation="nearest", aspect="auto")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.tick_params(axis="x", labeltop=True, labelbottom=False)
    axes.xaxis.set_label_position("top")
    axes.set_xticks(range(columns), [*map(str, range(1, columns)), "mean"])
    axes.set_yticks(range(rows), [name.replace("_", " ") for name in accuracies])
    axes.axvline(columns - 1.5, color=QUIET, linewidth=0.8)
    for (row, column), value in np.ndenumerate(values):
        axes.text(column, row, f"{value:.1%}", ha="center", va="center", fontsize=7.5)
    axes.set_xlabel("strength")
    title = f"Accuracy on corrupted images (clean: {clean:.1%})"
    figure.suptitle(title, fontsize=10, x=0.02, ha="left")
    return figure
