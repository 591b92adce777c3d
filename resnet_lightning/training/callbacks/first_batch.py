"""The first training batch as an image."""

from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from ...runs import figures
from ...runs.panels import log_figure
from ..batches import images_of
from ..data_protocol import image_data


class FirstBatch(Callback):
    """Writes the first augmented training batch to ``pictures/first_batch.png`` and logs it.

    A data module that cannot show its images, see ``data_protocol.py``, has no such picture.

    Args:
        folder: the run's folder.
        images: the maximum number of images.
    """

    def __init__(self, folder: Path, images: int = 32) -> None:
        self.folder = folder
        self.images = images

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step or batch_idx or not trainer.is_global_zero:
            return
        data = image_data(trainer)
        if data is None:
            return
        pixels = data.to_pixels(images_of(batch)[: self.images]).cpu().numpy()
        path = self.folder / "pictures" / "first_batch.png"
        figures.save_mosaic(pixels, path)
        log_figure(trainer.loggers, "train/first_batch", path, trainer.global_step)
