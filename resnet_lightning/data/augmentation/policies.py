"""Augmentation policies: RandAugment, TrivialAugmentWide and AugMix, drawn for each image, on whole batches.

torchvision's classes of these names draw one chain of operations for all images of a batch. Here each image has its
own, which is a function of (seed, epoch, index), and the images with the same operation are changed together.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...build import build
from ...errors import InputError, did_you_mean
from .draws import Draws, Floats, Integers
from .geometry import to
from .operations import GEOMETRIC, PIXELWISE, apply_operations

_BLENDS = "Brightness", "Color", "Contrast", "Sharpness"
_SIGNED = {*GEOMETRIC, *_BLENDS}
_ALL = ("Identity", *GEOMETRIC, *PIXELWISE)

Policy = Callable[[Tensor, Draws, int], Tensor]
"""Maps images (B, C, H, W) float32 with whole pixel values, their draws and a purpose to images (B, C, H, W)."""


def make_policy(name: str, options: Mapping[str, Any] | None) -> Policy:
    """Builds a policy, such as ``make_policy("RandAugment", {"magnitude": 9})``.

    Raises:
        InputError: if the name, an option or its value is not accepted.
    """
    if name not in POLICIES:
        raise InputError(f"unknown augment.policy {name!r}; {did_you_mean(str(name), POLICIES)}")
    return build(f"augment.policy {name!r}", POLICIES[name], **(options or {}))


def rand_augment(*, num_ops: int = 2, magnitude: int = 9) -> Policy:
    """RandAugment (Cubuk et al. 2020): random operations of a fixed magnitude, one after the other.

    Args:
        num_ops: the number of operations.
        magnitude: their strength, from 0 to 30.
    """
    _check("num_ops", num_ops, 1, 14)
    _check("magnitude", magnitude, 0, 30)
    return partial(_chain, num_ops, magnitude / 30)


def _chain(num_ops: int, strength: float, images: Tensor, draws: Draws, purpose: int) -> Tensor:
    operations, signs = draws.uniform(purpose, 2 * num_ops).reshape(2, num_ops, -1)
    strengths = np.full(len(draws), strength)
    for step in range(num_ops):
        images = _random_operation(images, _ALL, _moderate, operations[step], strengths, signs[step])
    return images


def trivial_augment_wide() -> Policy:
    """TrivialAugment with the wide range of magnitudes (Müller & Hutter 2021): one operation of a random magnitude."""
    return _trivial


def _trivial(images: Tensor, draws: Draws, purpose: int) -> Tensor:
    operation, strength, sign = draws.uniform(purpose, 3)
    return _random_operation(images, _ALL, _wide, operation, np.floor(strength * 31) / 30, sign)


def aug_mix(*, severity: int = 3, mixture_width: int = 3, chain_depth: int | None = None) -> Policy:
    """AugMix (Hendrycks et al. 2020): a random mixture of the image and of several chains of operations.

    The weights are from Dirichlet(1, ..., 1) and Beta(1, 1), as in the paper. The loss that the paper adds, which
    compares the predictions of three versions of an image, is not part of it.

    Args:
        severity: the largest strength of an operation, from 1 to 10.
        mixture_width: the number of chains.
        chain_depth: the number of operations in each; None draws 1, 2 or 3.
    """
    _check("severity", severity, 1, 10)
    _check("mixture_width", mixture_width, 1, 10)
    if chain_depth is not None:
        _check("chain_depth", chain_depth, 1, 10)
    return partial(_mixture, severity, mixture_width, chain_depth)


def _mixture(severity: int, width: int, chain_depth: int | None, images: Tensor, draws: Draws, purpose: int) -> Tensor:
    names = _ALL[1:]
    longest = chain_depth or 3
    numbers = draws.uniform(purpose, 1 + 2 * width + 3 * width * longest)
    kept, weights, depths = numbers[0], numbers[1 : 1 + width], numbers[1 + width : 1 + 2 * width]
    per_step = numbers[1 + 2 * width :].reshape(width, longest, 3, -1)
    weights = -np.log1p(-weights)  # exponential, so that their shares are from Dirichlet(1, ..., 1)
    weights = (1 - kept) * weights / np.maximum(weights.sum(0), np.finfo(np.float32).tiny)
    mixed = images * _column(images, kept)
    for weight, depth, steps in zip(weights, depths, per_step, strict=True):
        length = np.floor(depth * 3) + 1 if chain_depth is None else np.full(len(draws), chain_depth)
        chain = images
        for step, (operation, strength, sign) in enumerate(steps):
            strengths = np.floor(strength * severity) / 9
            changed = _random_operation(chain, names, _moderate_mix, operation, strengths, sign, "bilinear")
            chain = torch.where(_column(images, length > step), changed, chain)
        mixed = mixed + chain * _column(images, weight.astype(np.float32))
    return mixed.clamp_(0, 255)


def _column(images: Tensor, values: Any) -> Tensor:
    return to(images.device, values).view(-1, 1, 1, 1)


def _random_operation(
    images: Tensor,
    names: tuple[str, ...],
    range_of: Callable[[str, int, int], tuple[float, float]],
    operations: Floats,
    strengths: Any,
    signs: Floats,
    mode: str = "nearest",
) -> Tensor:
    """Applies a random operation to each image (B, C, H, W).

    Args:
        images: (B, C, H, W).
        names: the operations.
        range_of: the smallest and largest magnitude by the name of an operation and the height and width of an image.
        operations: (B,) in [0, 1), which operation is applied.
        strengths: (B,) its strength, from 0 to 1.
        signs: (B,) in [0, 1), whether the magnitude of an operation that has two directions is negative.
        mode: how geometric operations interpolate.
    """
    chosen: Integers = (operations * len(names)).astype(np.int64)
    low, high = np.array([range_of(name, *images.shape[-2:]) for name in names], np.float64)[chosen].T
    magnitudes = low + (high - low) * strengths
    is_bits = np.array([name == "Posterize" for name in names])[chosen]
    magnitudes = np.where(is_bits, np.rint(magnitudes), magnitudes)
    is_signed = np.array([name in _SIGNED for name in names])[chosen]
    magnitudes = np.where(is_signed & (signs < 0.5), -magnitudes, magnitudes)
    return apply_operations(images, names, chosen, magnitudes.astype(np.float32), mode)


def _moderate(name: str, height: int, width: int) -> tuple[float, float]:
    """The magnitudes of RandAugment."""
    translations = {"TranslateX": 150 / 331 * width, "TranslateY": 150 / 331 * height}
    return _range(name, shear=0.3, rotate=30, blend=0.9, bits=4, translations=translations)


def _moderate_mix(name: str, height: int, width: int) -> tuple[float, float]:
    """The magnitudes of AugMix, which are those of RandAugment but for translations and bits."""
    if name == "Posterize":
        return 4, 0
    if name in ("TranslateX", "TranslateY"):
        return 0, (width if name == "TranslateX" else height) / 3
    return _moderate(name, height, width)


def _wide(name: str, height: int, width: int) -> tuple[float, float]:
    """The magnitudes of TrivialAugmentWide."""
    translations = {"TranslateX": 32.0, "TranslateY": 32.0}
    return _range(name, shear=0.99, rotate=135, blend=0.99, bits=2, translations=translations)


def _range(
    name: str, *, shear: float, rotate: float, blend: float, bits: float, translations: Mapping[str, float]
) -> tuple[float, float]:
    if name == "Posterize":
        return 8, bits
    if name == "Solarize":
        return 1, 0
    largest = {"ShearX": shear, "ShearY": shear, "Rotate": rotate, **dict.fromkeys(_BLENDS, blend), **translations}
    return 0, largest.get(name, 0)


def _check(name: str, value: Any, lowest: int, highest: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise InputError(f"augment.policy_args.{name} is {value!r}; give a whole number from {lowest} to {highest}")


POLICIES: Mapping[str, Callable[..., Policy]] = {
    "RandAugment": rand_augment,
    "TrivialAugmentWide": trivial_augment_wide,
    "AugMix": aug_mix,
}
"""The policies by the names of torchvision's classes."""
