"""Chooses the metric that the best checkpoint is selected by, if the module does not log the usual one."""

import logging
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from ...errors import InputError, did_you_mean
from .best_checkpoint import BestCheckpoint

_log = logging.getLogger(__name__)

USUAL = "val/acc"

# Logged by callbacks of every run.
_OF_THE_RUN = ("train/grad_norm", "train/images_per_second")


class MonitoredMetric(Callback):
    """Lets the best checkpoint follow ``val/loss`` if a module logs no ``val/acc``.

    If it logs neither, no checkpoint is the best, and the last one is kept; a line reports this. A metric that the user
    named is left as it is.

    Args:
        best: the callback that saves the best checkpoint.

    Raises:
        InputError: after the first validation, if ``EarlyStopping`` monitors a metric that the validation does not log.
    """

    def __init__(self, best: BestCheckpoint) -> None:
        self.best = best
        self._is_decided = False

    def state_dict(self) -> dict[str, Any]:
        return {"monitor": self.best.monitor, "mode": self.best.mode}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # Lightning finds the state of the other callback by its metric and mode, and restores it after this hook.
        before = checkpoint["callbacks"].get(self.state_key, {})
        if self.best.monitor == USUAL and before.get("monitor") == "val/loss":
            self._minimize_loss()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or self._is_decided:
            return
        self._is_decided = True
        logged = trainer.callback_metrics
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if not isinstance(callback, EarlyStopping) or not callback.strict or callback.monitor in logged:
                continue
            if callback.monitor.startswith("val"):  # others may be logged later, at the end of the epoch
                hint = did_you_mean(callback.monitor, logged) if logged else "nothing is logged"
                who = type(pl_module).__name__
                raise InputError(f"EarlyStopping.monitor is {callback.monitor!r}, which {who} does not log; {hint}")
        if self.best.monitor != USUAL or USUAL in logged:
            return
        if "val/loss" in logged:
            self._minimize_loss()
            return
        self.best.save_top_k = 0
        its_own = [name for name in logged if not name.startswith("lr-") and name not in _OF_THE_RUN]
        names = [name for name in its_own if name.startswith("val")] or its_own
        found = f"only {', '.join(names)}" if names else "it logs nothing"
        example = f" (such as --checkpoint.monitor {names[0]} --checkpoint.mode min)" if names else ""
        if trainer.is_global_zero:
            _log.warning(
                "%s logs neither val/acc nor val/loss (%s): the last checkpoint is kept instead of the best; choose a "
                "metric with checkpoint.monitor%s",
                type(pl_module).__name__,
                found,
                example,
            )

    def _minimize_loss(self) -> None:
        self.best.monitor, self.best.mode = "val/loss", "min"
        self.best.kth_value = self.best.kth_value.new_tensor(float("inf"))
