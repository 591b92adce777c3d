"""Measures and logs the speed of the training."""

import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from ..batches import batch_size


class Throughput(Callback):
    """Logs ``train/images_per_second``: the training speed of each epoch, without the time spent on validation.

    Attributes:
        images: the number of images trained on in all complete epochs, by all processes together.
        seconds: the training time of these epochs.
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
        self.images, self.seconds = int(state_dict["images"]), float(state_dict["seconds"])
        self._epoch_images, self._epoch_seconds = int(state_dict["epoch_images"]), float(state_dict["epoch_seconds"])

    @property
    def images_per_second(self) -> float:
        """The mean speed over the complete epochs of the run; 0 before the first epoch ends."""
        return self.images / self.seconds if self.seconds else 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = _now(pl_module)  # Lightning skips on_train_epoch_start when a run resumes inside an epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_images, self._epoch_seconds = 0, 0.0
        self._started = _now(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._epoch_images += batch_size(batch) * trainer.world_size

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
    """Waits until the device has finished its work, and returns the time in seconds."""
    if pl_module.device.type == "cuda":
        torch.cuda.synchronize(pl_module.device)
    return time.perf_counter()
