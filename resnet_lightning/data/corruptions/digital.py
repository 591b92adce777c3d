"""What files and cameras do to pixels: JPEG, coarse pixels, and elastic shifts.

Images are (B, C, H, W) float32 with whole values in [0, 255] before. No matrix product is used: its sums may depend on
the number of images.
"""

import math
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from .blur import smooth
from .noise import uniform

Floats = npt.NDArray[np.float32]

_SIDE = 8  # of the blocks of JPEG
_HALF = 0.5 + 1e-4  # halves are rounded away from zero, as in libjpeg, whatever the error of a float

# The tables of ITU-T T.81, annex K.1, for a quality of 50.
_LUMA = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMA = "17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99" + " 99" * 32


def jpeg(images: Tensor, keys: Tensor, quality: int) -> Tensor:
    """Compresses as JPEG of a quality from 1 to 100, with half the resolution for color, as Pillow does by default.

    Pixels are those of Pillow up to rounding.
    """
    height, width = images.shape[-2:]
    unit = 2 * _SIDE if images.shape[1] == 3 else _SIDE
    below, beside = -height % unit, -width % unit
    padded = F.pad(images.contiguous(), (0, beside, 0, below), mode="replicate")
    if images.shape[1] != 3:
        return _compressed(padded, _table(_LUMA, quality))[..., :height, :width]
    red, green, blue = padded.unbind(1)
    luma = (0.299 * red + 0.587 * green + 0.114 * blue).round_()
    colors = torch.stack(
        [
            -0.168735892 * red - 0.331264108 * green + 0.5 * blue + 128,
            0.5 * red - 0.418687589 * green - 0.081312411 * blue + 128,
        ],
        1,
    ).round_()
    quarters = [colors[..., row::2, column::2] for row in (0, 1) for column in (0, 1)]
    small = ((quarters[0] + quarters[1] + quarters[2] + quarters[3]) / 4).round_()
    luma = _compressed(luma[:, None], _table(_LUMA, quality))[..., :height, :width]
    small = _compressed(small, _table(_CHROMA, quality))
    # The decoder enlarges what belongs to the image, without the padding.
    small = small[..., : math.ceil(height / 2), : math.ceil(width / 2)]
    cb, cr = (_doubled(_doubled(small, -2), -1)[..., :height, :width].round_() - 128).split(1, dim=1)
    return torch.cat([luma + 1.402 * cr, luma - 0.344136286 * cb - 0.714136286 * cr, luma + 1.772 * cb], 1)


def pixelate(images: Tensor, keys: Tensor, factor: float) -> Tensor:
    """Reduces the image by a factor below 1, and enlarges it again, with a box filter (that of Pillow)."""
    height, width = images.shape[-2:]
    small = _resized(_resized(images, -1, max(int(width * factor), 1)), -2, max(int(height * factor), 1))
    return _resized(_resized(small, -1, width), -2, height)


def elastic_transform(images: Tensor, keys: Tensor, shift: float, sigma: float, spread: float) -> Tensor:
    """Moves each pixel by a smooth random field, after a random affine map.

    Args:
        images: (B, C, H, W).
        keys: (B,).
        shift: how far the field moves pixels before it is smoothed, as a share of the image's shorter side.
        sigma: that of the Gaussian that smooths it, likewise.
        spread: how far the affine map moves each of three points about the centre at most, likewise.
    """
    height, width = images.shape[-2:]
    side = min(height, width)
    y, x = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float64, device=images.device) for n in (height, width)), indexing="ij"
    )
    middle, arm = (height // 2, width // 2), side // 3
    # Three corners of a square about the centre, and how far each moves: (B, 3) down and right.
    moved = (2 * uniform(keys, (2, 3)) - 1) * spread * side
    from_left, from_top = (x - (middle[1] - arm)) / (2 * arm or 1), (y - (middle[0] - arm)) / (2 * arm or 1)
    places = []
    for axis, position in enumerate((y, x)):
        first, second, third = (moved[:, axis, corner, None, None] for corner in range(3))
        places.append(position + first + from_left * (second - first) + from_top * (third - first))
    if shift:
        field = (2 * uniform(keys, (2, height, width), purpose=1) - 1).float()
        field = smooth(field, sigma * side, cut=3.0).double() * (shift * side)
        places = [place + field[:, axis] for axis, place in enumerate(places)]
    return _sampled(images, *places)


def _sampled(images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Takes pixels at places (B, H, W) between the pixels; those outside are mirrored at the border."""
    height, width = images.shape[-2:]
    top, left = y.floor(), x.floor()
    down, right = (y - top).float()[:, None], (x - left).float()[:, None]
    pixels, total = images.flatten(2), torch.zeros_like(images, memory_format=torch.contiguous_format)
    for row, weight_row in ((top, 1 - down), (top + 1, down)):
        for column, weight_column in ((left, 1 - right), (left + 1, right)):
            places = _mirrored(row, height) * width + _mirrored(column, width)
            taken = pixels.gather(2, places.flatten(1)[:, None].expand(pixels.shape)).view(images.shape)
            total += weight_row * weight_column * taken
    return total


def _mirrored(places: Tensor, size: int) -> Tensor:
    """Mirrors places at both borders; the pixel at the border is repeated."""
    places = places.long() % (2 * size)
    return torch.minimum(places, 2 * size - 1 - places)


def _compressed(channels: Tensor, table: Floats) -> Tensor:
    """Rounds the coefficients of the 8x8 blocks of channels (B, C, H, W), each side a multiple of 8."""
    shape = channels.shape
    blocks = (channels - 128).unflatten(-1, (-1, _SIDE)).unflatten(-3, (-1, _SIDE))  # (B, C, h, 8, w, 8)
    steps = torch.from_numpy(table).to(channels.device)[:, None, :]
    cosines = _cosines()
    coefficients = _transformed(_transformed(blocks, cosines, -3), cosines, -1)
    levels = coefficients / steps
    rounded = levels.sign() * (levels.abs() + _HALF).floor_() * steps
    blocks = _transformed(_transformed(rounded, cosines.T, -3), cosines.T, -1)
    return (blocks.reshape(shape) + 128).round_().clamp_(0, 255)


def _transformed(blocks: Tensor, matrix: Floats, dim: int) -> Tensor:
    """Multiplies an axis of length 8 by a matrix (8, 8), term by term."""
    weights = torch.from_numpy(np.ascontiguousarray(matrix)).to(blocks.device)
    total = torch.zeros_like(blocks)
    for k in range(_SIDE):
        column = weights[:, k] if dim == -1 else weights[:, k, None, None]
        total += column * blocks.narrow(dim, k, 1)
    return total


@cache
def _cosines() -> Floats:
    """The discrete cosine transform of 8 values, (8, 8)."""
    frequency, place = np.mgrid[:_SIDE, :_SIDE]
    matrix = np.sqrt(2 / _SIDE) * np.cos((2 * place + 1) * frequency * math.pi / (2 * _SIDE))
    matrix[0] /= math.sqrt(2)
    return matrix.astype(np.float32)


@cache
def _table(text: str, quality: int) -> Floats:
    """The quantization steps (8, 8) of a quality, scaled as libjpeg does."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    base = np.array(text.split(), np.int64).reshape(_SIDE, _SIDE)
    return np.clip((base * scale + 50) // 100, 1, 255).astype(np.float32)


def _doubled(channels: Tensor, dim: int) -> Tensor:
    """Doubles an axis; a new pixel is 3/4 of the nearer old one and 1/4 of the other one."""
    size = channels.shape[dim]
    places = torch.arange(size, device=channels.device)
    parts = [(3 * channels + channels.index_select(dim, (places + step).clamp_(0, size - 1))) / 4 for step in (-1, 1)]
    return torch.stack(parts, dim).flatten(dim - 1, dim) if dim == -1 else torch.stack(parts, -2).flatten(-3, -2)


def _resized(images: Tensor, dim: int, size: int) -> Tensor:
    """Resizes an axis: a new pixel is the mean of the old ones whose centres it covers."""
    old = images.shape[dim]
    scale = old / size
    centers = (np.arange(size) + 0.5) * scale
    half = max(scale, 1.0) / 2
    first = np.maximum((centers - half + 0.5).astype(np.int64), 0)
    last = np.minimum((centers + half + 0.5).astype(np.int64), old)
    total = torch.zeros((), device=images.device)
    for place in range(int((last - first).max())):
        taken = images.index_select(dim, torch.from_numpy(np.minimum(first + place, old - 1)).to(images.device))
        weight = torch.from_numpy(((first + place < last) / (last - first)).astype(np.float32)).to(images.device)
        total = total + taken * (weight if dim == -1 else weight[:, None])
    return (total + 0.5).floor_()  # halves are rounded up, as in Pillow
