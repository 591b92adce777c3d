"""Blurs as weighted sums of shifted images, so that a result does not depend on the batch.

A convolution of torch may sum in an order that depends on the number of images. Images are (B, C, H, W) float32 with
values in [0, 255], before and after; pixels outside are the nearest pixel inside.
"""

import math
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from .noise import uniform

Floats = npt.NDArray[np.float64]

_MOST_DEGREES = 45


def gaussian_blur(images: Tensor, keys: Tensor, sigma: float) -> Tensor:
    """Blurs with a Gaussian of ``sigma`` pixels, cut at four sigma."""
    return smooth(images, sigma, cut=4.0)


def smooth(images: Tensor, sigma: float, cut: float) -> Tensor:
    """Blurs with a Gaussian, along the rows and then along the columns; ``cut`` is its radius in sigma."""
    radius = int(cut * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    return _filter(_filter(images, weights[None, :]), weights[:, None])


def defocus_blur(images: Tensor, keys: Tensor, radius: float, sigma: float) -> Tensor:
    """Blurs with a disc of ``radius`` pixels, whose edge is softened with a Gaussian of ``sigma`` pixels."""
    return _filter(images, _disc(radius, sigma))


def motion_blur(images: Tensor, keys: Tensor, radius: int, sigma: float) -> Tensor:
    """Blurs along a line, in a direction of its own for each image, of -45 to 45 degrees.

    The weights fall as a Gaussian of ``sigma`` pixels over ``2 * radius + 1`` pixels on one side: a camera slows down.
    """
    width = 2 * radius + 1
    weights = np.exp(-0.5 * (np.arange(width) / sigma) ** 2)
    weights /= weights.sum()
    angles = (2 * uniform(keys, (1,)) - 1) * math.radians(_MOST_DEGREES)  # (B, 1)
    height, length = images.shape[-2:]
    rows, columns = (torch.arange(size, device=images.device) for size in (height, length))
    pixels, blurred = images.flatten(2), torch.zeros_like(images)
    for distance, weight in enumerate(weights.tolist()):
        down, right = (torch.ceil(distance * part - 0.5).long() for part in (angles.sin(), angles.cos()))
        row = (rows + down).clamp_(0, height - 1)
        column = (columns + right).clamp_(0, length - 1)
        places = (row[:, :, None] * length + column[:, None, :]).flatten(1)
        taken = pixels.gather(2, places[:, None].expand(pixels.shape))
        blurred += weight * taken.view(images.shape)
    return blurred


def zoom_blur(images: Tensor, keys: Tensor, largest: float, step: float) -> Tensor:
    """Averages the image and its enlargements about the centre, by factors from 1 up to below ``largest``."""
    factors = np.arange(1, largest, step)
    shape = images.shape
    pixels = images.permute(2, 3, 0, 1).flatten(2).contiguous()  # (H, W, B * C): rows that are fast to copy
    total = pixels.clone()
    for factor in factors.tolist():
        total += _enlarged(_enlarged(pixels, factor, 0), factor, 1)
    return (total / (len(factors) + 1)).view(*shape[2:], *shape[:2]).permute(2, 3, 0, 1)


def _enlarged(pixels: Tensor, factor: float, dim: int) -> Tensor:
    """Enlarges pixels (H, W, N) along axis 0 or 1 about its centre, between the nearest two pixels."""
    size = pixels.shape[dim]
    middle = (size - 1) / 2
    places = (np.arange(size) - middle) / factor + middle
    lower = np.floor(places)
    near, far = (
        pixels.index_select(dim, torch.from_numpy(np.clip(index, 0, size - 1).astype(np.int64)).to(pixels.device))
        for index in (lower, lower + 1)
    )
    share = torch.from_numpy((places - lower).astype(np.float32)).to(pixels.device)
    return near + share.view([-1, 1, 1] if dim == 0 else [-1, 1]) * (far - near)


def _filter(images: Tensor, kernel: Floats) -> Tensor:
    """Sums the images, shifted and weighted as a kernel (h, w) of odd sides states."""
    height, width = images.shape[-2:]
    down, right = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = F.pad(images.contiguous(), (right, right, down, down), mode="replicate")
    total = torch.zeros_like(images, memory_format=torch.contiguous_format)
    for row, column in np.argwhere(kernel > 0).tolist():
        total += float(kernel[row, column]) * padded[..., row : row + height, column : column + width]
    return total


@cache
def _disc(radius: float, sigma: float) -> Floats:
    side = max(math.ceil(radius), 1)
    edge = 1 if radius <= 8 else 2  # how far the Gaussian reaches
    reach = side + edge
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = (x**2 + y**2 <= radius**2).astype(np.float64)
    disc /= disc.sum()
    weights = np.exp(-0.5 * (np.arange(-edge, edge + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        disc = np.apply_along_axis(np.convolve, axis, disc, weights, mode="same")
    return disc
