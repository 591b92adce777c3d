"""The operations of augmentation policies on a batch, with an operation and a magnitude for each image.

They are those of torchvision's ``RandAugment`` on uint8 tensors, and so nearly Pillow's. Images are (B, C, H, W)
float32 with whole pixel values in [0, 255] and the channels outermost in memory, before and after. Magnitudes are NumPy
arrays (B,), as they are drawn.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from .color import blend, grey
from .draws import Floats, Integers
from .geometry import sample, to


def apply_operations(
    images: Tensor, names: Sequence[str], chosen: Integers, magnitudes: Floats, mode: str = "nearest"
) -> Tensor:
    """Applies one operation to each image.

    Args:
        images: (B, C, H, W).
        names: of ``OPERATIONS``; ``Identity`` too.
        chosen: (B,) the number of each image's operation in ``names``.
        magnitudes: (B,) their magnitudes.
        mode: how geometric operations interpolate, ``"nearest"`` or ``"bilinear"``.

    Returns:
        (B, C, H, W), a new tensor.
    """
    result = torch.empty_like(images)
    for number in np.unique(chosen):
        name, rows = names[number], np.flatnonzero(chosen == number)
        places = to(images.device, rows)
        found = images.index_select(0, places)
        if name in GEOMETRIC:
            found = GEOMETRIC[name](found, magnitudes[rows], mode)
        elif name != "Identity":
            found = PIXELWISE[name](found, magnitudes[rows])
        result.index_copy_(0, places, found)
    return result


def _shear_x(images: Tensor, magnitudes: Floats, mode: str) -> Tensor:
    """Moves each row to the left in proportion to its distance from the upper border."""
    return _warp(images, mode, across=magnitudes, right=magnitudes * np.float32(images.shape[-2] / 2))


def _shear_y(images: Tensor, magnitudes: Floats, mode: str) -> Tensor:
    """Moves each column up in proportion to its distance from the left border."""
    return _warp(images, mode, along=magnitudes, down=magnitudes * np.float32(images.shape[-1] / 2))


def _translate_x(images: Tensor, magnitudes: Floats, mode: str) -> Tensor:
    """Moves to the right by whole pixels."""
    return _warp(images, mode, right=-np.trunc(magnitudes))


def _translate_y(images: Tensor, magnitudes: Floats, mode: str) -> Tensor:
    """Moves down by whole pixels."""
    return _warp(images, mode, down=-np.trunc(magnitudes))


def _rotate(images: Tensor, magnitudes: Floats, mode: str) -> Tensor:
    """Rotates counter-clockwise about the centre by degrees."""
    angle = magnitudes * np.float32(math.pi / 180)
    sin = np.sin(angle)
    return _warp(images, mode, keep=np.cos(angle), across=-sin, along=sin)


def _warp(
    images: Tensor,
    mode: str,
    *,
    keep: Floats | None = None,
    across: Floats | float = 0.0,
    along: Floats | float = 0.0,
    right: Floats | float = 0.0,
    down: Floats | float = 0.0,
) -> Tensor:
    """Takes each pixel from ``(keep x + across y + right, along x + keep y + down)``.

    x and y are the pixel's distances from the centre, in pixels. Pixels from outside are black.
    """
    height, width = images.shape[-2:]
    ones = np.ones(len(images), np.float32)
    keep = ones if keep is None else keep
    theta = [
        [keep, across * ones * (height / width), right * ones * (2 / width)],
        [along * ones * (width / height), keep, down * ones * (2 / height)],
    ]
    return sample(images, theta, "zeros", mode).round_()


def _brightness(images: Tensor, magnitudes: Floats) -> Tensor:
    return (images * _factors(images, magnitudes)).clamp_(0, 255).floor_()


def _color(images: Tensor, magnitudes: Floats) -> Tensor:
    """Changes the saturation; grey images stay as they are."""
    if images.shape[1] == 1:
        return images
    return blend(images, grey(images).floor(), _factors(images, magnitudes)).floor_()


def _contrast(images: Tensor, magnitudes: Floats) -> Tensor:
    # The sums are exact up to 256x256 pixels. In one step, torch would sum larger images in an order that depends on
    # the size of the batch.
    mean = grey(images).floor().sum(-1, keepdim=True).sum(-2, keepdim=True) / (images.shape[-2] * images.shape[-1])
    return blend(images, mean, _factors(images, magnitudes)).floor_()


def _sharpness(images: Tensor, magnitudes: Floats) -> Tensor:
    """Moves away from the image smoothed by a 3x3 filter. Pixels at the border stay as they are."""
    height, width = images.shape[-2:]
    if height <= 2 or width <= 2:
        return images
    # The filter is 1/13 everywhere and 5/13 in the middle.
    inner = images[..., 1:-1, 1:-1]
    rows = images[..., :-2, :] + images[..., 1:-1, :] + images[..., 2:, :]
    smooth = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * inner
    sharpened = images.clone()
    sharpened[..., 1:-1, 1:-1] = blend(inner, (smooth / 13).round_(), _factors(images, magnitudes)).floor_()
    return sharpened


def _factors(images: Tensor, magnitudes: Floats) -> Tensor:
    """Returns 1 + magnitude as (B, 1, 1, 1): the factors of a blend."""
    return to(images.device, 1 + magnitudes).view(-1, 1, 1, 1)


def _posterize(images: Tensor, magnitudes: Floats) -> Tensor:
    """Keeps as many of the 8 bits of each value as the magnitude says."""
    step = to(images.device, np.exp2(8 - magnitudes)).view(-1, 1, 1, 1)
    return images.div(step).floor_().mul_(step)


def _solarize(images: Tensor, magnitudes: Floats) -> Tensor:
    """Inverts the values that are at least the magnitude, a share of 255."""
    threshold = to(images.device, magnitudes * np.float32(255)).view(-1, 1, 1, 1)
    return torch.where(images >= threshold, 255 - images, images)


def _auto_contrast(images: Tensor, magnitudes: Floats) -> Tensor:
    """Stretches the values of each channel to 0 to 255. A channel of one value stays as it is."""
    lowest, highest = images.amin((-2, -1), keepdim=True), images.amax((-2, -1), keepdim=True)
    extent = highest - lowest
    stretched = ((images - lowest) / (extent * (1 / 255))).clamp_(0, 255).floor_()
    return torch.where(extent > 0, stretched, images)


def _equalize(images: Tensor, magnitudes: Floats) -> Tensor:
    """Makes all values of a channel about equally frequent, by the arithmetic of Pillow."""
    values = images.flatten(2).long()
    counts = images.new_zeros(*values.shape[:2], 256)
    counts.scatter_add_(2, values, torch.ones_like(images).flatten(2))
    up_to = counts.cumsum(2)
    last = counts.gather(2, images.flatten(2).amax(2, keepdim=True).long())
    # These divisions are exact up to 8 million pixels.
    step = ((values.shape[2] - last) / 255).floor_()
    table = ((up_to - counts + (step / 2).floor_()) / step.clamp(min=1)).floor_().clamp_(0, 255)
    equalized = table.gather(2, values).view_as(images)
    return torch.where((step > 0)[..., None], equalized, images)


GEOMETRIC: Mapping[str, Callable[[Tensor, Floats, str], Tensor]] = {
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x,
    "TranslateY": _translate_y,
    "Rotate": _rotate,
}
"""Functions of images, magnitudes and mode, by their names in the papers and in torchvision. Magnitudes are shares of
the side for shears, pixels for translations, and degrees for rotations."""

PIXELWISE: Mapping[str, Callable[[Tensor, Floats], Tensor]] = {
    "Brightness": _brightness,
    "Color": _color,
    "Contrast": _contrast,
    "Sharpness": _sharpness,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
}
"""Functions of images and magnitudes, likewise. Magnitudes are the factor minus 1 for the first four, bits for
Posterize, and a share of 255 for Solarize."""
