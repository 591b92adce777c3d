"""Measures the cost of the progress bar: short epochs with the bar and without it."""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from lightning import Callback, LightningModule, Trainer
from rich.console import Console

from ..data import DigitsDataModule
from ..training.callbacks import RunProgress
from ..training.classifier import ImageClassifier
from .comparison import Comparison, interleaved

_EPOCHS = 4


def progress(*, rounds: int) -> Iterator[Comparison]:
    """Times epochs of twenty steps of ResNet-20 on the digits, with a terminal's progress bar and without a bar."""
    work = f"{_EPOCHS} epochs of 20 steps, ResNet-20 on the digits: our progress bar, against none"
    yield interleaved(work, _EPOCHS, _epochs(True), _epochs(False), rounds=rounds, unit="epochs")


class _Clock(Callback):
    """Measures the seconds from the start of the first epoch to the end of training."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds = time.perf_counter() - self._started


def _epochs(with_bar: bool) -> Callable[[], float]:
    def run() -> float:
        clock = _Clock()
        console = Console(file=io.StringIO(), force_terminal=True, width=120)
        callbacks: list[Any] = [clock, *([RunProgress(console=console)] if with_bar else [])]
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            trainer = Trainer(
                max_epochs=_EPOCHS,
                callbacks=callbacks,
                logger=False,
                enable_checkpointing=False,
                enable_model_summary=False,
                enable_progress_bar=with_bar,
                default_root_dir=folder,
            )
            trainer.fit(ImageClassifier("resnet20", 10, 1), DigitsDataModule(batch_size=64))
        return clock.seconds

    return run
