"""Crops, mirror images and affine maps of a batch, with parameters for each image.

Images are (B, C, H, W) with the channels innermost in memory, before and after, as the loaders yield them. Parameters
are NumPy arrays (B,), as they are drawn.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .draws import Bools, Floats, Integers


def crop(
    images: Tensor,
    padding: int = 0,
    top: Integers | int = 0,
    left: Integers | int = 0,
    mirrored: Bools | None = None,
    mode: str = "zero",
) -> Tensor:
    """Flips some images left and right, pads all of them, and crops a window (H, W) from each.

    Args:
        images: (B, C, H, W), of any type.
        padding: pixels on every side.
        top: the first row of the crop, 0 to twice the padding.
        left: the first column, likewise.
        mirrored: which images are mirrored, none by default.
        mode: ``"zero"`` pads with black pixels, ``"reflect"`` with the image mirrored at its border pixels.
    """
    n, channels, height, width = images.shape
    device = images.device
    pixels = images.permute(0, 2, 3, 1).contiguous()
    places = np.arange(n)
    if mirrored is not None:
        # Sort the images that are not mirrored first. Cropping restores the order.
        order = np.argsort(mirrored, kind="stable")
        straight = n - int(mirrored.sum())
        pixels = pixels.index_select(0, to(device, order))
        parts = pixels[:straight], pixels[straight:].flip(2)
        places[order] = np.arange(n)
    else:
        straight, parts = n, (pixels, pixels[n:])
    if mode == "zero":  # both parts are copied directly into the padded images, which saves a copy
        padded = pixels.new_zeros(n, height + 2 * padding, width + 2 * padding, channels)
        inner = padded[:, padding : padding + height, padding : padding + width]
        inner[:straight], inner[straight:] = parts
    else:
        padded = _pad(torch.cat(parts), padding, mode)
    return _cut(padded, places, top, left, height, width)


class Canvas:
    """Does the same as ``crop`` for a whole data set, which it pads and mirrors only once.

    It needs at least twice the memory of the images; about three times for 32x32 images padded by 4.

    Args:
        images: (N, H, W, C), the whole data set.
        padding: pixels on every side.
        mode: as for ``crop``.
    """

    def __init__(self, images: Tensor, padding: int, mode: str) -> None:
        self._count, self._height, self._width, _ = images.shape
        padded = _pad(images, padding, mode)
        self._padded = torch.cat((padded, padded.flip(2)))

    @staticmethod
    def nbytes(images: Tensor, padding: int) -> int:
        """The size of a canvas of these images, in bytes."""
        _, height, width, _ = images.shape
        return 2 * images.nbytes // (height * width) * (height + 2 * padding) * (width + 2 * padding)

    def cut(self, rows: Integers, top: Integers, left: Integers, mirrored: Bools | None) -> Tensor:
        """Returns the images of these rows (B,), cropped and mirrored: (B, C, H, W)."""
        places = rows if mirrored is None else rows + self._count * mirrored
        return _cut(self._padded, places, top, left, self._height, self._width)


def _cut(
    padded: Tensor, places: Integers, top: Integers | int, left: Integers | int, height: int, width: int
) -> Tensor:
    """Crops a window out of some of the images (N, H', W', C): (B, C, height, width)."""
    channels = padded.shape[3]
    # View the memory as a table of overlapping windows, one starting at each value, and select rows of it. This copies
    # whole lines of pixels and is many times faster than indexing each pixel.
    line = padded.shape[2] * channels
    count = max(padded.numel() - (height - 1) * line - width * channels + 1, 0)
    windows = padded.view(-1).as_strided((count, height, width * channels), (1, line, 1))
    first = places * (padded.shape[1] * line) + top * line + left * channels
    cut = windows.index_select(0, to(padded.device, first))
    return cut.view(len(places), height, width, channels).permute(0, 3, 1, 2)


def _pad(pixels: Tensor, padding: int, mode: str) -> Tensor:
    if mode == "zero":
        return F.pad(pixels, (0, 0, padding, padding, padding, padding))
    return _reflect(_reflect(pixels, 1, padding), 2, padding)


def _reflect(pixels: Tensor, axis: int, padding: int) -> Tensor:
    last = pixels.shape[axis] - 1
    place = np.abs(np.arange(-padding, last + 1 + padding))
    return pixels.index_select(axis, to(pixels.device, last - np.abs(last - place)))


def affine(images: Tensor, degrees: Floats, down: Floats, right: Floats, scale: Floats) -> Tensor:
    """Scales about the centre, rotates counter-clockwise, and moves, in one step of bilinear interpolation.

    Args:
        images: (B, C, H, W).
        degrees: the angle.
        down: the distance as a share of the height.
        right: the distance as a share of the width.
        scale: the factor; above 1 enlarges.

    Returns:
        (B, C, H, W) float32; pixels from outside are black.
    """
    _, _, height, width = images.shape
    angle = degrees * (math.pi / 180)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    # The source of each output pixel, in coordinates from -1 to 1 along both axes.
    x, y = -2 * right, -2 * down
    across, along = sin * (height / width), sin * (width / height)
    theta = [[cos, -across, cos * x - across * y], [along, cos, along * x + cos * y]]
    return sample(images, theta, "zeros").contiguous(memory_format=torch.channels_last)


def resized_crop(images: Tensor, top: Integers, left: Integers, height: Integers, width: Integers) -> Tensor:
    """Crops a box, given in pixels, from each image and scales it bilinearly to the image's size; returns float32."""
    _, _, rows, columns = images.shape
    zero = np.zeros(len(images))
    x, y = (2 * left + width) / columns - 1, (2 * top + height) / rows - 1
    theta = [[width / columns, zero, x], [zero, height / rows, y]]
    return sample(images, theta, "border").contiguous(memory_format=torch.channels_last)


def sample(images: Tensor, theta: list[list[Any]], outside: str, mode: str = "bilinear") -> Tensor:
    """Applies an affine map to each image.

    Args:
        images: (B, C, H, W).
        theta: two rows of three numbers or arrays (B,), which map an output pixel to its source, in coordinates from -1
            to 1 along both axes.
        outside: what pixels from outside are: ``"zeros"``, or ``"border"``, the nearest pixel inside.
        mode: ``"bilinear"`` or ``"nearest"``.

    Returns:
        (B, C, H, W) float32, with the channels outermost in memory.
    """
    matrices = np.array(theta, np.float32).transpose(2, 0, 1)  # (B, 2, 3)
    grid = F.affine_grid(to(images.device, matrices), list(images.shape), align_corners=False)
    # grid_sample is several times faster with the channels outermost
    return F.grid_sample(images.float().contiguous(), grid, mode=mode, padding_mode=outside, align_corners=False)


def mark_boxes(images: Tensor, top: Integers, left: Integers, height: Integers, width: Integers) -> Tensor:
    """Marks the pixels of a box in each image; the box may extend beyond the border: (B, C, H, W) bool."""
    channels, rows, columns = images.shape[1:]
    row, column = np.arange(rows), np.repeat(np.arange(columns), channels)
    in_rows = (row >= top[:, None]) & (row < (top + height)[:, None])
    in_columns = (column >= left[:, None]) & (column < (left + width)[:, None])
    inside = to(images.device, in_rows)[:, :, None] & to(images.device, in_columns)[:, None, :]
    return inside.view(len(top), rows, columns, channels).permute(0, 3, 1, 2)


def to(device: torch.device, parameters: Any) -> Tensor:
    """Copies an array to a device."""
    return torch.from_numpy(parameters).to(device, non_blocking=True)
