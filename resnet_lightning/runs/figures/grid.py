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
_LINE = round(1.3 * _CAPTION)
_TITLE = round(10 / 72 * DPI)
_NAME = 200  # the greatest width of the name of a row


def images_in_a_grid(
    images: Iterable[NDArray[np.uint8] | None],
    captions: Sequence[str] = (),
    columns: int = 8,
    title: str = "",
    side: int = _SIDE,
    largest: int | None = _LARGEST,
    row_names: Sequence[str] = (),
    column_names: Sequence[str] = (),
) -> Image.Image:
    """Images (H, W, 3), (H, W, 1) or (H, W), each with a caption of one or more lines below it.

    Args:
        images: the images; None leaves a place empty.
        captions: a caption for each image; none by default. Long lines continue in a second one, which is cut in its
            middle if it is still too long.
        columns: the number of images in a row.
        title: a line above them.
        side: the side in pixels to which small images are enlarged, by a whole number.
        largest: the side in pixels to which larger images are reduced; None leaves them as they are.
        row_names: a name on the left of each row.
        column_names: a name above each column.
    """
    shown = [image if image is None else _scaled(image, side, largest) for image in images]
    columns = min(columns, max(len(shown), 1))
    width = max((image.width for image in shown if image), default=side)
    height = max((image.height for image in shown if image), default=side)
    font = ImageFont.truetype(font_file([*captions, *row_names, *column_names]), _CAPTION)
    lines = [_fitted(caption, font, width) for caption in captions]
    names = [_fitted(name, font, _NAME) for name in row_names]
    heads = [_fitted(name, font, width) for name in column_names]
    below = max(map(len, lines), default=0) * _LINE
    left = max((round(font.getlength(line)) + _GAP for name in names for line in name), default=0) + _GAP
    above = 2 * _GAP + _TITLE if title else _GAP
    top = above + max(map(len, heads), default=0) * _LINE + (_LINE // 3 if heads else 0)
    rows = math.ceil(len(shown) / columns)
    right = left + columns * (width + _GAP)
    title_font = ImageFont.truetype(font_file([title]), _TITLE)
    size = max(right, round(title_font.getlength(title)) + 2 * _GAP), top + rows * (height + below + _GAP)
    canvas = Image.new("RGB", size, PAGE)
    draw = ImageDraw.Draw(canvas)

    def write(written: Sequence[str], x: int, y: int, anchor: str) -> None:
        for place, line in enumerate(written):
            draw.text((x, y + place * _LINE), line, fill=TEXT, font=font, anchor=anchor)

    draw.text((_GAP, _GAP), title, fill=TEXT, font=title_font)
    for row, name in enumerate(names):
        middle = top + row * (height + below + _GAP) + height // 2
        write(name, left - _GAP, middle - len(name) * _LINE // 2, "ra")
    for column, head in enumerate(heads):
        write(head, left + column * (width + _GAP) + width // 2, above, "ma")
    for number, image in enumerate(shown):
        row, column = divmod(number, columns)
        x, y = left + column * (width + _GAP), top + row * (height + below + _GAP)
        if image is None:
            continue
        canvas.paste(image, (x + (width - image.width) // 2, y + height - image.height))
        write(lines[number] if lines else (), x + width // 2, y + height + _LINE // 6, "ma")
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
    """The lines of a caption. One that is too wide becomes two, of which the second is cut in its middle."""
    lines = []
    for line in caption.split("\n"):
        if font.getlength(line) <= width:
            lines.append(line)
            continue
        most = min(len(line), _most_letters(width))
        end = next(end for end in range(most, 0, -1) if end == 1 or font.getlength(line[:end]) <= width)
        # After the last space, hyphen or underscore, unless the first line would then be short.
        breaks = [place + 1 for place, letter in enumerate(line[:end]) if letter in " -_/,"]
        end = breaks[-1] if breaks and breaks[-1] > end // 2 else end
        lines += [line[:end].rstrip(), _cut(line[end:].lstrip(), font, width)]
    return lines


def _cut(line: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """A line without its middle, as far as that makes it fit into the width."""
    length = min(len(line), _most_letters(width))
    while length > 2 and font.getlength(shortened(line, length)) > width:
        length -= 1
    return shortened(line, length) if length < len(line) else line


def _most_letters(width: int) -> int:
    """No text of more letters fits into the width: the narrowest letters are a quarter of the type's height wide."""
    return max(round(width / (0.25 * _CAPTION)), 1)


def decode_png(png: bytes) -> NDArray[np.uint8]:
    """The pixels (H, W, C) or (H, W) of a PNG."""
    with Image.open(io.BytesIO(png)) as image:
        return np.array(image)
