"""Batches out of an array in memory, in an order that is a function of (seed, epoch)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .draws import key


@dataclass(frozen=True)
class Split:
    """Some images of a data set.

    Args:
        images: (N, H, W, C) uint8, the whole data set.
        targets: (N,) int64, the label of each.
        indices: (n,) int64, which of them belong to this split.
    """

    images: Tensor
    targets: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)


class RawBatch(NamedTuple):
    """A batch as it lies in memory, before it is augmented and normalised."""

    images: Tensor  # (B, C, H, W) uint8
    targets: Tensor  # (B,) int64
    indices: Tensor  # (B,) int64, each image's number in its data set
    epoch: int | None  # None: not for training, take the images as they are


class BatchLoader:
    """Yields ``RawBatch`` after ``RawBatch`` of one process's share of a split.

    Step k of an epoch takes the next ``batch_size * world_size`` images of the order, and each process every
    ``world_size``-th of them: together the processes see what one process with the larger batch would see.

    In training the order is a permutation drawn from (seed, epoch), and a last batch that would not be full is left
    out. In evaluation the order is the split's own and every image comes exactly once; where the last step has fewer
    images than there are processes, some get an empty batch, so that all of them make the same number of steps.

    Args:
        split: the images.
        batch_size: images a step in each process.
        seed: of the training order; None for evaluation.
        epoch: tells the current epoch, asked each time the iteration starts.
        start: tells at which step of the epoch to begin, likewise: 0, or where an interrupted run goes on.
        rank: which process this is.
        world_size: how many there are.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        seed: int | None = None,
        epoch: Callable[[], int] = lambda: 0,
        start: Callable[[], int] = lambda: 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = epoch
        self.start = start
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        step = self.batch_size * self.world_size
        return len(self.split) // step if self.seed is not None else -(-len(self.split) // step)

    def order(self, epoch: int) -> Tensor:
        """The numbers of the split's images (n,), over all processes, in the order in which that epoch takes them."""
        if self.seed is None:
            return self.split.indices
        generator = torch.Generator().manual_seed(key(self.seed, epoch))
        return self.split.indices[torch.randperm(len(self.split), generator=generator)]

    def __iter__(self) -> Iterator[RawBatch]:
        epoch = self.epoch()
        steps = self.order(epoch).split(self.batch_size * self.world_size)
        for step in steps[self.start() : len(self)]:
            indices = step[self.rank :: self.world_size]
            yield RawBatch(
                images=self.split.images[indices].permute(0, 3, 1, 2),
                targets=self.split.targets[indices],
                indices=indices,
                epoch=None if self.seed is None else epoch,
            )
