"""The images of a split as a data set of torch, and a ``DataLoader`` of them for any training loop."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from ...errors import InputError
from .finish import Finish
from .order import Order, Place
from .resident import BatchLoader
from .streaming import StreamLoader

Sample = tuple[Tensor, Tensor | int]


class ImageDataset(Dataset[Sample]):
    """The finished images of a split: image (C, H, W) float32 and label, or probabilities (K,) if images are mixed.

    A training image that is requested by a ``Place`` is augmented as in that epoch. If it is requested by its number
    alone, by a sampler of one's own, its augmentation is drawn from torch's generator.

    Args:
        raw: the loader that makes raw batches.
        finish: augments and normalizes a batch.
    """

    def __init__(self, raw: BatchLoader | StreamLoader, finish: Finish) -> None:
        self.raw = raw
        self.finish = finish

    def __len__(self) -> int:
        return len(self.raw.order.indices)

    @property
    def targets(self) -> list[int]:
        """The label of each image."""
        labels: list[int] = self.raw.targets[self.raw.order.indices].tolist()
        return labels

    def __getitem__(self, item: "int | Place") -> Sample:
        if isinstance(item, int) and not -len(self) <= item < len(self):
            raise IndexError(f"image {item} of {len(self)}")
        ((image, target),) = self.__getitems__([item])
        return image, int(target) if isinstance(target, Tensor) and not target.ndim else target

    def __getitems__(self, items: "Sequence[int | Place]") -> list[Sample]:
        """Returns several images, which are finished as one batch."""
        places = [item if isinstance(item, Place) else self._place(int(item)) for item in items]
        row_of = {place.image: row for row, place in enumerate(places)}
        rows = [place.image for place in places]
        others: list[int] = []
        for place in places:
            if place.partner is not None:
                if place.partner not in row_of:
                    row_of[place.partner] = len(rows)
                    rows.append(place.partner)
                others.append(row_of[place.partner])
        partners = torch.tensor(others) if others else None
        images, targets = self.finish(self.raw.batch(torch.tensor(rows), partners, places[0].epoch))
        return list(zip(images, targets, strict=True))

    def _place(self, number: int) -> Place:
        order = self.raw.order
        index = int(order.indices[number])
        if order.seed is None:
            return Place(index)
        epoch = int(torch.randint(2**31, ()))
        return Place(index, index if order.pairs else None, epoch)


class EpochSampler(DistributedSampler[Any]):
    """Yields the images of an epoch in their order. Every new epoch has another order, also without ``set_epoch``.

    It yields the images of all processes. An ``ImageLoader`` restricts it to those of its own process; accelerate,
    which takes the sampler out of the loader, divides them itself. It is a ``DistributedSampler``, so that Lightning
    does not put another one in its place.

    Args:
        order: the order of one process.
    """

    def __init__(self, order: Order) -> None:
        super().__init__(range(len(order.indices)), num_replicas=1, rank=0)  # type: ignore[arg-type]  # needs a length
        self.order = order

    @contextmanager
    def of_this_process(self) -> Iterator[None]:
        """Restricts the sampler to the images of this process."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            self.num_replicas, self.rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
        try:
            yield
        finally:
            self.num_replicas, self.rank = 1, 0

    def _shared_order(self) -> Order:
        return replace(self.order, rank=self.rank, world_size=self.num_replicas)

    def __len__(self) -> int:
        return self._shared_order().num_places

    def __iter__(self) -> Iterator[Any]:
        epoch = self.epoch
        self.set_epoch(epoch + 1)
        return iter(self._shared_order().places(epoch))


class ImageLoader(DataLoader[Sample]):
    """A ``DataLoader`` of finished batches on the CPU: for a loop of one's own, Fabric, accelerate or a bare Trainer.

    Batches are images (B, C, H, W) float32 and targets, (B,) int64 or (B, K) float32. The order and the augmentations
    are functions of (seed, epoch, index), as in a data module that is given to a Trainer. Each iteration is the next
    epoch; ``set_epoch`` chooses another one. In evaluation with several processes, every process makes as many steps as
    the others, for which an image may be repeated in the last step.
    """

    @classmethod
    def of(cls, dataset: ImageDataset, num_workers: int = 0) -> "ImageLoader":
        """Returns the loader of a data set, in the order of its raw loader."""
        order = dataset.raw.order
        return cls(
            dataset=dataset,
            batch_size=order.batch_size,
            sampler=EpochSampler(order),
            drop_last=order.seed is not None,
            num_workers=num_workers,
            generator=torch.Generator(),  # else the workers' seeds are drawn from the run's generator
        )

    @property
    def epoch_sampler(self) -> EpochSampler | None:
        """The sampler of the epochs; None if another sampler has taken its place."""
        sampler = getattr(self.batch_sampler, "sampler", None)
        return sampler if isinstance(sampler, EpochSampler) else None

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the next iteration, counted from 0."""
        if self.epoch_sampler:
            self.epoch_sampler.set_epoch(epoch)

    def __len__(self) -> int:
        with self._of_this_process():
            return super().__len__()

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # begins with the first batch, after `set_epoch`
        try:
            with self._of_this_process():
                batches = super().__iter__()
                first = next(batches, None)
            if first is not None:
                yield first
                yield from batches
        except InputError as error:  # one that was raised in a worker carries the text of a traceback
            raise InputError(str(error).rpartition("InputError: ")[2].strip()) from error

    @contextmanager
    def _of_this_process(self) -> Iterator[None]:
        if self.epoch_sampler is None:
            yield
            return
        with self.epoch_sampler.of_this_process():
            yield
