"""The first training batch as an image."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ...errors import InputError
from ...runs import figures
from ...runs.panels import log_figure
from ..batches import images_and_targets, images_of
from ..data_protocol import image_data


class FirstBatch(Callback):
    """Writes the first augmented training batch, with its labels, to ``pictures/first_batch.png`` and logs it.

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
        of_images = captions(batch, data.class_names, len(pixels))
        title = f"The first {len(pixels)} training images, as the network sees them"
        figures.save(figures.images_in_a_grid(pixels, of_images, title=title), path)
        log_figure(trainer.loggers, "train/first_batch", path, trainer.global_step)


def captions(batch: Any, classes: Sequence[str], count: int) -> list[str]:
    """Returns the names of the classes of the first images; none for a batch without targets."""
    try:
        targets = images_and_targets(batch)[1][:count].cpu()
    except InputError:
        return []
    return [_names(target, classes) for target in targets]


def _names(target: Tensor, classes: Sequence[str]) -> str:
    """The classes of a target: a label (), several labels as ones and zeros (K,), or mixed labels (K,)."""
    if target.ndim > 1:
        return ""
    if target.ndim == 0:
        return _name(int(target), classes)
    if bool(((target == 0) | (target == 1)).all()):
        return ", ".join(_name(int(label), classes) for label in target.nonzero()) or "none"
    shares, labels = target.float().topk(min(2, len(target)))
    found = zip(shares.tolist(), labels.tolist(), strict=True)
    return "\n".join(f"{share:.0%} {_name(label, classes)}" for share, label in found if share >= 0.005)


def _name(label: int, classes: Sequence[str]) -> str:
    return classes[label] if 0 <= label < len(classes) else str(label)
