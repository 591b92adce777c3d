"""Augmentations of a whole batch at once, each image with random parameters of its own."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from .draws import uniform


@dataclass(frozen=True)
class Augmentation:
    """What a training batch goes through before it is normalised; nothing by default.

    Args:
        crop: pad by this many black pixels on every side and crop the original size back out at a random place.
        flip: mirror left and right, one time in two.
        rotate: turn by a random angle of up to this many degrees either way; what turns in from outside is black.

    Raises:
        InputError: for a number out of its range.
    """

    crop: int = 0
    flip: bool = False
    rotate: float = 0.0

    def __post_init__(self) -> None:
        if self.crop < 0:
            raise InputError(f"augment.crop is {self.crop}; give the padding in pixels, 0 for none")
        if not 0 <= self.rotate <= 180:
            raise InputError(f"augment.rotate is {self.rotate}; give degrees from 0 to 180")

    def __call__(self, images: Tensor, indices: Tensor, key: int) -> Tensor:
        """Augments (B, C, H, W) pixels in [0, 255], uint8 or float; a rotated batch is float32.

        Args:
            images: the batch.
            indices: (B,) the number of each image in its data set.
            key: stands for the seed and the epoch. The outcome for an image is a function of its pixels, its index
                and this key.
        """
        if self.rotate:
            degrees = (2 * uniform(indices, key, 0) - 1) * self.rotate
            images = rotate(images, degrees)
        if self.crop:
            side = 2 * self.crop + 1
            top = (uniform(indices, key, 1) * side).long()
            left = (uniform(indices, key, 2) * side).long()
            images = crop(images, self.crop, top, left)
        if self.flip:
            images = flip(images, uniform(indices, key, 3) < 0.5)
        return images


def crop(images: Tensor, padding: int, top: Tensor, left: Tensor) -> Tensor:
    """Pads (B, C, H, W) with zeros and crops (H, W) out again, at rows ``top`` (B,) and columns ``left`` (B,)."""
    n, _, height, width = images.shape
    padded = F.pad(images, (padding,) * 4).permute(0, 2, 3, 1)
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = left[:, None] + torch.arange(width, device=images.device)
    batch = torch.arange(n, device=images.device)
    return padded[batch[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def flip(images: Tensor, mirrored: Tensor) -> Tensor:
    """Mirrors those images of (B, C, H, W) left and right for which ``mirrored`` (B,) is true."""
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turns (B, C, H, W) counter-clockwise about the centre, by ``degrees`` (B,), bilinearly; returns float32."""
    _, _, height, width = images.shape
    angle = degrees * (math.pi / 180)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # Where each output pixel comes from, in coordinates that run from -1 to 1 along both sides.
    theta = torch.stack(
        [
            torch.stack([cos, -sin * (height / width), zero], dim=1),
            torch.stack([sin * (width / height), cos, zero], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False)
