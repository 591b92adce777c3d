"""Noise whose every value is a function of (seed, image, position), so that it repeats on any batch.

Images are (B, C, H, W) float32 with values in [0, 255], before and after.
"""

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

# The finalizer of splitmix64, as in `augmentation/draws.py`, in the signed integers that torch has on all devices.
GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)
_WHITE = 255


def uniform(keys: Tensor, shape: tuple[int, ...], purpose: int = 0) -> Tensor:
    """Returns numbers in (0, 1): (B, *shape) float64 of 32 random bits.

    Args:
        keys: (B,) int64, one for each image.
        shape: the numbers of one image.
        purpose: another number gives other, independent numbers.
    """
    count = math.prod(shape)
    positions = torch.arange(purpose * count, (purpose + 1) * count, device=keys.device)
    x = _mix(_mix(keys)[:, None] + (positions + 1) * GOLDEN)
    return ((_shift(x, 32).double() + 0.5) * 2.0**-32).view(-1, *shape)


def normal(keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Returns numbers of the standard normal distribution: (B, *shape) float32 (Box & Muller 1958)."""
    radius = (-2 * uniform(keys, shape, purpose=0).log()).sqrt()
    return (radius * (2 * math.pi * uniform(keys, shape, purpose=1)).cos()).float()


def gaussian_noise(images: Tensor, keys: Tensor, scale: float) -> Tensor:
    """Adds noise whose standard deviation is ``scale`` of white."""
    return images + _WHITE * scale * normal(keys, tuple(images.shape[1:]))


def speckle_noise(images: Tensor, keys: Tensor, scale: float) -> Tensor:
    """Adds noise in proportion to each value."""
    return images + images * (scale * normal(keys, tuple(images.shape[1:])))


def shot_noise(images: Tensor, keys: Tensor, photons: float) -> Tensor:
    """Counts photons: a Poisson distribution with a mean of ``photons`` for white. The values have to be whole."""
    table, columns = _poisson(photons, images.device)
    values = images.double()
    # Row v of the table is v plus the distribution function for the value v, so one search serves all values.
    places = torch.searchsorted(table, values + uniform(keys, tuple(images.shape[1:])), right=True)
    counts = places - values.long() * columns
    return counts.float() * (_WHITE / photons)


def impulse_noise(images: Tensor, keys: Tensor, share: float) -> Tensor:
    """Sets a share of the values to black or white."""
    chosen = uniform(keys, tuple(images.shape[1:]))
    return torch.where(chosen < share / 2, 0.0, torch.where(chosen < share, float(_WHITE), images))


@cache
def _poisson(photons: float, device: torch.device) -> tuple[Tensor, int]:
    """Returns v + P(count <= k) for each pixel value v and count k, one after another, and the number of counts."""
    columns = math.ceil(photons + 12 * math.sqrt(photons) + 20)
    counts = np.arange(columns)
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, columns)))])
    means = photons * np.arange(1, 256)[:, None] / _WHITE
    shares = np.exp(counts * np.log(means) - means - log_factorials)
    distribution = np.minimum(np.vstack([np.ones(columns), np.cumsum(shares, 1)]), 1.0)
    distribution[:, -1] = 1.0
    table = distribution + np.arange(256)[:, None]
    return torch.from_numpy(table.ravel()).to(device), columns


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Shifts to the right as an unsigned number; torch repeats the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
