"""Why a training ended before its last epoch."""

from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason


def stop_reason(trainer: Trainer) -> str | None:
    """Returns why a training that has just ended did so before its last epoch; None if it did not."""
    is_through = trainer.max_epochs != -1 and trainer.current_epoch >= (trainer.max_epochs or 0)
    if not trainer.should_stop or is_through or 0 < trainer.max_steps <= trainer.global_step:
        return None
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EarlyStopping) and callback.stopping_reason != EarlyStoppingReason.NOT_STOPPED:
            return _in_words(callback)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Timer) and (remaining := callback.time_remaining()) is not None and remaining <= 0:
            return "the time of trainer.max_time, or of the callback Timer, is up"
    return "a callback or the model has set trainer.should_stop"


def _in_words(callback: EarlyStopping) -> str:
    reasons: dict[EarlyStoppingReason, Any] = {
        EarlyStoppingReason.PATIENCE_EXHAUSTED: f"has not improved on {callback.best_score:.4g} in the last "
        f"{callback.wait_count} checks (patience {callback.patience})",
        EarlyStoppingReason.STOPPING_THRESHOLD: f"has reached the stopping_threshold {callback.stopping_threshold}",
        EarlyStoppingReason.DIVERGENCE_THRESHOLD: f"has passed the divergence_threshold "
        f"{callback.divergence_threshold}",
        EarlyStoppingReason.NON_FINITE_METRIC: "is not finite",
    }
    return f"{type(callback).__name__}: {callback.monitor} {reasons[callback.stopping_reason]}"
