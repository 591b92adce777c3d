"""What Lightning's fine-tuning callbacks need: a head that trains, schedules for added weights, and exact resume."""

from collections.abc import Callable
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BackboneFinetuning, BaseFinetuning
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


def save_frozen(trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
    """Stores which parts a fine-tuning callback has frozen and not yet unfrozen, if there is such a callback.

    Lightning's callbacks freeze when a run is resumed, restore the parameter groups of the optimizer, and do not
    unfreeze again: the weights in these groups would not be trained.
    """
    if has_finetuning(trainer):
        checkpoint["frozen_by_callbacks"] = {
            "parameters": [name for name, part in module.named_parameters() if not part.requires_grad],
            "norms": [name for name, norm in _norms(module).items() if not norm.track_running_stats],
        }


def frozen_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Returns what ``save_frozen`` stored in a checkpoint, for ``restore_frozen``; empty if it stored nothing."""
    frozen = checkpoint.get("frozen_by_callbacks")
    return frozen if isinstance(frozen, dict) else {}


def restore_frozen(trainer: Trainer, module: LightningModule, frozen: dict[str, Any]) -> None:
    """Freezes the parts that ``save_frozen`` stored, and nothing else, if there is a fine-tuning callback.

    It has to be called after the ``on_fit_start`` of the callbacks, which restores the parameter groups.
    """
    if not frozen or not has_finetuning(trainer):
        return
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in frozen.get("parameters", ()))
    for name, norm in _norms(module).items():
        norm.track_running_stats = name not in frozen.get("norms", ())


def has_finetuning(trainer: Trainer) -> bool:
    """Whether a fine-tuning callback freezes parts of the module that is trained."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return any(isinstance(callback, BaseFinetuning) for callback in callbacks)


def _norms(module: nn.Module) -> dict[str, Any]:
    """Returns the batch norms that have running statistics, by name."""
    kinds = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm
    found = ((name, part) for name, part in module.named_modules() if isinstance(part, kinds))
    return {name: norm for name, norm in found if norm.running_mean is not None}
