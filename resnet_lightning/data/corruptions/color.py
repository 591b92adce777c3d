"""Brightness, contrast, saturation and fog.

Images are (B, C, H, W) float32 with whole values in [0, 255] before, and with values in [0, 255] after clamping.
"""

import torch
from torch import Tensor

from .noise import uniform

_WHITE = 255.0


def brightness(images: Tensor, keys: Tensor, shift: float) -> Tensor:
    """Raises the value of HSV by a share of white; hue and saturation stay."""
    value = images.amax(1, keepdim=True)
    raised = (value + _WHITE * shift).clamp(max=_WHITE)
    return torch.where(value > 0, images * (raised / value.clamp(min=1)), raised)


def contrast(images: Tensor, keys: Tensor, factor: float) -> Tensor:
    """Moves towards the mean of each channel: a factor of 0 is that mean."""
    height, width = images.shape[-2:]
    mean = images.long().sum((-2, -1), keepdim=True).double() / (height * width)  # exact in any order
    return (images - mean.float()) * factor + mean.float()


def saturation(images: Tensor, keys: Tensor, factor: float, shift: float) -> Tensor:
    """Changes the saturation of HSV to ``factor * saturation + shift``. Color images only.

    A grey pixel has the hue of red, as in the publication.
    """
    value, lowest = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    before = (value - lowest) / value.clamp(min=1)
    after = (before * factor + shift).clamp(0, 1)
    with_hue = value - (value - images) * (after / torch.where(before > 0, before, 1.0))
    reddish = torch.cat([value, value * (1 - after), value * (1 - after)], 1)
    return torch.where(before > 0, with_hue, reddish)


def fog(images: Tensor, keys: Tensor, thickness: float, decay: float) -> Tensor:
    """Adds clouds, and reduces the contrast so that the lightest value of the image stays.

    The clouds are the fractal of the diamond-square algorithm (Fournier, Fussell & Carpenter 1982): a larger ``decay``
    makes them smoother.
    """
    height, width = images.shape[-2:]
    side = max(2 ** (max(height, width) - 1).bit_length(), 2)
    clouds = _clouds(keys, side, decay)[:, None, :height, :width].float()
    lightest = images.amax((1, 2, 3), keepdim=True) / _WHITE
    return (images + _WHITE * thickness * clouds) * (lightest / (lightest + thickness))


def _clouds(keys: Tensor, side: int, decay: float) -> Tensor:
    """Returns clouds (B, side, side) float64 in [0, 1] that repeat at their borders; the side is a power of two."""
    clouds = torch.zeros(len(keys), side, side, dtype=torch.float64, device=keys.device)
    step, roughness, purpose = side, 100.0, 0
    while step >= 2:
        half = step // 2
        corners = clouds[:, ::step, ::step]
        clouds[:, half::step, half::step] = _displaced(_pairs(_pairs(corners, 1, -1), 2, -1), keys, roughness, purpose)
        centers = clouds[:, half::step, half::step]
        between_columns = _pairs(centers, 1, 1) + _pairs(corners, 2, -1)
        between_rows = _pairs(centers, 2, 1) + _pairs(corners, 1, -1)
        clouds[:, ::step, half::step] = _displaced(between_columns, keys, roughness, purpose + 1)
        clouds[:, half::step, ::step] = _displaced(between_rows, keys, roughness, purpose + 2)
        step, roughness, purpose = half, roughness / decay, purpose + 3
    clouds -= clouds.amin((1, 2), keepdim=True)
    return clouds / clouds.amax((1, 2), keepdim=True)


def _pairs(grid: Tensor, dim: int, shift: int) -> Tensor:
    """Returns the sum of each point and its neighbour along an axis; the grid repeats at its borders."""
    return grid + grid.roll(shift, dim)


def _displaced(sums: Tensor, keys: Tensor, roughness: float, purpose: int) -> Tensor:
    """Returns the mean of four neighbours plus a random number of up to ``roughness`` squared."""
    drawn = uniform(keys + purpose, tuple(sums.shape[1:]))
    return sums / 4 + roughness**2 * (2 * drawn - 1)
