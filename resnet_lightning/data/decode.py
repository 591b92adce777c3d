"""Image files to arrays."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import InputError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")


def list_images(folder: Path) -> list[Path]:
    """All image files below a folder, by name.

    Raises:
        InputError: where the folder does not exist or holds none.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {str(folder)!r}")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)
    if not files:
        raise InputError(f"there is no image in {str(folder)!r} (looked for {' '.join(EXTENSIONS)})")
    return files


def size_of(file: Path) -> tuple[int, int]:
    """Height and width of an image, from its header.

    Raises:
        InputError: where the file cannot be read.
    """
    try:
        with Image.open(file) as image:
            return image.height, image.width
    except Exception as error:  # Pillow raises many kinds for a file that is damaged
        raise _unreadable(file) from error


def decode_images(files: Sequence[Path], size: int | None, channels: int) -> Tensor:
    """Reads image files into one array (N, size, size, channels), uint8.

    Args:
        files: what to read, in several threads.
        size: the shorter side is scaled to this, and the middle is cut out; None takes images of one size as they are.
        channels: 1 for grey, 3 for colour.

    Raises:
        InputError: where a file cannot be read, or ``size`` is None and the images differ in size.
    """
    if not files:
        return torch.empty(0, 0, 0, channels, dtype=torch.uint8)
    height, width = (size, size) if size else size_of(files[0])
    array = np.empty((len(files), height, width, channels), np.uint8)

    def decode(number: int) -> None:
        file = files[number]
        try:
            with Image.open(file) as image:
                pixels = image.convert("L" if channels == 1 else "RGB")
        except Exception as error:  # Pillow raises many kinds for a file that is damaged
            raise _unreadable(file) from error
        if size:
            pixels = _resize_and_crop(pixels, size)
        elif pixels.size != (width, height):
            raise InputError(
                f"the images differ in size: {str(files[0])!r} is {width}x{height} and {str(file)!r} is "
                f"{pixels.width}x{pixels.height}; give one with --data.image_size"
            )
        array[number] = np.asarray(pixels).reshape(height, width, channels)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for _ in threads.map(decode, range(len(files))):  # raises what a thread raised
            pass
    return torch.from_numpy(array)


def _resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


def _unreadable(file: Path) -> InputError:
    return InputError(f"cannot read the image {str(file)!r}: it is damaged or not an image; replace or remove it")
