"""Mean and standard deviation of a data set; normalizes pixels with them, and back."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError

Statistics = tuple[Tensor, Tensor]
"""Mean and standard deviation of each channel (C,) float32, for pixels in [0, 1]."""


class Normalization:
    """Scales pixels to mean 0 and standard deviation 1.

    Given values are used first. Otherwise they are the data set's: known, from a checkpoint, or measured.

    Args:
        channels: the number of channels.
        mean: of each channel or of all, for pixels in [0, 1]; None if not given.
        std: likewise.
        known: mean and standard deviation of the data set; None to measure them.

    Raises:
        InputError: if mean or std have a wrong number of values, or values out of range.
    """

    def __init__(
        self,
        channels: int,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        known: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None:
        for name, values in ("mean", mean), ("std", std):
            if values is not None and len(values) not in (1, channels):
                raise InputError(f"data.{name} has {len(values)} values; these images have {channels} channels")
            if values is not None and not all(map(math.isfinite, values)):
                raise InputError(f"data.{name} is {list(values)}; give finite numbers")
        if std is not None and min(std) <= 0:
            raise InputError(f"data.std is {list(std)}; a standard deviation is larger than 0")
        for name, values in ("mean", mean), ("std", std):
            if values is not None and not 0 <= min(values) <= max(values) <= 1:
                raise InputError(f"data.{name} is {list(values)}; give it for pixels in [0, 1]: 0.5 for 127.5")
        self._mean = None if mean is None else torch.tensor(mean, dtype=torch.float32)
        self._std = None if std is None else torch.tensor(std, dtype=torch.float32)
        self._of_data: Statistics | None = None
        self._scale: tuple[Tensor, ...] | None = None
        if known is not None:
            self.set(torch.tensor(known[0]), torch.tensor(known[1]))

    @property
    def is_set(self) -> bool:
        """Whether mean and deviation are known, so that nothing has to be measured."""
        return self._of_data is not None or (self._mean is not None and self._std is not None)

    def set(self, mean: Tensor, std: Tensor) -> None:
        """Sets the data set's statistics; given values still override them."""
        self._of_data = mean, std
        self._scale = None

    def statistics(self) -> Statistics:
        """Mean and standard deviation of each channel."""
        mean, std = self._of_data or (self._mean, self._std)
        mean = mean if self._mean is None else self._mean
        std = std if self._std is None else self._std
        assert mean is not None
        assert std is not None
        return mean, std

    def normalize(self, images: Tensor) -> Tensor:
        """(B, C, H, W) pixels in [0, 255], uint8 or float, to float32 with mean 0 and standard deviation 1."""
        pixels = images.permute(0, 2, 3, 1)
        if self._scale is None or self._scale[0].shape != pixels.shape[1:] or self._scale[0].device != pixels.device:
            # One value for every pixel, computed once: broadcasting over the channels is many times slower.
            mean, std = (255 * values.double() for values in self.statistics())
            self._scale = tuple(
                values.float().expand(pixels.shape[1:]).contiguous().to(pixels.device)
                for values in (-mean / std, 1 / std)
            )
        shift, factor = self._scale
        pixels = pixels.to(torch.float32, copy=True)
        return torch.addcmul(shift, pixels, factor, out=pixels).permute(0, 3, 1, 2)

    def to_pixels(self, images: Tensor) -> Tensor:
        """Normalized images (B, C, H, W) to pixels (B, H, W, 1 or 3) uint8 that can be shown.

        Of two channels, the first is shown; of more than three, the first three.
        """
        mean, std = (255 * values.to(images.device)[:, None, None] for values in self.statistics())
        pixels = (images.float() * std + mean).round_().clamp_(0, 255).byte().permute(0, 2, 3, 1)
        return pixels[..., : 3 if pixels.shape[-1] >= 3 else 1]


def measure(images: Tensor, indices: Tensor) -> Statistics:
    """Computes the exact mean and standard deviation of all pixels, from a histogram of their 256 values.

    Args:
        images: (N, H, W, C) uint8.
        indices: (n,) which of them.
    """
    counts = torch.zeros(images.shape[-1], 256, dtype=torch.int64)
    for some in indices.split(1024):
        for number, channel in enumerate(images[some].unbind(-1)):
            counts[number] += torch.bincount(channel.flatten(), minlength=256)
    values = torch.arange(256, dtype=torch.float64) / 255
    shares = counts / counts.sum(1, keepdim=True, dtype=torch.float64)
    mean = (shares * values).sum(1)
    std = (shares * (values - mean[:, None]) ** 2).sum(1).sqrt().float()
    return mean.float(), torch.where(std > 0, std, 1.0)  # a channel of one value is not scaled
