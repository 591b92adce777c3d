"""Batches that worker processes read from image files, in the same order as those that lie in memory."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ...errors import InputError
from ..augmentation import Augmentation
from ..augmentation.draws import Draws, Integers
from .decode import UnreadableImage
from .files import ImageFiles
from .order import Order
from .resident import RawBatch

_log = logging.getLogger(__name__)


class _Request(NamedTuple):
    """What a worker is asked for; arrays, which travel to it more cheaply than tensors."""

    indices: Integers
    others: Integers | None
    epoch: int | None


class _Answer(NamedTuple):
    """What it gives back."""

    batch: RawBatch
    unreadable: list[str]  # the files that could not be read and are not in the batch
    problem: str | None  # what else is wrong, and ends the run; an exception would arrive wrapped in a traceback


@dataclass(frozen=True)
class _Requests(Sampler[_Request]):
    order: Order
    epoch: Callable[[], int]
    start: Callable[[], int]

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[_Request]:
        epoch = self.epoch()
        for indices, others in self.order.steps(epoch, self.start()):
            yield _Request(
                indices.numpy(), None if others is None else others.numpy(), None if self.order.seed is None else epoch
            )


@dataclass(frozen=True)
class _Reader(Dataset[_Answer]):
    """Reads one batch, in a worker process."""

    files: ImageFiles
    shape: tuple[int, int, int]
    targets: Tensor
    augment: Augmentation
    seed: int

    def __getitem__(self, request: _Request) -> _Answer:
        indices = torch.from_numpy(request.indices)
        images = torch.empty(len(indices), *self.shape, dtype=torch.uint8)
        readable = torch.ones(len(indices), dtype=torch.bool)
        problem = None
        for row in range(len(indices)):
            try:
                images[row] = self._read(indices[row : row + 1], request.epoch).permute(1, 2, 0)
            except UnreadableImage:
                readable[row] = False
            except InputError as error:
                problem = str(error)
        others = None if request.others is None else torch.from_numpy(request.others)
        done = ("resized_crop",)
        batch = RawBatch(images.permute(0, 3, 1, 2), self.targets[indices], indices, request.epoch, others, done)
        if readable.all():
            return _Answer(batch, [], problem)
        unreadable = [self.files.names[int(number)] for number in indices[~readable]]
        return _Answer(_without(batch, readable), unreadable, problem)

    def _read(self, index: Tensor, epoch: int | None) -> Tensor:
        if epoch is None or not self.augment.resized_crop:
            return self.files.read(int(index))
        draws = Draws(index, self.seed, epoch)
        return self.files.read_box(int(index), lambda heights, widths: self.augment.boxes(draws, heights, widths))


def _without(batch: RawBatch, readable: Tensor) -> RawBatch:
    """The rows that were read; an image whose other one is missing is mixed with itself."""
    images, targets, indices = batch.images[readable], batch.targets[readable], batch.indices[readable]
    others = batch.others
    if others is not None:
        own = torch.arange(len(others))
        others = torch.where(readable[others], others, own)[readable[: len(others)]]
        others = (readable.cumsum(0) - 1)[others]
    return RawBatch(images, targets, indices, batch.epoch, others, batch.done)


@dataclass(frozen=True)
class StreamLoader:
    """Yields the ``RawBatch``es of one process, read from files by worker processes.

    Args:
        files: the whole data set.
        targets: (N,) int64, the label of each.
        order: which of them, and when.
        augment: for its random resized crop, which is cut while the files are read.
        seed: of the run.
        num_workers: processes that read; 0 reads in this one.
        pin_memory: hand the batches over in memory from which an accelerator copies faster.
        on_error: ``"raise"`` where an image cannot be read, or ``"skip"`` it.
        epoch: tells the current epoch, asked each time the iteration starts.
        start: tells at which step of the epoch to begin, likewise: 0, or where an interrupted run goes on.
        unreadable: where the names of skipped files are put.

    Raises:
        InputError: while iterating, where an image cannot be read, or no image of a training batch can.
    """

    files: ImageFiles = field(repr=False)
    targets: Tensor = field(repr=False)
    order: Order
    augment: Augmentation = Augmentation()
    seed: int = 0
    num_workers: int = 0
    pin_memory: bool = False
    on_error: str = "raise"
    epoch: Callable[[], int] = lambda: 0
    start: Callable[[], int] = lambda: 0
    unreadable: set[str] = field(default_factory=set, repr=False)

    def __len__(self) -> int:
        return len(self.order)

    @cached_property
    def _loader(self) -> DataLoader[_Answer]:
        return DataLoader(
            _Reader(self.files, self.files.shape, self.targets, self.augment, self.seed),
            sampler=_Requests(self.order, self.epoch, self.start),
            batch_size=None,  # a request is a whole batch already
            collate_fn=_as_it_is,  # type: ignore[arg-type]  # torch expects a list to make a batch of
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=self.pin_memory,
            generator=torch.Generator(),  # the workers' seeds, which nothing uses, are not to be drawn from the run's
        )

    def close(self) -> None:
        """Ends the worker processes; iterating starts new ones."""
        loader = self.__dict__.pop("_loader", None)
        if loader is not None and loader._iterator is not None and self.num_workers:
            loader._iterator._shutdown_workers()  # left to the garbage collector, each loader takes five seconds

    def __iter__(self) -> Iterator[RawBatch]:
        for batch, unreadable, problem in self._loader:
            self.unreadable.update(unreadable)
            error = None
            if problem:
                error = InputError(problem)
            elif unreadable and self.on_error == "raise":
                error = UnreadableImage(unreadable[0])
            elif batch.epoch is not None and not len(batch.images if batch.others is None else batch.others):
                error = InputError(f"no image of a batch can be read, such as {unreadable[0]!r}; see to the files")
            if error:
                self.close()
                raise error
            yield batch


class Streams:
    """The loaders of a data module that read files, one for each of its splits, and what they could not read."""

    def __init__(self) -> None:
        self.unreadable: set[str] = set()
        self._loaders: dict[str, StreamLoader] = {}

    def add(self, split: str, loader: StreamLoader) -> StreamLoader:
        """Adds a loader, in the place of the split's previous one, whose workers end."""
        if split in self._loaders:
            self._loaders[split].close()
        self._loaders[split] = loader
        return loader

    def close(self) -> None:
        for loader in self._loaders.values():
            loader.close()

    def end(self) -> None:
        """Closes all loaders, and says what they have left out."""
        self.close()
        self._loaders.clear()
        if self.unreadable:
            count, some = len(self.unreadable), ", ".join(sorted(self.unreadable)[:3])
            what = "1 image could not be read and was" if count == 1 else f"{count} images could not be read and were"
            _log.warning("%s left out, such as %s", what, some)
            self.unreadable.clear()


def _as_it_is(answer: _Answer) -> _Answer:
    return answer
