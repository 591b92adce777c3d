"""A callback: it works with every LightningModule."""

import torch
from lightning import Callback, LightningModule, Trainer


class WeightNorm(Callback):
    """Logs the Euclidean norm of all weights after each epoch, as ``weight_norm``."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        norms = [parameter.detach().norm() for parameter in pl_module.parameters()]
        pl_module.log("weight_norm", torch.stack(norms).norm())
