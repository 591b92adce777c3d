"""Decodes image files to pixels.

Pillow decodes them: torchvision's own decoder is deprecated since its release 0.29.
"""

import contextlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError
from .white_level import is_deep, to_eight_bits

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")


_ORIENTATION = 0x0112  # the EXIF tag; values from 5 exchange height and width


class UnreadableImage(InputError):
    """A file that is damaged, not an image, or one that cannot be converted to RGB."""

    def __init__(self, file: str, error: Exception | None = None, reason: str | None = None) -> None:
        reason = reason or getattr(error, "strerror", None) or "it is damaged or not an image"
        super().__init__(f"cannot read the image {file!r}: {reason}; replace or remove it")


def size_of(file: str | Path) -> tuple[int, int]:
    """Returns height and width of an image, upright as ``read_image`` returns it, from its header.

    Raises:
        UnreadableImage: if the file cannot be read.
    """
    try:
        with Image.open(file) as image:
            height, width = image.height, image.width
            if image.format != "TIFF" and _orientation(image) >= 5:  # Pillow turns TIFF files itself
                return width, height
            return height, width
    except Exception as error:  # Pillow raises many types for a damaged file
        raise UnreadableImage(str(file), error) from error


def read_image(file: str, channels: int, white_level: float | None = None) -> Tensor:
    """Reads a file to (C, H, W) uint8, of one channel (grey) or three (RGB).

    The image is turned upright as its EXIF orientation states. Transparency is ignored. Of several frames or pages, the
    first is read.

    Args:
        file: the file.
        channels: 1 for grey, 3 for RGB.
        white_level: the value that becomes 255, for grey images of more than 8 bits for each pixel.

    Raises:
        UnreadableImage: if the file cannot be read.
        InputError: if its values do not fit the white level, or leave open which level a grey image has.
    """
    try:
        with Image.open(file) as image:
            image.load()
            _turn_upright(image)
            pixels = np.array(_eight_bits(file, image, white_level).convert("L" if channels == 1 else "RGB"))
    except InputError:
        raise
    except Exception as error:  # Pillow raises many types for a damaged file
        raise UnreadableImage(file, error) from error
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels)).permute(2, 0, 1)


def _orientation(image: Image.Image) -> int:
    with contextlib.suppress(Exception):  # Pillow raises many types for damaged metadata of a whole image
        return int(image.getexif().get(_ORIENTATION, 1))
    return 1


def _turn_upright(image: Image.Image) -> None:
    """Turns a loaded image as its EXIF orientation states. Damaged metadata leave it as it is."""
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


def _eight_bits(file: str, image: Image.Image, white_level: float | None) -> Image.Image:
    """Converts modes that Pillow does not convert to RGB, or would clip: more than 8 bits, and some transparency."""
    if is_deep(image):
        return to_eight_bits(file, image, white_level)
    if image.mode == "LAB":
        raise UnreadableImage(file, reason="its colours are stored as LAB, not as RGB")
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("LA") if image.mode == "La" else image


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
