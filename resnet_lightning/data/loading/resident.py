"""Batches from an array in memory, without worker processes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..augmentation import Augmentation
from ..augmentation.draws import Draws
from ..augmentation.geometry import Canvas
from .memory import fits
from .order import Order


class RawBatch(NamedTuple):
    """A batch before it is augmented and normalized.

    If images are mixed, the B images of the batch may be followed by others that are only mixed into them: R rows in
    all. Otherwise R is B.
    """

    images: Tensor  # (R, C, H, W) uint8, with the channels innermost in memory
    targets: Tensor  # (R,) int64
    indices: (
        Tensor  # (R,) int64 on the CPU, each image's number in its data set; a repeated one has more, see `Order.of`
    )
    epoch: int | None = None  # None: not a training batch, no augmentation
    others: Tensor | None = None  # (B,) int64 on the CPU, which row each image is mixed with
    done: tuple[str, ...] = ()  # the options of the augmentation that the loader has applied already

    def to(self, device: torch.device) -> "RawBatch":
        """Moves images and targets; the indices stay on the CPU, where the random numbers are computed."""
        images, targets = (values.to(device, non_blocking=True) for values in (self.images, self.targets))
        return self._replace(images=images, targets=targets)


@dataclass(frozen=True)
class BatchLoader:
    """Yields the ``RawBatch``es of one process from an array, on the device that holds the array.

    Args:
        images: (N, H, W, C) uint8, the whole data set.
        targets: (N,) int64 on the CPU, the label of each.
        order: which of them each step takes.
        epoch: returns the current epoch; called when an iteration starts.
        start: returns the first step, 0 or where an interrupted run resumes; called when an iteration starts.
        take: returns the images (B, C, H, W) for indices (B,) and an epoch; by default unchanged.
        done: the options of the augmentation that ``take`` applies.
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
        for indices, others in self.order.steps(epoch, self.start()):
            yield self.batch(indices, others, None if self.order.seed is None else epoch)

    def batch(self, indices: Tensor, others: Tensor | None, epoch: int | None) -> RawBatch:
        """Returns the batch of some images; see ``RawBatch`` for the arguments."""
        return RawBatch(
            images=self._unchanged(indices) if self.take is None or epoch is None else self.take(indices, epoch),
            targets=self.targets.index_select(0, indices % len(self.targets)),
            indices=indices,
            epoch=epoch,
            others=others,
            done=self.done,
        )

    def _unchanged(self, indices: Tensor) -> Tensor:
        rows = (indices % len(self.images)).to(self.images.device, non_blocking=True)
        return self.images.index_select(0, rows).permute(0, 3, 1, 2)

    def cropping(self, augment: Augmentation, seed: int, processes: int) -> "BatchLoader":
        """Returns a loader that crops and flips while it gathers images: one copy of the pixels instead of five.

        Returns this loader unchanged in evaluation, if another augmentation precedes the crop, or if the padded data
        set does not fit in memory.

        Args:
            augment: the augmentation of training batches.
            seed: the seed of the run.
            processes: the number of processes on this machine, each with its own padded data set.
        """
        order, images = self.order, self.images
        if order.seed is None or not augment.moves_whole_pixels:
            return self
        if not fits(images.device, 4 * Canvas.nbytes(images, augment.crop) * processes):
            return self
        canvas = Canvas(images, augment.crop, augment.pad)

        def take(indices: Tensor, epoch: int) -> Tensor:
            return canvas.cut(indices.numpy() % len(images), *augment.shifts(Draws(indices, seed, epoch)))

        return replace(self, take=take, done=("crop", "flip"))
