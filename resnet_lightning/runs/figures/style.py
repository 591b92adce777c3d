"""The style of all figures: colors, type, resolution, and how a figure is written.

Colors and strengths are those of the report's style sheet, so that a picture and the page look alike.
"""

import contextlib
import functools
import io
import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from ...atomic_write import atomic_write

if TYPE_CHECKING:  # the import takes half a second, so it is left to the functions that draw
    from matplotlib.figure import Figure

DPI = 160
"""Pixels per inch of a PNG."""

TEXT, QUIET, LINE, PAGE = "#1d2125", "#565d66", "#dcdcd6", "#fdfdfc"
"""Text, secondary text, thin lines, and the background."""

BLUE, ORANGE, GREEN, PINK = "#2f7ed8", "#d9660b", "#17975b", "#c9489a"
VIOLET, OCHRE, TEAL, RED = "#8a63d2", "#a57a06", "#0e93a3", "#d84a4a"
SERIES = BLUE, ORANGE, GREEN, PINK, VIOLET, OCHRE, TEAL, RED
"""The colors of lines, in their order. Each has a contrast of at least 3:1 on a light and on a dark page."""

RIGHT, WRONG = BLUE, ORANGE
"""The colors of right predictions and of mistakes."""

_STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": TEXT,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 9,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "legend.frameon": True,
    "legend.edgecolor": "none",
    "legend.facecolor": PAGE,
    "legend.framealpha": 0.85,
    "legend.fontsize": 8.5,
    "figure.facecolor": PAGE,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.1,
    "savefig.facecolor": "auto",
}
# Figures that can be read from the back of a room.
_TALK: Any = {
    "font.size": 16,
    "axes.titlesize": 17,
    "axes.labelsize": 16,
    "xtick.labelsize": 16,
    "ytick.labelsize": 16,
    "legend.fontsize": 16,
    "legend.frameon": False,
    "lines.linewidth": 2.5,
    "lines.markersize": 9,
    "figure.constrained_layout.use": True,
}
# Fonts with the characters that DejaVu Sans lacks, on common systems.
_OTHER_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei", "Droid Sans Fallback"),
    *("PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Arial Unicode MS", "Unifont"),
)
_METADATA = "Creator", "Date", "Format", "Type"  # entries that matplotlib writes into an SVG by default


@contextlib.contextmanager
def style(kind: Literal["page", "talk"] = "page") -> Iterator[None]:
    """The style of figures that are made until the end of the ``with`` statement; also a decorator.

    Args:
        kind: ``page`` for pictures beside text, ``talk`` for large type.
    """
    from matplotlib import rc_context

    with rc_context(_STYLE | _TALK if kind == "talk" else _STYLE):
        yield


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> "Figure":
    """An empty figure, its size in inches. Use it in ``style``.

    It is made without pyplot, which keeps figures in memory until they are closed and may need a display.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def save(picture: "Figure | Image.Image", path: Path) -> Path:
    """Writes a picture as PNG."""
    with atomic_write(path) as file:
        if isinstance(picture, Image.Image):
            picture.save(file, "PNG", dpi=(DPI, DPI))
        else:
            with _known_characters(picture):
                picture.savefig(file, format="png", dpi=DPI)
    return path


def as_svg(figure: "Figure") -> str:
    """The figure as an SVG element that takes the text color of its page and scales with the available width."""
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "resnet_lightning"}), _known_characters(figure):
        figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
    svg = file.getvalue()
    svg = svg[svg.index("<svg ") :]
    for color in TEXT, QUIET, "#000000":
        svg = svg.replace(color, "currentColor")
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # unused, and ids must be unique in a page with several figures
    return re.sub(
        r'<svg (.*?)width="([\d.]+)pt" height="[\d.]+pt"',
        r'<svg fill="currentColor" style="max-width:\2pt" \1',
        svg,
        count=1,
    )


@contextlib.contextmanager
def _known_characters(figure: "Figure") -> Iterator[None]:
    """Adds a font for characters that the usual one lacks. Where none is installed, they are drawn as boxes."""
    from matplotlib.text import Text

    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    if other := other_font(text.get_text() for text in texts):
        for text in texts:
            text.set_fontfamily([*text.get_fontfamily(), other])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def other_font(texts: Iterable[str]) -> str | None:
    """Returns the name of an installed font for texts that DejaVu Sans cannot write; None if it can, or without one."""
    characters = "".join(sorted(set("".join(texts)) - set("\n")))
    return None if characters.isascii() else _font_with(characters)


@functools.lru_cache
def _font_with(characters: str) -> str | None:
    from matplotlib import font_manager

    usual = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    missing = [character for character in characters if not usual.get_char_index(ord(character))]
    installed = {font.name: font.fname for font in font_manager.fontManager.ttflist}
    for name in _OTHER_FONTS if missing else ():
        if name in installed:
            font = font_manager.get_font(installed[name])
            if all(font.get_char_index(ord(character)) for character in missing):
                return name
    return None


def font_file(texts: Iterable[str]) -> str:
    """Returns the file of the font that has the characters of texts."""
    from matplotlib import font_manager

    return font_manager.findfont(other_font(texts) or "DejaVu Sans")


def escape_dollars(text: str) -> str:
    """Escapes dollar signs, which matplotlib would read as the start of a formula."""
    return text.replace("$", r"\$")


def shortened(text: str, width: int) -> str:
    """Leaves out the middle of a text that is wider than ``width`` letters."""
    if text_width(text) <= width:
        return text
    start, end = "", ""
    letters = iter(text)
    for letter in letters:
        if text_width(start + letter) > (width - 1) * 2 // 3:
            break
        start += letter
    for letter in reversed(text):
        if text_width(start + letter + end) > width - 1:
            break
        end = letter + end
    return f"{start.rstrip()}…{end.lstrip()}"


def text_width(text: str) -> int:
    """The width of a text in letters; a Chinese character is two letters wide."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
