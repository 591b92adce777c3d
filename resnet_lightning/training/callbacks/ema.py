"""An exponential moving average of the weights."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging


class MovingAverage(EMAWeightAveraging):
    """Validates, tests and saves an exponential moving average of the weights instead of the weights themselves.

    Lightning's callback, with which an average that has not begun yet changes nothing: it puts the initial weights into
    validation and checkpoints instead. And a test in the process of the training sees the average too.

    See there for the arguments: ``decay``, ``update_every_n_steps``, ``update_starting_at_step`` (counted from 0) and
    ``update_starting_at_epoch``, from which on it is updated after each epoch as well.
    """

    @property
    def has_begun(self) -> bool:
        """Whether anything has been averaged."""
        return self._average_model is not None and bool(self._average_model.n_averaged)

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
        return {**super().state_dict(), "latest_update_epoch": self._latest_update_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._latest_update_epoch = state_dict["latest_update_epoch"]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.has_begun:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # Only to train on. To test, the average is what the checkpoint holds as its weights.
        if trainer.state.fn == "fit" and "averaging_state" in checkpoint:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
