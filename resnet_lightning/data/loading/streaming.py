"""Batches that worker processes read from image files, in the same order as batches from memory."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

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
from .workers import prepare_worker

_log = logging.getLogger(__name__)


class _Request(NamedTuple):
    """The batch that a worker reads next. Arrays are cheaper to send to a process than tensors."""

    indices: Integers
    others: Integers | None
    epoch: int | None


class _Answer(NamedTuple):
    """What a worker returns."""

    batch: RawBatch
    unreadable: list[str]  # the files that could not be read and are not in the batch
    problem: str | None  # any other error; an exception would arrive as the text of a traceback


@dataclass(frozen=True)
class _Requests(Sampler[_Request]):
    order: Order
    begin: list[int]  # the epoch and the first step of the next iteration

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[_Request]:
        epoch, start = self.begin
        for indices, others in self.order.steps(epoch, start):
            yield _request(indices, others, None if self.order.seed is None else epoch)


def _request(indices: Tensor, others: Tensor | None, epoch: int | None) -> _Request:
    return _Request(indices.numpy(), None if others is None else others.numpy(), epoch)


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
        numbers = indices % len(self.targets)
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
        batch = RawBatch(images.permute(0, 3, 1, 2), self.targets[numbers], indices, request.epoch, others, done)
        if readable.all():
            return _Answer(batch, [], problem)
        unreadable = [self.files.names[int(number)] for number in numbers[~readable]]
        return _Answer(_without(batch, readable), unreadable, problem)

    def _read(self, index: Tensor, epoch: int | None) -> Tensor:
        number = int(index) % len(self.targets)
        if epoch is None or not self.augment.resized_crop:
            return self.files.read(number)
        draws = Draws(index, self.seed, epoch)
        return self.files.read_box(number, lambda heights, widths: self.augment.boxes(draws, heights, widths))


def _without(batch: RawBatch, readable: Tensor) -> RawBatch:
    """The rows that were read; an image whose partner is missing is mixed with itself."""
    images, targets, indices = batch.images[readable], batch.targets[readable], batch.indices[readable]
    others = batch.others
    if others is not None:
        own = torch.arange(len(others))
        others = torch.where(readable[others], others, own)[readable[: len(others)]]
        others = (readable.cumsum(0) - 1)[others]
    return RawBatch(images, targets, indices, batch.epoch, others, batch.done)


@dataclass(frozen=True, eq=False)
class _Answers:
    """One iteration. A DataLoader with persistent workers returns the same iterator each time."""

    of_loader: Any

    def __next__(self) -> _Answer:
        answer: _Answer = next(self.of_loader)
        return answer


@dataclass(frozen=True)
class StreamLoader:
    """Yields the ``RawBatch``es of one process, read from files by worker processes.

    Args:
        files: the whole data set.
        targets: (N,) int64, the label of each.
        order: which of them each step takes.
        augment: the workers apply only its random resized crop, to the original image.
        seed: the seed of the run.
        num_workers: the number of worker processes; 0 reads in this process.
        pin_memory: return the batches in pinned memory, from which an accelerator copies faster.
        on_error: ``"raise"`` for an image that cannot be read, or ``"skip"`` it.
        epoch: returns the current epoch; called when an iteration starts.
        start: returns the first step, 0 or where an interrupted run resumes; called when an iteration starts.
        unreadable: the set to which the names of skipped files are added.

    Raises:
        InputError: while iterating, if an image cannot be read and ``on_error`` is ``"raise"``, or if all images of a
            training batch are unreadable.
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
    def _reader(self) -> _Reader:
        return _Reader(self.files, self.files.shape, self.targets, self.augment, self.seed)

    @cached_property
    def _begin(self) -> list[int]:
        return [0, 0]

    @cached_property
    def _loader(self) -> DataLoader[_Answer]:
        return DataLoader(
            self._reader,
            sampler=_Requests(self.order, self._begin),
            batch_size=None,  # a request is a whole batch already
            collate_fn=_unchanged,  # type: ignore[arg-type]  # torch's type takes a list of samples
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=self.pin_memory,
            worker_init_fn=prepare_worker,
            generator=torch.Generator(),  # else DataLoader draws the workers' seeds from the run's generator
        )

    def close(self) -> None:
        """Ends the worker processes; iterating starts new ones."""
        vars(self).pop("_loader", None)
        answers: _Answers | None = vars(self).pop("_answers", None)
        if answers is not None and self.num_workers:
            # DataLoader has no public way to end persistent workers. They end when the iterator is deleted, but a
            # propagating exception keeps it alive, and ending them at exit takes five seconds.
            answers.of_loader._shutdown_workers()

    def __iter__(self) -> Iterator[RawBatch]:
        epoch, step = self.epoch(), self.start()
        answers = self._answers_from(epoch, step)
        while True:
            if vars(self).get("_answers") is not answers:  # another iteration has begun, with the same workers
                answers = self._answers_from(epoch, step)
            answer = next(answers, None)
            if answer is None:
                return
            yield self._checked(answer)
            step += 1

    def _answers_from(self, epoch: int, step: int) -> "_Answers":
        self._begin[:] = epoch, step
        answers = vars(self)["_answers"] = _Answers(iter(self._loader))
        return answers

    def _checked(self, answer: _Answer) -> RawBatch:
        batch, unreadable, problem = answer
        self.unreadable.update(unreadable)
        error = None
        if problem:
            error = InputError(problem)
        elif unreadable and self.on_error == "raise":
            error = UnreadableImage(unreadable[0])
        elif batch.epoch is not None and not len(batch.images if batch.others is None else batch.others):
            error = InputError(f"no image of a batch can be read, for example {unreadable[0]!r}; check the files")
        if error:
            self.close()
            raise error
        return batch

    def batch(self, indices: Tensor, others: Tensor | None, epoch: int | None) -> RawBatch:
        """Reads the batch of some images in this process; see ``RawBatch`` for the arguments.

        Raises:
            InputError: if an image cannot be read and ``on_error`` is ``"raise"``, or if all of them are unreadable.
        """
        answer = self._reader[_request(indices, others, epoch)]
        for name in set(answer.unreadable) - self.unreadable:
            _log.warning("%s could not be read and was skipped", name)
        if answer.unreadable and not len(answer.batch.images):
            raise InputError(str(UnreadableImage(answer.unreadable[0])))
        try:
            return self._checked(answer)
        except UnreadableImage as error:  # which cannot be raised again by the process that receives it
            raise InputError(str(error)) from error


class Streams:
    """The stream loaders of a data module, one for each split, and the files that they could not read."""

    def __init__(self) -> None:
        self.unreadable: set[str] = set()
        self._loaders: dict[str, StreamLoader] = {}

    def add(self, split: str, loader: StreamLoader) -> StreamLoader:
        """Adds a loader. It replaces the split's previous one, whose workers end."""
        if split in self._loaders:
            self._loaders[split].close()
        self._loaders[split] = loader
        return loader

    def close(self) -> None:
        """Ends all worker processes."""
        for loader in self._loaders.values():
            loader.close()

    def end(self) -> None:
        """Closes all loaders, and logs how many files they have skipped."""
        self.close()
        self._loaders.clear()
        if self.unreadable:
            count, some = len(self.unreadable), ", ".join(sorted(self.unreadable)[:3])
            what = "1 image could not be read and was" if count == 1 else f"{count} images could not be read and were"
            _log.warning("%s skipped, for example %s", what, some)
            self.unreadable.clear()


def _unchanged(answer: _Answer) -> _Answer:
    return answer
