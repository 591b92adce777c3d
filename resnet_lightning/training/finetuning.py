"""What Lightning's fine-tuning callbacks need of a module: a head that trains, and schedules for added weights."""

from collections.abc import Callable
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import BackboneFinetuning
from torch import nn


def unfreeze_head(trainer: Trainer, backbone: nn.Module) -> None:
    """Makes the classifier of a backbone trainable if ``BackboneFinetuning`` has frozen the whole backbone.

    That callback freezes ``module.backbone`` and expects the classifier outside of it.

    Args:
        trainer: the trainer, after it has called ``setup`` of its callbacks.
        backbone: the network with its classifier, which is ``get_classifier()``, or else its last linear layer.
    """
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    if not any(isinstance(callback, BackboneFinetuning) for callback in callbacks):
        return
    get_classifier: Any = getattr(backbone, "get_classifier", None)
    if get_classifier:
        head = get_classifier()
    else:
        head = next((part for part in reversed(list(backbone.modules())) if isinstance(part, nn.Linear)), None)
    if isinstance(head, nn.Module):
        head.requires_grad_(True)


def step_schedule(scheduler: Any, step: Callable[[], None]) -> None:
    """Steps a schedule whose optimizer may have more parameter groups than when the schedule was built.

    Torch's schedules fail on such groups, which fine-tuning callbacks add during training. Here their learning rates
    change in the same proportion as that of the first group.

    Args:
        scheduler: the schedule.
        step: steps it.
    """
    total = getattr(scheduler, "total_steps", None)
    if total is not None and scheduler.last_epoch >= total:
        return  # Lightning's batch-size finder makes more steps than the run has; its steps are undone afterwards
    optimizer = scheduler.optimizer
    groups, known = optimizer.param_groups, len(scheduler.get_last_lr())
    if len(groups) == known:
        step()
        return
    before = float(groups[0]["lr"])
    optimizer.param_groups = groups[:known]
    try:
        step()
    finally:
        optimizer.param_groups = groups
    if before > 0:
        for group in groups[known:]:
            group["lr"] = group["lr"] * (float(groups[0]["lr"]) / before)
