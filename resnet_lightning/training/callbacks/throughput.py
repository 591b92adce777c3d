"""How fast the training goes."""

import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer


class Throughput(Callback):
    """Measures the training, without the validation in between, and logs ``train/images_per_second`` each epoch.

    Attributes:
        images: how many were trained on, over all processes.
        seconds: the time that took.
    """

    def __init__(self) -> None:
        self.images = 0
        self.seconds = 0.0
        self._epoch_images = 0
        self._epoch_seconds = 0.0
        self._started = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "seconds": self.seconds,
            "epoch_images": self._epoch_images,
            "epoch_seconds": self._epoch_seconds + time.perf_counter() - self._started,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.images, self.seconds = state_dict["images"], state_dict["seconds"]
        self._epoch_images, self._epoch_seconds = state_dict["epoch_images"], state_dict["epoch_seconds"]

    @property
    def images_per_second(self) -> float:
        """The mean over the run; 0 before the first epoch has ended."""
        return self.images / self.seconds if self.seconds else 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = _now(pl_module)  # where a run goes on inside an epoch, which does not start then

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_images, self._epoch_seconds = 0, 0.0
        self._started = _now(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._epoch_images += len(batch[0]) * trainer.world_size

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_seconds += _now(pl_module) - self._started

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = _now(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_seconds += _now(pl_module) - self._started
        self.images += self._epoch_images
        self.seconds += self._epoch_seconds
        pl_module.log("train/images_per_second", self._epoch_images / self._epoch_seconds, sync_dist=True)


def _now(pl_module: LightningModule) -> float:
    """The time at which the device has done what it was given; asked a few times an epoch, it costs nothing."""
    if pl_module.device.type == "cuda":
        torch.cuda.synchronize(pl_module.device)
    return time.perf_counter()
