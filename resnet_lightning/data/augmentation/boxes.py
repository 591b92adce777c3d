"""Random boxes with a given range of areas and aspect ratios, one for each image, all drawn at once."""

import math
from typing import NamedTuple

import numpy as np

from .draws import Draws, Integers

_TRIES = 10  # as many as torchvision makes


class Boxes(NamedTuple):
    """A box in each of B images, in whole pixels: first row, first column, rows, columns; each (B,) int64."""

    top: Integers
    left: Integers
    height: Integers
    width: Integers


def draw_boxes(
    draws: Draws,
    purpose: int,
    heights: Integers,
    widths: Integers,
    area: tuple[float, float],
    aspect: tuple[float, float],
    *,
    or_else_middle: bool,
) -> Boxes:
    """Draws boxes with a random share of the image's area and a random ratio of width to height.

    The logarithm of the ratio is uniform. Ten boxes are drawn, and the first that fits into the image is used, as in
    torchvision's ``RandomResizedCrop`` and ``RandomErasing``.

    Args:
        draws: the images' random numbers.
        purpose: which of these numbers are used.
        heights: (B,) the heights of the images.
        widths: (B,) their widths.
        area: the smallest and the largest share.
        aspect: the smallest and the largest ratio.
        or_else_middle: if no box fits, return the largest central one of an allowed ratio instead of an empty one.
    """
    numbers = draws.uniform(purpose, 2 * _TRIES + 2).astype(np.float64)
    wanted = (area[0] + (area[1] - area[0]) * numbers[:_TRIES]) * heights * widths
    low, high = (math.log(ratio) for ratio in aspect)
    ratio = np.exp(low + (high - low) * numbers[_TRIES : 2 * _TRIES])
    rows = np.rint(np.sqrt(wanted / ratio)).astype(np.int64)
    columns = np.rint(np.sqrt(wanted * ratio)).astype(np.int64)
    fits = (rows > 0) & (rows <= heights) & (columns > 0) & (columns <= widths)
    first = fits.argmax(0)
    chosen = np.arange(len(first))
    height, width = rows[first, chosen], columns[first, chosen]
    top = (numbers[-2] * (heights - height + 1)).astype(np.int64)
    left = (numbers[-1] * (widths - width + 1)).astype(np.int64)
    none = ~fits.any(0)
    if or_else_middle:
        height = np.where(none, np.minimum(heights, np.rint(widths / aspect[0])).astype(np.int64), height)
        width = np.where(none, np.minimum(widths, np.rint(heights * aspect[1])).astype(np.int64), width)
        top, left = np.where(none, (heights - height) // 2, top), np.where(none, (widths - width) // 2, left)
    else:
        height, width = np.where(none, 0, height), np.where(none, 0, width)
    return Boxes(top, left, height, width)
