"""Brightness, contrast, saturation and hue of a batch, with a factor for each image.

The four changes are those of torchvision's ``ColorJitter``. Images are (B, C, H, W) float32 in [0, 255], before and
after; factors are (B, 1, 1, 1), on the same device.
"""

import numpy as np
import torch
from torch import Tensor

from .geometry import to

# The weights of red, green and blue in the perceived brightness (ITU-R BT.601), as in torchvision and Pillow.
_LUMA = np.array([0.2989, 0.587, 0.114], np.float32)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiplies by the factor: 0 is black, 1 the image itself."""
    return (images * factor).clamp_(0, 255)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Moves away from the mean grey of the image: 0 is that grey, 1 the image itself."""
    # In two steps. In one, torch sums a large image in a different order if it is alone in its batch.
    mean = grey(images).mean(-1, keepdim=True).mean(-2, keepdim=True)
    return blend(images, mean, factor)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Moves away from grey: 0 is the image in grey, 1 the image itself. Colour images only."""
    return blend(images, grey(images), factor)


def adjust_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Rotates the hue by a share of the circle, -0.5 to 0.5, through the HSV colour space. Colour images only."""
    red, green, blue = images.unbind(1)
    value, lowest = images.amax(1), images.amin(1)
    chroma = value - lowest
    some = chroma > 0  # grey has no hue
    safe = torch.where(some, chroma, 1.0)
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = (hue / 6 + turn.view(-1, 1, 1)) % 1.0 * 6
    channels = []
    for offset in (5, 3, 1):  # red, green, blue: v - c * clamp(min(k, 4 - k), 0, 1)
        k = (offset + hue) % 6
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1))
    return torch.where(some[:, None], torch.stack(channels, 1), images)


def grey(images: Tensor) -> Tensor:
    """Returns the perceived brightness (B, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    luma = to(images.device, _LUMA).view(-1, 1, 1)
    return (images * luma).sum(1, keepdim=True)


def blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """Moves images away from others: 0 is the other image, 1 the image itself."""
    return (factor * images + (1 - factor) * other).clamp_(0, 255)
