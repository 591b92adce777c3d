"""The length of a training."""

import math
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler


def has_validated_in_epoch(trainer: Trainer) -> bool:
    """Returns whether the current epoch, which ends, has had a validation.

    It has, unless ``check_val_every_n_epoch`` is None, which counts the steps to a validation over the epochs.
    """
    interval = trainer.val_check_batch
    if trainer.check_val_every_n_epoch is not None or not isinstance(interval, int):
        return True
    batches = trainer.fit_loop.total_batch_idx + 1
    before = batches - (trainer.fit_loop.batch_idx + 1)
    return batches // interval > before // interval


def optimizer_steps(trainer: Trainer) -> float:
    """Returns the number of optimizer steps of the whole training; infinite if it has no end.

    It differs from ``trainer.estimated_stepping_batches`` if a ``GradientAccumulationScheduler`` changes, from epoch to
    epoch, how many batches a step takes; Lightning assumes the current number for the whole training.
    """
    steps = trainer.estimated_stepping_batches
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    scheduler = next((each for each in callbacks if isinstance(each, GradientAccumulationScheduler)), None)
    batches = trainer.num_training_batches
    if scheduler is None or not trainer.max_epochs or trainer.max_epochs < 0 or not math.isfinite(batches):
        return steps
    counts = (scheduler.get_accumulate_grad_batches(epoch) for epoch in range(trainer.max_epochs))
    total = sum(math.ceil(batches / count) for count in counts)
    return min(total, trainer.max_steps) if trainer.max_steps > 0 else total
