"""Mixup and cutmix: two images in one, with the targets of both."""

import math
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from .draws import Floats, Integers
from .geometry import mark_boxes, to


def beta(uniform: Floats, alpha: float) -> Floats:
    """Transforms uniform numbers in [0, 1) to numbers of the distribution Beta(alpha, alpha)."""
    quantiles, values = _beta_table(alpha)
    upper = uniform >= 0.5  # the distribution is symmetric about 1/2; the table holds the lower half
    lower_half = np.interp(np.where(upper, 1 - uniform, uniform), quantiles, values)
    lower_half **= max(1 / alpha, 1)
    return np.where(upper, 1 - lower_half, lower_half).astype(np.float32)


@cache
def _beta_table(alpha: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Cumulative probabilities from 0 to 1/2 and their quantiles: x, or ``x**alpha`` for alpha below 1."""
    if alpha < 1:
        # With t = x**alpha the density (x (1 - x))**(alpha - 1) dx, infinite at 0, becomes finite.
        t = np.linspace(0, 0.5**alpha, 4097)
        density = (1 - t ** (1 / alpha)) ** (alpha - 1)
    else:  # from eight standard deviations below the mean
        t = np.linspace(max(0.5 - 4 / math.sqrt(2 * alpha + 1), 0), 0.5, 4097)
        density = (4 * t * (1 - t)) ** (alpha - 1)
    cumulative = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return cumulative / (2 * cumulative[-1]), t


def mixup(images: Tensor, targets: Tensor, others: Tensor, share: Floats) -> tuple[Tensor, Tensor]:
    """Blends each image with another (Zhang et al. 2018, *mixup: Beyond Empirical Risk Minimization*).

    Args:
        images: (R, C, H, W) float32.
        targets: (R, K) float32, a probability for each class.
        others: (B,) which of the R images each of the first B is blended with.
        share: (B,) the weight of the image itself.

    Returns:
        Images (B, C, H, W) and targets (B, K).
    """
    kept = to(images.device, share)[:, None]
    lines = images.permute(0, 2, 3, 1).flatten(1)
    mixed = torch.lerp(lines.index_select(0, others), lines[: len(share)], kept)
    _, channels, height, width = images.shape
    return mixed.view(-1, height, width, channels).permute(0, 3, 1, 2), _mix_targets(targets, others, kept)


def cutmix(
    images: Tensor, targets: Tensor, others: Tensor, top: Integers, left: Integers, height: Integers, width: Integers
) -> tuple[Tensor, Tensor]:
    """Pastes a box of another image into each (Yun et al. 2019, *CutMix*); targets are mixed by the areas.

    Args:
        images: (R, C, H, W).
        targets: (R, K) float32, a probability for each class.
        others: (B,) which of the R images the box comes from.
        top: (B,) first row of the box; the part of a box outside the image is ignored.
        left: (B,) its first column.
        height: (B,) its rows.
        width: (B,) its columns.

    Returns:
        Images (B, C, H, W) and targets (B, K).
    """
    own = images[: len(others)]
    rows, columns = (
        (np.minimum(first + length, side) - np.maximum(first, 0)).clip(0)
        for first, length, side in ((top, height, images.shape[-2]), (left, width, images.shape[-1]))
    )
    kept = (1 - rows * columns / (images.shape[-2] * images.shape[-1])).astype(np.float32)
    mixed = torch.where(mark_boxes(own, top, left, height, width), images.index_select(0, others), own)
    return mixed, _mix_targets(targets, others, to(images.device, kept)[:, None])


def one_hot(targets: Tensor, num_classes: int) -> Tensor:
    """Labels (R,) to probabilities (R, K) float32; several labels for each image (R, K) stay as they are."""
    if targets.ndim == 2:
        return targets.float()
    return F.one_hot(targets, num_classes).float()


def _mix_targets(targets: Tensor, others: Tensor, kept: Tensor) -> Tensor:
    return torch.lerp(targets.index_select(0, others), targets[: len(kept)], kept)
