"""Decodes image files to pixels.

Pillow decodes them: torchvision's own decoder is deprecated since its release 0.29.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")


class UnreadableImage(InputError):
    """A file that is damaged or not an image."""

    def __init__(self, file: str, error: Exception | None = None) -> None:
        reason = getattr(error, "strerror", None) or "it is damaged or not an image"
        super().__init__(f"cannot read the image {file!r}: {reason}; replace or remove it")


def size_of(file: str | Path) -> tuple[int, int]:
    """Returns height and width of an image, from its header.

    Raises:
        UnreadableImage: if the file cannot be read.
    """
    try:
        with Image.open(file) as image:
            return image.height, image.width
    except Exception as error:  # Pillow raises many types for a damaged file
        raise UnreadableImage(str(file), error) from error


def read_image(file: str, channels: int) -> Tensor:
    """Reads a file to (C, H, W) uint8, of one channel (grey) or three (RGB); transparency is ignored.

    Raises:
        UnreadableImage: if the file cannot be read.
    """
    try:
        with Image.open(file) as image:
            pixels = np.array(_eight_bits(image).convert("L" if channels == 1 else "RGB"))
    except Exception as error:  # Pillow raises many types for a damaged file
        raise UnreadableImage(file, error) from error
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels)).permute(2, 0, 1)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scales 16 bits to 8, where Pillow would clip at 255, and converts a palette with transparency to RGBA."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.array(image).clip(0, 65535) // 256).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA")
    return image


def scale_and_cut(image: Tensor, shorter_side: int, size: int) -> Tensor:
    """Scales (C, H, W) to a shorter side of ``shorter_side`` pixels and crops (C, size, size) from the centre."""
    height, width = image.shape[-2:]
    scale = shorter_side / min(height, width)
    image = resize(image, max(shorter_side, round(height * scale)), max(shorter_side, round(width * scale)))
    top, left = (image.shape[-2] - size) // 2, (image.shape[-1] - size) // 2
    return image[..., top : top + size, left : left + size]


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Scales (C, H, W) uint8 bilinearly with antialiasing, as Pillow and torchvision do."""
    if image.shape[-2:] == (height, width):
        return image
    return F.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]
