"""Grey images of more than 8 bits: finds the pixel value that stands for white, and scales to 8 bits by it.

A file does not tell which of its values is white: 12 bits are often stored in 16, and floats lie in [0, 1] or [0, 255].
The white level is therefore one number for a whole data set, given or measured on its training images, and images of
other values are refused instead of clipped.
"""

import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from ...errors import InputError

_log = logging.getLogger(__name__)

_INTEGERS = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_BITS = (1, 2, 4, 8, 10, 12, 14, 16, 24, 32)
_OVERSHOOT = 0.05  # the share of the white level by which floats may lie outside their range, as after scaling an image
_PHOTOMETRIC = 262  # the TIFF tag of how values are shown
_OPENED = 256  # files whose headers are looked at; all are measured if one of those has more than 8 bits
_HINT = "give the pixel value of white as --data.white_level, such as 4095 for 12 bits or 1 for floats up to 1"


def is_deep(image: Image.Image) -> bool:
    """Whether an image is grey with more than 8 bits for each pixel."""
    return image.mode == "F" or image.mode in _INTEGERS


def to_eight_bits(file: str, image: Image.Image, white_level: float | None) -> Image.Image:
    """Scales a grey image of more than 8 bits to 8 bits.

    Args:
        file: its name, for error messages.
        image: the image.
        white_level: the pixel value that becomes 255; None if no such image was expected.

    Raises:
        InputError: if the image has values that are not in the range from 0 to the white level, or if there is no white
            level and the values leave it open.
    """
    values, is_float = np.asarray(image), image.mode == "F"
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(low + high):
        raise InputError(f"the image {file!r} has pixels that are not finite numbers; replace or remove it")
    level = _only_possible_level(high, is_float) if white_level is None else white_level
    if level is None:
        raise InputError(
            f"it is not clear how bright the image {file!r} is, whose pixels have more than 8 bits and values up to "
            f"{high:g}; {_HINT}"
        )
    slack = _OVERSHOOT * level if is_float else 0
    if low < -slack:
        raise InputError(f"the image {file!r} has pixels of {low:g}; give images whose black is 0")
    if high > level + slack:
        raise InputError(
            f"the image {file!r} has pixels of {high:g}, brighter than white, which is {level:g} here; {_HINT}"
        )
    if is_float:
        scaled = (values * (255 / level)).round().clip(0, 255).astype(np.uint8)
    else:  # of 8 or more bits, the upper 8 are kept
        factor, divisor = (256, int(level) + 1) if level >= 255 else (255, level)
        scaled = (values.astype(np.int64) * factor // divisor).astype(np.uint8)
    return Image.fromarray(255 - scaled if _is_negative(image) else scaled)


def _is_negative(image: Image.Image) -> bool:
    """Whether 0 is white, as a TIFF file may state. Pillow takes that into account for 8 bits only."""
    tags = getattr(image, "tag_v2", {})
    return bool(tags.get(_PHOTOMETRIC, 1) == 0)


def white_level_of(highest: float, is_float: bool) -> float:
    """Returns the white level of images whose brightest pixel is ``highest``: 1 for floats up to 1, or all ones."""
    if is_float and highest <= 1 + _OVERSHOOT:
        # Of very dark images, as of reflectances, 8 bits would keep too little.
        return 1.0 if highest > 1 / 8 or highest <= 0 else 2.0 ** math.ceil(math.log2(highest))
    bits = (bits for bits in _BITS if highest <= (2**bits - 1) * (1 + _OVERSHOOT * is_float))
    return float(2 ** next(bits, 128) - 1)


def _only_possible_level(highest: float, is_float: bool) -> float | None:
    """The white level of a single image, where its values leave no doubt."""
    level = white_level_of(highest, is_float)
    return level if level in ((1, 255) if is_float else (65535,)) or highest == 0 else None


def find_white_level(names: Sequence[str], given: float | None = None) -> float | None:
    """Returns the white level of a data set's grey images of more than 8 bits; None if it has no such image.

    Args:
        names: files of training images, spread over all. Their pixels are read only if some have more than 8 bits.
        given: the user's own value, which is not measured.

    Raises:
        InputError: if integers and floats are mixed, or if files cannot be converted to 8 bits.
    """
    kinds = [kind for name in names[:: max(len(names) // _OPENED, 1)] if (kind := _open(name))]
    with_frames = [name for name, _, has_frames in kinds if has_frames]
    if with_frames:
        _say(f"{len(with_frames)} of {len(kinds)} images that were looked at hold several frames, for example "
             f"{with_frames[0]}; the first frame of each is used")  # fmt: skip
    if all(kind == "8 bits" for _, kind, _ in kinds):
        return given
    with ThreadPoolExecutor() as threads:
        found = [row for row in threads.map(_measure, names) if row]
    colors = [high for kind, high in found if kind == "16-bit colour"]
    if colors and max(colors) < 64:  # 14 bits at most
        name = next(name for name, kind, _ in kinds if kind == "16-bit colour")
        raise InputError(
            f"the images, such as {name!r}, have 16 bits for each colour but use 14 at most, so that they would be "
            "black; convert them to 8 bits"
        )
    levels = {
        kind: white_level_of(max(high for other, high in found if other == kind), kind == "float")
        for kind in sorted({kind for kind, _ in found} - {"8 bits", "16-bit colour"})
    }
    if given is not None or not levels:
        return given
    if len(set(levels.values())) > 1:
        raise InputError(
            f"some images hold floats up to {levels['float']:g} and some integers up to {levels['integer']:g}; "
            "convert all of them to one kind"
        )
    level = next(iter(levels.values()))
    _say(f"grey images of more than 8 bits: their value {level:g} becomes white; data.white_level sets another")
    return level


@rank_zero_only
def _say(line: str) -> None:
    _log.info("%s", line)


def _kind(image: Image.Image) -> str:
    if image.mode == "F":
        return "float"
    if is_deep(image):
        return "integer"
    raw_modes = [str(tile[3]) for tile in getattr(image, "tile", ())]
    return "16-bit colour" if any(";16" in raw for raw in raw_modes) else "8 bits"


def _open(name: str) -> tuple[str, str, bool] | None:
    """The file's name, kind and whether it holds several frames; None for a damaged file, which reading it reports."""
    try:
        with Image.open(name) as image:
            return name, _kind(image), bool(getattr(image, "is_animated", False)) and image.format != "MPO"
    except Exception:  # Pillow raises many types for a damaged file
        return None


def _measure(name: str) -> tuple[str, float] | None:
    """The file's kind and its largest finite pixel value; None for a damaged file, which reading it reports."""
    try:
        with Image.open(name) as image:
            kind = _kind(image)
            if kind == "8 bits":
                return kind, 0.0
            values = np.asarray(image)
            return kind, float(values[np.isfinite(values)].max(initial=0))
    except Exception:  # Pillow raises many types for a damaged file
        return None
