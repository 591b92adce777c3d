"""The images that a model expects: their classes, size, channels and normalization."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from ..errors import InputError


@dataclass(frozen=True)
class ImageSpec:
    """How the training images of a model were prepared, so that other images can be prepared in the same way.

    A data module computes it, a checkpoint stores it, and prediction and export read it from there.

    Args:
        class_names: the names of the model's outputs, by label.
        in_chans: 1 for grey, 3 for colour.
        image_size: height and width in pixels.
        shorter_side: the length to which a file's shorter side is scaled before its centre is cropped.
        mean: of each channel, for pixels in [0, 1].
        std: the standard deviation of each channel, likewise.
        white_level: the pixel value of white in grey images of more than 8 bits; None if there were none.
        multilabel: whether an image may have several of the labels, or none; None is false.
    """

    class_names: tuple[str, ...]
    in_chans: int
    image_size: tuple[int, int]
    shorter_side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    white_level: float | None = None
    multilabel: bool | None = None

    @property
    def is_square(self) -> bool:
        """Whether the images are square. Otherwise files are not scaled, and must have exactly ``image_size``."""
        height, width = self.image_size
        return height == width

    def to_dict(self) -> dict[str, Any]:
        """Returns the entries that a checkpoint stores: numbers, strings and lists of them."""
        entries = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        if not self.multilabel:  # so that checkpoints of one label for each image stay as they were
            del entries["multilabel"]
        return entries

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        """Reads the entries that ``to_dict`` returns; other entries are ignored.

        Raises:
            InputError: if one is missing or has a wrong type.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            if field.name not in entries and field.default is None:  # added later
                continue
            if field.name not in entries:
                raise InputError(f"the checkpoint does not state the {field.name} of its images; train the model again")
            is_right, what = _EXPECTED[field.name]
            value = entries[field.name]
            if not is_right(value):
                raise InputError(f"the checkpoint states {value!r} as the {field.name} of its images, not {what}")
            values[field.name] = tuple(value) if isinstance(value, list | tuple) else value
        return cls(**values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _list_of(is_right: Callable[[object], bool], length: int | None = None) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        return isinstance(value, list | tuple) and len(value) == (length or len(value)) and all(map(is_right, value))

    return check


_EXPECTED: dict[str, tuple[Callable[[object], bool], str]] = {
    "class_names": (_list_of(lambda name: isinstance(name, str)), "a list of names"),
    "in_chans": (_is_count, "a number of channels"),
    "image_size": (_list_of(_is_count, 2), "a height and a width in pixels"),
    "shorter_side": (_is_count, "a length in pixels"),
    "mean": (_list_of(_is_number), "a list of numbers"),
    "std": (_list_of(_is_number), "a list of numbers"),
    "white_level": (lambda value: value is None or _is_positive(value), "a positive number"),
    "multilabel": (lambda value: isinstance(value, bool | None), "true or false"),
}
