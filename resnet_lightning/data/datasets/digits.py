"""Handwritten digits that come with the package."""

from importlib.resources import files
from typing import Any

import numpy as np
import torch

from ..module import ImageDataModule
from ..splits import every_fifth


class DigitsDataModule(ImageDataModule):
    """1,797 handwritten digits of 8x8 pixels, in the package itself: no download.

    They are the test part of *Optical Recognition of Handwritten Digits* (Alpaydin & Kaynak 1998, UCI Machine
    Learning Repository, CC BY 4.0), by 13 writers. The data set has no split of its own. Here every fifth image of each
    class, in the file's order, is a test image (the 5th, 10th, ...): 355 images. See ``ImageDataModule`` for the
    arguments.
    """

    class_names = tuple("0123456789")
    in_chans = 1
    image_size = 8

    def read(self, part: str) -> tuple[Any, Any]:
        with (files(__package__) / "embedded" / "digits.npz").open("rb") as file, np.load(file) as arrays:
            images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])
        chosen = every_fifth(labels) if part == "test" else ~every_fifth(labels)
        return images[chosen], labels[chosen]
