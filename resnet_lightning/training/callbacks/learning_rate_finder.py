"""Lightning's search for a learning rate, in a training that may be resumed."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateFinder


class InitialLearningRateFinder(LearningRateFinder):
    """Finds a learning rate at the beginning of a training, and not again when it is resumed.

    Lightning's callback searches again, from the weights of the checkpoint, and replaces the learning rate that the
    training had. The arguments are those of Lightning's callback.
    """

    _is_resumed = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self._is_resumed = False

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._is_resumed = True

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._is_resumed:
            super().on_fit_start(trainer, pl_module)
