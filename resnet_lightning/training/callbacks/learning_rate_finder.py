"""Lightning's search for a learning rate, in a training that may be resumed."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateFinder


class InitialLearningRateFinder(LearningRateFinder):
    """Finds a learning rate at the beginning of a training, and not again when it is resumed.

    Lightning's callback searches again, from the weights of the checkpoint, and replaces the learning rate that the
    training had. While it searches, it removes the trainer's callbacks and loggers, and does not put them back after an
    error or a signal; here they are told how the run has ended. The arguments are those of Lightning's callback.
    """

    _is_resumed = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self._is_resumed = False

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._is_resumed = True

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._is_resumed:
            return
        callbacks, loggers = trainer.callbacks, trainer.loggers  # type: ignore[attr-defined]
        try:
            super().on_fit_start(trainer, pl_module)
        finally:
            trainer.callbacks, trainer.loggers = callbacks, loggers  # type: ignore[attr-defined]
