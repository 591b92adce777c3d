"""Figures of runs and models, drawn with matplotlib. Each function returns a figure; ``save`` writes it."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ..atomic_write import atomic_write

if TYPE_CHECKING:  # the import takes half a second, so it is left to the functions that draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = Sequence[tuple[float, float]]
"""Points (x, y), sorted by x."""

# `as_svg` replaces pure black by the page's text color. Text on a light cell has to stay dark on a dark page too.
_ALWAYS_BLACK = "#010101"
_LARGEST = 1e100  # the axes of matplotlib overflow beyond it
_METADATA = "Creator", "Date", "Format", "Type"  # entries that matplotlib writes into an SVG by default


def learning_curves(
    curves: Mapping[str, Mapping[str, Curve]], x_label: str = "epoch", colors: Mapping[str, str] | None = None
) -> "Figure":
    """Plots each quantity, one below the other, with a line for each run.

    Args:
        curves: by quantity (such as ``"val/acc"``), then by run.
        x_label: the label of the x axis.
        colors: the color of each run, for a figure whose legend is shown elsewhere. None adds a legend.
    """
    figure = _figure(5, 2.2 * len(curves))
    for number, (quantity, runs) in enumerate(curves.items(), start=1):
        axes = figure.add_subplot(len(curves), 1, number)
        for name, curve in runs.items():
            points = [point for point in curve if not abs(point[1]) > _LARGEST]
            if not points:
                continue
            color = colors[name] if colors else None
            marker = "." if len(points) < 30 else None
            axes.plot(
                *zip(*points, strict=True), label=_escape_dollars(name), linewidth=1.5, marker=marker, color=color
            )
        axes.locator_params(axis="x", integer=True)
        axes.set_title(_escape_dollars(quantity), loc="left", fontsize="medium")
        _simplify_axes(axes)
        if number == len(curves):
            axes.set_xlabel(x_label)
        if number == 1 and len(runs) > 1 and not colors:
            axes.legend(frameon=False, fontsize="small")
    return figure


def confusion_matrix(counts: NDArray[np.int64], classes: Sequence[str]) -> "Figure":
    """Draws image counts (K, K) by class (rows) and prediction (columns), colored by their share of the row."""
    has_labels = len(classes) <= 20
    side = max(3.5, 0.42 * len(classes)) if has_labels else 6
    figure = _figure(side + 0.5, side)
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="prediction", ylabel="class")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if not has_labels:  # the names of a hundred classes would overlap
        axes.set(xticks=[], yticks=[])
        return figure
    positions = range(len(classes))
    names = [_escape_dollars(name) for name in classes]
    axes.set_xticks(positions, names, rotation=90 if max(map(len, classes)) > 2 else 0)
    axes.set_yticks(positions, names)
    for row in positions:
        for column in positions:
            if counts[row, column]:
                color = "#ffffff" if shares[row, column] > 0.5 else _ALWAYS_BLACK
                axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize=7)
    return figure


def images_in_a_grid(images: Sequence[NDArray[np.uint8]], captions: Sequence[str], columns: int = 4) -> "Figure":
    """Images (H, W, 3) or (H, W), each with a caption above it."""
    columns = min(columns, max(len(images), 1))
    rows = math.ceil(len(images) / columns) or 1
    figure = _figure(1.7 * columns, 2.0 * rows, layout=None)  # the constrained layout is slow for many axes
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(number, columns)
        axes = figure.add_axes(((column + 0.05) / columns, 1 - (row + 0.95) / rows, 0.9 / columns, 0.75 / rows))
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.set_title(_escape_dollars(caption), fontsize=7)
        axes.set_axis_off()
    return figure


def embedding(points: NDArray[np.float64], labels: NDArray[np.int64], classes: Sequence[str]) -> "Figure":
    """Points (N, 2) in the plane, colored by class."""
    from matplotlib import colormaps

    figure = _figure(6, 5)
    axes = figure.add_subplot()
    colors = colormaps["tab10" if len(classes) <= 10 else "nipy_spectral"]
    for label, name in enumerate(classes):
        chosen = points[labels == label]
        color = colors(label if len(classes) <= 10 else label / (len(classes) - 1))
        axes.scatter(chosen[:, 0], chosen[:, 1], s=8, linewidths=0, alpha=0.8, color=color, label=_escape_dollars(name))
    axes.set(xlabel="first principal component", ylabel="second principal component")
    _simplify_axes(axes)
    if len(classes) <= 20:
        axes.legend(frameon=False, fontsize="small", markerscale=2, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def learning_rates(rates: Sequence[float], losses: Sequence[float], suggestion: float) -> "Figure":
    """Plots the loss over the learning rate, with a line where it falls fastest."""
    figure = _figure(5, 3)
    axes = figure.add_subplot()
    axes.plot(rates, losses, linewidth=1.5)
    axes.axvline(suggestion, linestyle="--", linewidth=1)
    axes.set(xlabel="learning rate", ylabel="loss", xscale="log", title=f"steepest at {suggestion:.2g}")
    _simplify_axes(axes)
    return figure


def save_mosaic(images: NDArray[np.uint8], path: Path, columns: int = 8, side: int = 96) -> Path:
    """Writes a grid of images (N, H, W, C) as PNG, each enlarged by a whole number to about ``side`` pixels."""
    from PIL import Image

    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    height, width, channels = images.shape[1:]
    times = max(side // max(height, width), 1)
    canvas = np.full((rows, height + 1, columns, width + 1, channels), 128, np.uint8)
    for number, image in enumerate(images):
        canvas[number // columns, :height, number % columns, :width] = image
    pixels = canvas.reshape(rows * (height + 1), columns * (width + 1), channels)
    pixels = pixels.repeat(times, 0).repeat(times, 1)
    with atomic_write(path) as file:
        Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels).save(file, "PNG")
    return path


def decode_png(png: bytes) -> NDArray[np.uint8]:
    """The pixels (H, W, C) or (H, W) of a PNG."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        return np.array(image)


def save(figure: "Figure", path: Path) -> Path:
    """Writes a figure as PNG."""
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)
    return path


def as_svg(figure: "Figure") -> str:
    """The figure as an SVG element that takes the text color of its page and scales with the available width."""
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "resnet_lightning"}):
        figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
    svg = file.getvalue()
    svg = svg[svg.index("<svg ") :].replace("#000000", "currentColor")
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # unused, and ids must be unique in a page with several figures
    return re.sub(
        r'<svg (.*?)width="([\d.]+)pt" height="[\d.]+pt"',
        r'<svg fill="currentColor" style="max-width:\2pt" \1',
        svg,
        count=1,
    )


def _figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> "Figure":
    """A figure without pyplot, which keeps figures in memory until they are closed and may need a display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def _escape_dollars(text: str) -> str:
    """Escapes dollar signs, which matplotlib would read as the start of a formula."""
    return text.replace("$", r"\$")


def _simplify_axes(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
