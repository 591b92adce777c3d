"""The corruptions of Hendrycks & Dietterich 2019, *Benchmarking Neural Network Robustness to Common Corruptions*.

The strengths are those of CIFAR-10-C for images of up to 64 pixels, and those of ImageNet-C for larger ones. Lengths
are in pixels, and are not scaled to the size of the images. The random numbers are our own, and so are details of the
filters at the border: results are comparable with each other, and close to those on the published test sets. Glass
blur, snow, frost and spatter are left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError, did_you_mean
from ..augmentation.draws import key
from . import blur, color, digital, noise

STRENGTHS = (1, 2, 3, 4, 5)
_SMALL = 64  # pixels of the longer side


@dataclass(frozen=True)
class _Kind:
    """A corruption: its function, and its arguments for each strength, for small and for large images."""

    function: Callable[..., Tensor]
    small: Sequence[Any]  # CIFAR-10-C
    large: Sequence[Any]  # ImageNet-C

    def arguments(self, strength: int, side: int) -> tuple[Any, ...]:
        found = (self.small if side <= _SMALL else self.large)[strength - 1]
        return found if isinstance(found, tuple) else (found,)


# Zoom blur: the largest factor (not reached) and the step between factors. Elastic transforms: shares of the side.
CORRUPTIONS: dict[str, _Kind] = {
    "gaussian_noise": _Kind(noise.gaussian_noise, [0.04, 0.06, 0.08, 0.09, 0.10], [0.08, 0.12, 0.18, 0.26, 0.38]),
    "shot_noise": _Kind(noise.shot_noise, [500, 250, 100, 75, 50], [60, 25, 12, 5, 3]),
    "impulse_noise": _Kind(noise.impulse_noise, [0.01, 0.02, 0.03, 0.05, 0.07], [0.03, 0.06, 0.09, 0.17, 0.27]),
    "speckle_noise": _Kind(noise.speckle_noise, [0.06, 0.1, 0.12, 0.16, 0.2], [0.15, 0.2, 0.35, 0.45, 0.6]),
    "gaussian_blur": _Kind(blur.gaussian_blur, [0.4, 0.6, 0.7, 0.8, 1], [1, 2, 3, 4, 6]),
    "defocus_blur": _Kind(
        blur.defocus_blur,
        [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
        [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
    ),
    "motion_blur": _Kind(
        blur.motion_blur,
        [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
        [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
    ),
    "zoom_blur": _Kind(
        blur.zoom_blur,
        [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)],
        [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)],
    ),
    "fog": _Kind(
        color.fog,
        [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
        [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
    ),
    "brightness": _Kind(color.brightness, [0.05, 0.1, 0.15, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4, 0.5]),
    "contrast": _Kind(color.contrast, [0.75, 0.5, 0.4, 0.3, 0.15], [0.4, 0.3, 0.2, 0.1, 0.05]),
    "saturation": _Kind(
        color.saturation,
        [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)],
        [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)],
    ),
    "elastic_transform": _Kind(
        digital.elastic_transform,
        [(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)],
        [(2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)],
    ),
    "pixelate": _Kind(digital.pixelate, [0.95, 0.9, 0.85, 0.75, 0.65], [0.6, 0.5, 0.4, 0.3, 0.25]),
    "jpeg_compression": _Kind(digital.jpeg, [80, 65, 58, 50, 40], [25, 18, 15, 10, 7]),
}

_OF_COLOR = ("saturation",)


@dataclass(frozen=True)
class Corruption:
    """One corruption in one strength. An image's result is a function of (seed, index, corruption, strength).

    Args:
        name: of ``CORRUPTIONS``.
        strength: 1 to 5.
    """

    name: str
    strength: int

    def __call__(self, images: Tensor, indices: Tensor, seed: int) -> Tensor:
        """Corrupts a batch. The same image gives the same bytes in any batch.

        Args:
            images: (B, C, H, W) uint8.
            indices: (B,) the number of each image in its data set.
            seed: the seed of the run.

        Returns:
            (B, C, H, W) uint8.
        """
        if not len(images):
            return images
        kind = CORRUPTIONS[self.name]
        of_all = key(seed, *self.name.encode(), self.strength)
        keys = indices.to(images.device) * noise.GOLDEN + of_all
        pixels = images.to(torch.float32, memory_format=torch.contiguous_format)
        result = kind.function(pixels, keys, *kind.arguments(self.strength, max(images.shape[-2:])))
        return result.round_().clamp_(0, 255).byte().contiguous(memory_format=torch.channels_last)


def names_for(given: str, in_chans: int) -> list[str]:
    """Returns the names of the corruptions that a user asks for.

    Args:
        given: ``all``, or names of ``CORRUPTIONS``, separated by commas.
        in_chans: the number of channels of the images; ``all`` leaves out what needs colors.

    Raises:
        InputError: if there is no such corruption, or if these images have no colors.
    """
    has_colors = in_chans == 3
    if given.strip() == "all":
        return [name for name in CORRUPTIONS if has_colors or name not in _OF_COLOR]
    names = list(dict.fromkeys(name for name in given.strip("[] ").replace(",", " ").split()))
    if not names:
        raise InputError("--corruptions is empty; give all, or names separated by commas")
    for name in names:
        if name not in CORRUPTIONS:
            raise InputError(
                f"--corruptions: there is no corruption {name!r}; {did_you_mean(name, CORRUPTIONS)}, or all"
            )
        if name in _OF_COLOR and not has_colors:
            raise InputError(
                f"--corruptions: {name} needs images with 3 channels, and these have {in_chans}; leave it out"
            )
    return names
