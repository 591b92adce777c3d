"""The order of an epoch: a function of (seed, epoch), cut into the steps of each process."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..augmentation.draws import key


class Step(NamedTuple):
    """Which images a step takes: ``indices`` and ``others`` of its ``RawBatch``."""

    indices: Tensor
    others: Tensor | None


class Place(NamedTuple):
    """One image in an epoch."""

    image: int
    partner: int | None = None  # the image that it is mixed with
    epoch: int | None = None  # None in evaluation


@dataclass(frozen=True)
class Order:
    """Which images one process takes at each step of an epoch.

    Each step takes the next ``batch_size * world_size`` images of the epoch's order. Together the processes take the
    same images as a single process with a batch that many times larger.

    In training the order is a permutation drawn from (seed, epoch), and an incomplete last batch is dropped. In
    evaluation the order is that of the indices, and every image is used exactly once. If the last step has fewer images
    than there are processes, some get an empty batch, so that all processes make the same number of steps.

    Args:
        indices: (n,) int64, the images.
        batch_size: images per step in each process.
        seed: of the training order; None for evaluation.
        rank: the number of this process.
        world_size: the number of processes.
        classes: (N,) int64, the class of every image of the data set: each epoch then takes equally many images of each
            class, see ``_balanced``. None takes every image once.
        pairs: whether to pair each training image with another one to mix: its neighbour in the order (the first
            with the second, the third with the fourth, and so on).
    """

    indices: Tensor
    batch_size: int
    seed: int | None = None
    rank: int = 0
    world_size: int = 1
    classes: Tensor | None = None
    pairs: bool = False

    def __len__(self) -> int:
        step = self.batch_size * self.world_size
        return len(self.indices) // step if self.seed is not None else -(-len(self.indices) // step)

    def of(self, epoch: int) -> Tensor:
        """The numbers of all images (n,), over all processes, in the order of that epoch.

        An image that the epoch takes a second time has its number plus N, the size of the data set, and so on: it is
        augmented with other random numbers.
        """
        if self.seed is None:
            return self.indices
        generator = torch.Generator().manual_seed(key(self.seed, epoch))
        taken = self.indices if self.classes is None else self._balanced(self.classes, generator)
        return taken[torch.randperm(len(taken), generator=generator)]

    def _balanced(self, classes: Tensor, generator: torch.Generator) -> Tensor:
        """Draws n images, equally many of each class that has images; what remains goes to some classes at random.

        The images of a class are taken equally often, give or take one; which of them once more, is random.
        """
        own = classes[self.indices]
        present = own.unique()
        share, rest = divmod(len(self.indices), len(present))
        larger = torch.randperm(len(present), generator=generator) < rest
        taken = []
        for label, is_larger in zip(present, larger.tolist(), strict=True):
            images = self.indices[own == label]
            times, left = divmod(share + is_larger, len(images))
            some = images[torch.randperm(len(images), generator=generator)[:left]]
            taken += [images + time * len(classes) for time in range(times)]
            taken.append(some + times * len(classes))
        return torch.cat(taken)

    def steps(self, epoch: int, start: int = 0) -> Iterator[Step]:
        """Yields the steps of this process in that epoch, from step ``start`` on."""
        order = self.of(epoch)
        whole_step = self.batch_size * self.world_size
        for step in range(start, len(self)):
            if self.seed is None:
                yield Step(order[step * whole_step : (step + 1) * whole_step][self.rank :: self.world_size], None)
                continue
            first = step * whole_step + self.rank * self.batch_size
            indices = order[first : first + self.batch_size]
            yield self._with_others(order, first) if self.pairs else Step(indices, None)

    @property
    def num_places(self) -> int:
        """The number of images that ``places`` yields."""
        return len(self) * self.batch_size if self.seed is not None else -(-len(self.indices) // self.world_size)

    def places(self, epoch: int) -> Iterator[Place | int]:
        """Yields the images of this process in that epoch, one by one: numbers in ``indices`` in evaluation.

        Several processes get equally many. In evaluation, the last images of some are repeated for this.
        """
        if self.seed is None:
            for step in range(0, self.num_places * self.world_size, self.world_size):
                yield min(step + self.rank, len(self.indices) - 1)
            return
        for indices, others in self.steps(epoch):
            partners = [None] * len(indices) if others is None else indices[others].tolist()
            for index, partner in zip(indices.tolist(), partners, strict=False):
                yield Place(index, partner, epoch)

    def _with_others(self, order: Tensor, first: int) -> Step:
        places = torch.arange(first, first + self.batch_size)
        others = places ^ 1
        others[others == len(order)] = 0  # with an odd number of images, the last has no neighbour
        outside = (others < first) | (others >= first + self.batch_size)
        rows = others - first
        rows[outside] = self.batch_size + torch.arange(int(outside.sum()))
        return Step(order[torch.cat((places, others[outside]))], rows)
