"""One line about the data that a run trains on."""

import math
from collections.abc import Mapping, Sequence, Sized
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import CombinedLoader
from rich.console import Console
from rich.markup import escape

from ...data import ImageDataModule
from ...data.splits import classes_in_words
from ...errors import InputError


class DataSummary(Callback):
    """Prints the classes, the numbers of images, their folders, and images in several splits when a training starts.

    For another data module than this package's, it prints what the data module and its loaders state: a
    ``num_classes``, ``class_names`` or ``classes``, and the lengths of their data sets.

    Args:
        console: where to print.
    """

    def __init__(self, console: Console) -> None:
        self.console = console

    def __getstate__(self) -> dict[str, Any]:
        # A console cannot be copied to the processes of ddp_spawn; these print on their own standard output.
        return {**vars(self), "console": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({**state, "console": Console()})

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Any = getattr(trainer, "datamodule", None)
        if isinstance(data, ImageDataModule):
            _check_test(trainer, data)
            self._print(trainer, data.in_words())
            if trainer.is_global_zero and (shared := data.shared_images()):
                self.console.print(f"[yellow]{escape(shared)}", highlight=False, soft_wrap=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Any = getattr(trainer, "datamodule", None)
        if not isinstance(data, ImageDataModule):
            self._print(trainer, loaders_in_words(data, trainer.train_dataloader, trainer.val_dataloaders))

    def _print(self, trainer: Trainer, line: str) -> None:
        if line and trainer.is_global_zero:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def _check_test(trainer: Trainer, data: ImageDataModule) -> None:
    """Checks that the test after the training will have a batch: Lightning would refuse it only then."""
    share, batches = trainer.limit_test_batches, math.ceil(len(data.split("test")) / data.batch_size)
    if isinstance(share, float) and share and batches and int(share * batches) < 1:
        raise InputError(
            f"trainer.limit_test_batches is {share:g}, less than one of {batches} batches; give a larger share, or 0"
        )


def loaders_in_words(data: Any, training: Any, validation: Any) -> str:
    """Returns what is known of a data module and its loaders, in one line; empty if nothing is."""
    datasets = [[getattr(loader, "dataset", None) for loader in _each(part)] for part in (training, validation)]
    lengths = [_total(part) for part in datasets]
    counts = [f"{name} {n:,}" for name, n in zip(("train", "val"), lengths, strict=True) if n is not None]
    parts = [
        _classes(data) or next((found for each in datasets[0] if (found := _classes(each))), ""),
        f"{', '.join(counts)} samples" if counts else "",
    ]
    return "; ".join(part for part in parts if part)


def _each(loaders: Any) -> list[Any]:
    """Returns one loader, or several in a list or a mapping, as a list."""
    if isinstance(loaders, CombinedLoader):
        return list(loaders.flattened)
    if isinstance(loaders, Mapping):
        return list(loaders.values())
    return list(loaders) if isinstance(loaders, list | tuple) else [loaders]


def _total(datasets: Sequence[Any]) -> int | None:
    lengths = [length for dataset in datasets if (length := _length(dataset)) is not None]
    return sum(lengths) if lengths and len(lengths) == len(datasets) else None


def _classes(source: Any) -> str:
    for name in "class_names", "classes":
        names = getattr(source, name, None)
        if isinstance(names, Sequence) and not isinstance(names, str) and names:
            return classes_in_words([str(item) for item in names])
    number = getattr(source, "num_classes", None)
    return f"{number} classes" if isinstance(number, int) else ""


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset) if isinstance(dataset, Sized) else None
    except (TypeError, NotImplementedError):  # an iterable data set may have a length that is not known
        return None
