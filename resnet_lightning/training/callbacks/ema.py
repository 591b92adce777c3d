"""Averages the weights over the training steps: an exponential moving average (EMA)."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging

from ...errors import InputError
from ..state_checks import malformed, restoring


class MovingAverage(EMAWeightAveraging):
    """Validates, tests and saves an exponential moving average of the weights instead of the weights themselves.

    It differs from Lightning's callback in two ways. Before the first update of the average, it uses the trained
    weights; Lightning's callback uses the initial ones. A test in the process that trained also uses the average.

    The arguments are those of Lightning's callback: ``decay``, ``update_every_n_steps``, ``update_starting_at_step``
    (counted from 0) and ``update_starting_at_epoch``. From that epoch on, the average is also updated after each epoch.

    Attributes:
        has_begun: whether the average has been updated at least once.
    """

    has_begun = False
    _last_epoch = -1  # the last epoch after which the average was updated

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self.has_begun = False

    def __getstate__(self) -> dict[str, Any]:
        # torch's function that updates the average cannot be copied to another process.
        raise InputError(
            "MovingAverage works in processes that are not copies of the first one; give --trainer.strategy ddp"
        )

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        if epoch_idx is not None and epoch_idx <= self._last_epoch:
            return False
        if not super().should_update(step_idx, epoch_idx):
            return False
        self.has_begun = True  # Lightning updates the average now
        if epoch_idx is not None:
            self._last_epoch = epoch_idx
        return True

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.has_begun:
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.has_begun:
            super().on_validation_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.has_begun:
            super().on_train_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "latest_update_epoch": self._last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._last_epoch = state_dict["latest_update_epoch"]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.has_begun:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # For a test, the weights of the checkpoint are enough: they are the average.
        if trainer.state.fn != "fit":
            return
        self._check(checkpoint)
        if "averaging_state" in checkpoint:
            with restoring("moving average"):
                super().on_load_checkpoint(trainer, pl_module, checkpoint)
            self.has_begun = True

    def _check(self, checkpoint: dict[str, Any]) -> None:
        """Checks that the last update is not in the future, which would end the averaging, and that it left an average.

        Raises:
            InputError: if not.
        """
        state = checkpoint["callbacks"].get(self.state_key, {})
        step, epoch = state.get("latest_update_step", 0), state.get("latest_update_epoch", -1)
        if not 0 <= step <= checkpoint["global_step"] or not -1 <= epoch <= checkpoint["epoch"]:
            raise malformed("moving average", f" has its last update at step {step}, epoch {epoch}")
        if step and not {"averaging_state", "current_model_state"} <= checkpoint.keys():
            raise malformed("moving average", " is missing")
