"""What callbacks require of a data module beyond Lightning's hooks."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

from lightning import Trainer
from torch import Tensor


class ImageData(Protocol):
    """A data module whose images and classes have names; ``ImageDataModule`` is one."""

    @property
    def class_names(self) -> Sequence[str]:
        """The names of the classes, by label."""

    @property
    def indices(self) -> Tensor:
        """The number, in the data set, of each image (B,) of the newest batch; on the CPU."""

    @property
    def predict_files(self) -> Sequence[Path] | None:
        """The files that are predicted, by the numbers in a prediction batch; None if they are no files."""

    @property
    def unreadable(self) -> Collection[str]:
        """The files that this process has skipped because it could not read them."""

    def name_of(self, part: str, index: int) -> str:
        """Returns the name of an image, for a person: of its part (``"test"``) and its number in the data set."""

    def to_pixels(self, images: Tensor) -> Tensor:
        """Returns normalized images (B, C, H, W) as pixels (B, H, W, 1 or 3) uint8."""

    def training_indices(self, epoch: int, batch_idx: int) -> list[int]:
        """Returns the numbers of the images that this process trains on in a step."""


def image_data(trainer: Trainer) -> ImageData:
    """Returns the data module of a trainer."""
    data: Any = getattr(trainer, "datamodule", None)  # the Trainer sets it without declaring it
    return data
