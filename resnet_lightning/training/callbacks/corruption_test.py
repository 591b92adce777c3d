"""The accuracy on corrupted test images, in the same command as a test."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ...data import ImageDataModule
from ...data.corruptions import STRENGTHS, Corruption, names_for
from ...errors import InputError
from ...runs import figures
from ...runs.panels import log_robustness
from ...runs.robustness import Robustness
from ..batches import images_and_targets
from ..model_protocol import logits_of

_log = logging.getLogger(__name__)

_LARGEST = 128  # pixels of an example in the picture


class CorruptionTest(Callback):
    """After a test, tests the model on corrupted images: all corruptions, in five strengths.

    The images are those of the test, corrupted on the device before they are normalized. The module's ``forward`` has
    to return logits (B, num_classes). The metrics of the test stay those of the clean images.

    Args:
        corruptions: ``all``, or the names of corruptions, separated by commas.
        folder: where to write ``corruptions.json``, ``corruptions.csv`` and two pictures; None writes nothing.

    Attributes:
        result: None before a test.
    """

    def __init__(self, corruptions: str, folder: Path | None = None) -> None:
        self.corruptions = corruptions
        self.folder = folder
        self.result: Robustness | None = None
        self._step: int | None = None

    def check(self, model: LightningModule, data: LightningDataModule | None) -> list[str]:
        """Returns the names of the corruptions, after a check that the model can be tested on them.

        Raises:
            InputError: if it cannot, or a name is wrong.
        """
        if not isinstance(data, ImageDataModule):
            found = "the module's own loaders" if data is None else f"a {type(data).__name__}"
            raise InputError(
                f"--corruptions changes images before they are normalized, which needs a data module of this package, "
                f"and not {found}; leave it out"
            )
        return names_for(self.corruptions, data.in_chans)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.check(pl_module, _data(trainer))

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._step = checkpoint["global_step"]

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = _data(trainer)
        names = self.check(pl_module, data)
        assert isinstance(data, ImageDataModule)
        clean, images = self._accuracy(trainer, pl_module, data, None)
        accuracies: dict[str, list[float]] = {}
        for name in names:
            found = [self._accuracy(trainer, pl_module, data, Corruption(name, strength))[0] for strength in STRENGTHS]
            accuracies[name] = found
            if trainer.is_global_zero:
                _log.info("%d of %d corruptions: %s", len(accuracies), len(names), name.replace("_", " "))
        checkpoint = Path(trainer.ckpt_path).name if trainer.ckpt_path else None
        self.result = Robustness(images, clean, accuracies, checkpoint, self._step, data.seed, type(data).__name__)
        if trainer.is_global_zero:
            self._write(trainer, data)

    def _accuracy(
        self, trainer: Trainer, model: LightningModule, data: ImageDataModule, corruption: Corruption | None
    ) -> tuple[float, int]:
        """Returns the accuracy over all processes, and the number of images."""
        device = trainer.strategy.root_device
        counts = torch.zeros(2, dtype=torch.int64, device=device)
        batches = iter(data.device_loader("test", device, corruption))
        limit = trainer.num_test_batches[0]
        with torch.no_grad(), trainer.precision_plugin.test_step_context():
            for number, batch in enumerate(batches):
                if number >= limit:
                    break
                images, targets = images_and_targets(trainer.precision_plugin.convert_input(batch))
                if not len(images):  # in the last step, a process may have none
                    continue
                logits = logits_of(model(images))
                if logits is None or targets.ndim != 1:
                    fault = "no logits (B, num_classes)" if logits is None else "several labels an image"
                    raise InputError(
                        f"--corruptions measures the accuracy, but {type(model).__name__} has {fault}; leave it out"
                    )
                counts += torch.stack([(logits.argmax(1) == targets).sum(), torch.tensor(len(targets), device=device)])
        counts = trainer.strategy.reduce(counts, reduce_op="sum")
        right, total = counts.tolist()
        return right / max(total, 1), int(total)

    def _write(self, trainer: Trainer, data: ImageDataModule) -> None:
        assert self.result is not None
        picture = None
        if self.folder is not None:
            self.result.write(self.folder)
            rows = self.result.accuracies
            picture = self.folder / "pictures" / "corruptions.png"
            figures.save(figures.robustness(rows, self.result.clean), picture)
            _draw_examples(data, list(rows), self.folder / "pictures" / "corrupted_images.png")
        log_robustness(trainer.loggers, self.result, picture, trainer.global_step)


def _data(trainer: Trainer) -> LightningDataModule | None:
    data: LightningDataModule | None = getattr(trainer, "datamodule", None)
    return data


def _draw_examples(data: ImageDataModule, names: Sequence[str], path: Path) -> None:
    """Draws the first test image with each corruption in each strength, beside the image as it is."""
    raw = data.device_loader("test", torch.device("cpu")).raw
    batch = raw.batch(raw.order.indices[:1], None, None)
    images = []
    for name in names:
        images.append(_shown(batch.images))
        images += [_shown(Corruption(name, strength)(batch.images, batch.indices, data.seed)) for strength in STRENGTHS]
    grid = figures.images_in_a_grid(
        images,
        columns=1 + len(STRENGTHS),
        title="A test image with each corruption, in five strengths",
        side=_LARGEST,
        row_names=[name.replace("_", " ") for name in names],
        column_names=["clean", *map(str, STRENGTHS)],
    )
    figures.save(grid, path)


def _shown(images: Tensor) -> NDArray[np.uint8]:
    """The first of images (B, C, H, W) uint8, reduced if it is large."""
    pixels = images[0].permute(1, 2, 0).numpy()
    shown = Image.fromarray(pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., 0])
    shown.thumbnail((_LARGEST, _LARGEST))
    return np.array(shown)
