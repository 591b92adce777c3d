"""Which images of a test were classified correctly."""

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ResultsByImage:
    """The result of a test, image by image.

    Args:
        fingerprint: identifies the images and their labels.
        right: a character for each image, by its index in the data set: ``1`` if it was classified correctly, ``0`` if
            not, ``-`` if it was not tested.
    """

    fingerprint: str
    right: str


def parse_results_by_image(read: Any) -> ResultsByImage | None:
    """Returns the results in a file of a run; None if there are none.

    Raises:
        ValueError: if they are damaged.
    """
    if read is None:
        return None
    fingerprint, right = read["fingerprint"], read["right"]
    if not isinstance(fingerprint, str) or not isinstance(right, str) or not re.fullmatch("[01-]*", right):
        raise ValueError("the results by image are damaged")
    return ResultsByImage(fingerprint, right)
