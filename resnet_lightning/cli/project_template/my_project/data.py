"""A data set: its classes, and a function that reads it."""

from typing import Any

from resnet_lightning import DigitsDataModule, ImageDataModule


class Parity(ImageDataModule):
    """Handwritten digits, of which some are even and some are odd.

    Replace ``read`` with your own. The arguments, such as ``batch_size`` and ``augment``, are those of
    ``ImageDataModule``, and the images are split, normalized and augmented by it.
    """

    class_names = ("even", "odd")
    in_chans = 1
    image_size = 8

    def read(self, part: str) -> tuple[Any, Any]:
        """Returns the part ``"train"`` or ``"test"``: pixels (N, H, W[, C]) uint8 and labels (N,)."""
        pixels, digits = DigitsDataModule().read(part)
        return pixels, digits % 2
