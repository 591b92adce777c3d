"""Runs ``lightning validate`` to collect the logits of the validation images, and calibrates the checkpoint by them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ..build import importable_from
from ..checkpoint_file import read_checkpoint
from ..errors import InputError
from ..runs.checkpoint_io import WholeCheckpoints
from ..training.batches import images_and_targets
from ..training.calibration import KEY, Calibration, calibrate
from ..training.classifier import ImageClassifier
from ..training.gathering import gather
from ..trust import names_from_checkpoint
from .arguments import resolve
from .command_line import CommandLine
from .console import SafeConsole, shown_log
from .known_warnings import silence_known_warnings
from .run_session import RunSession


def write_calibrated(source: Path, target: Path, options: Sequence[str]) -> Calibration:
    """Calibrates a checkpoint, and writes it to a file with its temperature.

    Args:
        source: the checkpoint.
        target: the file, which may be the same.
        options: further options of ``lightning validate``.

    Raises:
        InputError: if the checkpoint cannot be read or calibrated, or the file cannot be written.
    """
    checkpoint = read_checkpoint(source)
    arguments = ["validate", "--ckpt_path", str(source), *options]
    silence_known_warnings()
    console = SafeConsole()
    with shown_log(console), RunSession() as session:
        resolved = resolve(arguments, lambda folder: None)
        with importable_from(resolved.code_folders), names_from_checkpoint(resolved.trust):
            command = _Calibrate(arguments, resolved, session, console)
    earlier = Calibration.of_checkpoint(checkpoint)
    found = calibrate(*command.logits.of_all(), of=earlier.of if earlier else source.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    WholeCheckpoints().save_checkpoint({**checkpoint, KEY: found.as_dict()}, target)
    return found


class _Logits(Callback):
    """Collects the logits and labels of a validation, without a temperature."""

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, Tensor]] = []
        self._gathered: list[Any] = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        images, targets = images_and_targets(batch)
        if not dataloader_idx and len(images):
            with torch.no_grad():
                self._batches.append((pl_module(images).float().cpu(), targets.cpu()))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._gathered = gather(trainer, self._batches)

    def of_all(self) -> tuple[Tensor, Tensor]:
        """Returns the logits (N, K) and labels (N,) of all processes."""
        batches = [batch for found in self._gathered for batch in found]
        if not batches:
            raise InputError("there are no validation images to calibrate on; give --data.val_split 0.1")
        logits, labels = (torch.cat(values) for values in zip(*batches, strict=True))
        return logits, labels


class _Calibrate(CommandLine):
    """Validates, and prints nothing."""

    logits: _Logits

    def own_callbacks(self, config: Namespace) -> list[Callback]:
        self.logits = _Logits()
        return [self.logits]

    def after_instantiate_classes(self) -> None:
        super().after_instantiate_classes()
        if not isinstance(self.model, ImageClassifier):
            raise InputError(f"the checkpoint holds a {type(self.model).__name__}; calibrate needs an ImageClassifier")
        if self.model.multilabel:
            raise InputError(
                "an image may have several labels here, whose probabilities one temperature does not calibrate; "
                "calibrate needs a model of one label for each image"
            )

    def validate(self, **kwargs: Any) -> None:
        """Validates."""
        self.trainer.validate(**kwargs, weights_only=True, verbose=False)
