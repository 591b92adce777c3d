"""Batches in an order that is a function of (seed, epoch), out of an array in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ..augmentation.draws import key


class RawBatch(NamedTuple):
    """A batch as it lies in memory, before it is augmented and normalised.

    Where images are mixed, rows that are there only to be mixed into others follow the B images of the batch, so that
    there are R rows in all; else R is B.
    """

    images: Tensor  # (R, C, H, W) uint8, with the channels innermost in memory
    targets: Tensor  # (R,) int64
    indices: Tensor  # (R,) int64 on the CPU, each image's number in its data set
    epoch: int | None = None  # None: not for training, take the images as they are
    others: Tensor | None = None  # (B,) int64 on the CPU, which row each image is mixed with
    done: tuple[str, ...] = ()  # the options of the augmentation that the loader has seen to


class Step(NamedTuple):
    """Which images a step takes: ``indices`` and ``others`` of its ``RawBatch``."""

    indices: Tensor
    others: Tensor | None


@dataclass(frozen=True)
class Order:
    """Which images one process takes at each step of an epoch.

    Step k of an epoch takes the next ``batch_size * world_size`` images of the epoch's order; together the processes
    see what one process with the larger batch would see.

    In training the order is a permutation drawn from (seed, epoch), and a last batch that would not be full is left
    out. In evaluation the order is that of the indices and every image comes exactly once; where the last step has
    fewer images than there are processes, some get an empty batch, so that all of them make the same number of steps.

    Args:
        indices: (n,) int64, the images.
        batch_size: images a step in each process.
        seed: of the training order; None for evaluation.
        rank: which process this is.
        world_size: how many there are.
        pairs: tell for each training image which one it is mixed with: its neighbour in the order, the second with the
            first, the fourth with the third, and so on.
    """

    indices: Tensor
    batch_size: int
    seed: int | None = None
    rank: int = 0
    world_size: int = 1
    pairs: bool = False

    def __len__(self) -> int:
        step = self.batch_size * self.world_size
        return len(self.indices) // step if self.seed is not None else -(-len(self.indices) // step)

    def of(self, epoch: int) -> Tensor:
        """The numbers of all images (n,), over all processes, as that epoch takes them."""
        if self.seed is None:
            return self.indices
        generator = torch.Generator().manual_seed(key(self.seed, epoch))
        return self.indices[torch.randperm(len(self.indices), generator=generator)]

    def steps(self, epoch: int, start: int = 0) -> Iterator[Step]:
        """What this process takes in that epoch, from step ``start`` on."""
        order = self.of(epoch)
        whole_step = self.batch_size * self.world_size
        for step in range(start, len(self)):
            if self.seed is None:
                yield Step(order[step * whole_step : (step + 1) * whole_step][self.rank :: self.world_size], None)
                continue
            first = step * whole_step + self.rank * self.batch_size
            indices = order[first : first + self.batch_size]
            yield self._with_others(order, first) if self.pairs else Step(indices, None)

    def _with_others(self, order: Tensor, first: int) -> Step:
        places = torch.arange(first, first + self.batch_size)
        others = places ^ 1
        others[others == len(order)] = 0  # the last of an odd number has no neighbour
        outside = (others < first) | (others >= first + self.batch_size)
        rows = others - first
        rows[outside] = self.batch_size + torch.arange(int(outside.sum()))
        return Step(order[torch.cat((places, others[outside]))], rows)


@dataclass(frozen=True)
class BatchLoader:
    """Yields the ``RawBatch``es of one process out of an array, on the device where the array lies.

    Args:
        images: (N, H, W, C) uint8, the whole data set.
        targets: (N,) int64 on the CPU, the label of each.
        order: which of them, and when.
        epoch: tells the current epoch, asked each time the iteration starts.
        start: tells at which step of the epoch to begin, likewise: 0, or where an interrupted run goes on.
        take: how images (B,) are taken in an epoch, to (B, C, H, W); as they are by default.
        done: the options of the augmentation that this sees to.
    """

    images: Tensor = field(repr=False)
    targets: Tensor = field(repr=False)
    order: Order
    epoch: Callable[[], int] = lambda: 0
    start: Callable[[], int] = lambda: 0
    take: Callable[[Tensor, int], Tensor] | None = None
    done: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[RawBatch]:
        epoch = self.epoch()
        take = self.take or self._as_they_are
        for indices, others in self.order.steps(epoch, self.start()):
            yield RawBatch(
                images=take(indices, epoch),
                targets=self.targets.index_select(0, indices),
                indices=indices,
                epoch=None if self.order.seed is None else epoch,
                others=others,
                done=self.done,
            )

    def _as_they_are(self, indices: Tensor, epoch: int) -> Tensor:
        return self.images.index_select(0, indices.to(self.images.device, non_blocking=True)).permute(0, 3, 1, 2)
