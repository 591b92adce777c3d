"""Images side by side, with captions, drawn pixel by pixel."""

import io
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .style import DPI, PAGE, TEXT, font_file, shortened

_SIDE = 128  # pixels; smaller images are enlarged by a whole number to about this size
_LARGEST = 320  # larger ones are reduced to this size
_GAP = 14
_CAPTION = round(6.5 / 72 * DPI)  # the height of the type
_TITLE = round(10 / 72 * DPI)


def images_in_a_grid(
    images: Iterable[NDArray[np.uint8]],
    captions: Sequence[str] = (),
    columns: int = 8,
    title: str = "",
    side: int = _SIDE,
    largest: int | None = _LARGEST,
) -> Image.Image:
    """Images (H, W, 3), (H, W, 1) or (H, W), each with a caption of one or more lines below it.

    Args:
        images: the images.
        captions: a caption for each image; none by default. Lines that are too long are cut in their middle.
        columns: the number of images in a row.
        title: a line above them.
        side: the side in pixels to which small images are enlarged, by a whole number.
        largest: the side in pixels to which larger images are reduced; None leaves them as they are.
    """
    shown = [_scaled(image, side, largest) for image in images]
    columns = min(columns, max(len(shown), 1))
    width = max((image.width for image in shown), default=side)
    height = max((image.height for image in shown), default=side)
    font = ImageFont.truetype(font_file(captions), _CAPTION)
    lines = [_fitted(caption, font, width) for caption in captions]
    line_height = round(1.3 * _CAPTION)
    below = max(map(len, lines), default=0) * line_height
    top = 2 * _GAP + _TITLE if title else _GAP
    rows = math.ceil(len(shown) / columns)
    size = (_GAP + columns * (width + _GAP), top + rows * (height + below + _GAP))
    canvas = Image.new("RGB", size, PAGE)
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((_GAP, _GAP), title, fill=TEXT, font=ImageFont.truetype(font_file([title]), _TITLE))
    for number, image in enumerate(shown):
        row, column = divmod(number, columns)
        x, y = _GAP + column * (width + _GAP), top + row * (height + below + _GAP)
        canvas.paste(image, (x + (width - image.width) // 2, y + height - image.height))
        for place, line in enumerate(lines[number] if lines else ()):
            draw.text((x + width // 2, y + height + place * line_height), line, fill=TEXT, font=font, anchor="ma")
    return canvas


def _scaled(pixels: NDArray[np.uint8], side: int, largest: int | None) -> Image.Image:
    """The image in color, enlarged by a whole number if it is small, and reduced if it is large."""
    image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[2:] == (1,) else pixels).convert("RGB")
    times = side // max(image.size)
    if times > 1:
        return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    if largest and max(image.size) > largest:
        image.thumbnail((largest, largest))
    return image


def _fitted(caption: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """The lines of a caption, each cut in its middle until it fits into the width."""
    lines = []
    for line in caption.split("\n"):
        length = len(line)
        while length > 2 and font.getlength(shortened(line, length)) > width:
            length -= 1
        lines.append(shortened(line, length) if length < len(line) else line)
    return lines


def decode_png(png: bytes) -> NDArray[np.uint8]:
    """The pixels (H, W, C) or (H, W) of a PNG."""
    with Image.open(io.BytesIO(png)) as image:
        return np.array(image)
