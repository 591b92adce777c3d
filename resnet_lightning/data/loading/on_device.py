"""Batches for a Trainer: made on its device, and without a sampler of torch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .finish import Finish
from .images import ImageDataset
from .resident import BatchLoader
from .streaming import StreamLoader


@dataclass(frozen=True)
class DeviceLoader:
    """Yields the finished batches of one process: images (B, C, H, W) float32 and targets.

    It is not a ``DataLoader`` of torch: the Trainer leaves it as it is, and its raw batches already are the share of
    this process.

    Args:
        raw: the loader of the raw batches.
        finish: augments and normalizes a batch.
        device: where batches are finished.
        announce: called with the indices (B,) of each batch before it is yielded.
    """

    raw: BatchLoader | StreamLoader
    finish: Finish = field(repr=False)
    device: torch.device
    announce: Callable[[Tensor], None] = field(repr=False)

    @property
    def dataset(self) -> ImageDataset:
        """The images of this loader, by their number: ``(image, target)``."""
        return ImageDataset(self.raw, self.finish)

    @property
    def batch_size(self) -> int:
        """Images per step, in each process."""
        return self.raw.order.batch_size

    def __len__(self) -> int:
        return len(self.raw)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.raw:
            self.announce(batch.indices % len(self.raw.targets))
            yield self.finish(batch.to(self.device))
