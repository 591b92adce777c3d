"""Defines what callbacks require of a data module beyond Lightning's hooks."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

from lightning import Trainer
from torch import Tensor


class ImageData(Protocol):
    """Interface of a data module whose images and classes have names, such as ``ImageDataModule``."""

    @property
    def class_names(self) -> Sequence[str]:
        """The names of the classes, in the order of the labels."""

    @property
    def indices(self) -> Tensor:
        """The indices in the data set of the images of the latest batch (B,), on the CPU."""

    @property
    def predict_files(self) -> Sequence[Path] | None:
        """The files to predict, which the indices in a batch refer to; None if the images are not files."""

    @property
    def unreadable(self) -> Collection[str]:
        """The files that this process skipped because it could not read them."""

    def name_of(self, part: str, index: int) -> str:
        """Returns the readable name of an image, given its part (such as ``"test"``) and its index in the data set."""

    def to_pixels(self, images: Tensor) -> Tensor:
        """Returns normalized images (B, C, H, W) as pixels (B, H, W, 1 or 3) uint8."""

    def training_indices(self, epoch: int, batch_idx: int) -> list[int]:
        """Returns the indices in the data set of the images that this process trains on in a step."""


_NAMES = "class_names", "name_of", "to_pixels"


def image_data(trainer: Trainer) -> ImageData | None:
    """Returns the data module of a trainer; None if there is none, or if it does not know its images and classes."""
    data: Any = getattr(trainer, "datamodule", None)  # the Trainer sets it without declaring it
    # Not `hasattr`: it would compute the properties.
    is_image_data = data is not None and all(hasattr(type(data), name) or name in vars(data) for name in _NAMES)
    return data if is_image_data else None


def class_names(trainer: Trainer) -> Sequence[str]:
    """Returns the names of the classes, in the order of the labels; none if the data module has no names."""
    return getattr(getattr(trainer, "datamodule", None), "class_names", ())
