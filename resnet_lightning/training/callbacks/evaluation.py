"""What the test showed, class by class and image by image."""

import base64
import heapq
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from PIL import Image
from torch import Tensor

from ...atomic_write import atomic_write_text
from ...runs import figures
from ..data_protocol import image_data


@dataclass(frozen=True, order=True)
class Mistake:
    """A test image of which the net was sure and wrong."""

    confidence: float
    image: str
    label: str
    prediction: str
    png: str  # the picture itself, in base64


class Evaluation(Callback):
    """Keeps the confusion matrix and the worst mistakes of a test, in ``evaluation.json`` and as figures.

    It works with every module whose ``test_step`` returns logits (B, num_classes) for batches of images and labels
    (B,), with this package's data modules. Loggers that have a ``log_evaluation`` get the same.

    Args:
        folder: of the run.
        worst: how many mistakes are kept, those of the highest confidence.
    """

    def __init__(self, folder: Path, worst: int = 16) -> None:
        self.folder = folder
        self.worst = worst
        self._confusion: Tensor | None = None
        self._mistakes: list[Mistake] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._confusion, self._mistakes = None, []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not isinstance(outputs, Tensor) or outputs.ndim != 2:
            return
        images, labels = batch
        confidences, predictions = outputs.float().softmax(1).max(1)
        classes = outputs.shape[1]
        if self._confusion is None:
            self._confusion = torch.zeros(classes * classes, dtype=torch.int64, device=outputs.device)
        self._confusion += torch.bincount(labels * classes + predictions, minlength=classes * classes)
        least = self._mistakes[-1].confidence if len(self._mistakes) == self.worst else -1.0
        wrong = confidences.where(predictions != labels, -1.0).double()
        confidence, rows = wrong.topk(min(self.worst, len(wrong)))
        found = torch.stack([confidence, rows, labels[rows], predictions[rows]], 1).tolist()  # asks the device once
        self._mistakes += [self._mistake(trainer, images, *some) for some in found if some[0] > max(least, -0.5)]
        self._mistakes = heapq.nlargest(self.worst, self._mistakes)

    def _mistake(
        self, trainer: Trainer, images: Tensor, confidence: float, row: float, label: float, prediction: float
    ) -> Mistake:
        data = image_data(trainer)
        row = int(row)
        return Mistake(
            confidence,
            data.name_of("test", int(data.indices[row])),
            data.class_names[int(label)],
            data.class_names[int(prediction)],
            _as_png(data.to_pixels(images[row : row + 1])[0]),
        )

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        of_all: list[Any] = [(self._confusion, self._mistakes)]
        if trainer.world_size > 1:
            own = None if self._confusion is None else self._confusion.cpu()
            of_all = [None] * trainer.world_size
            torch.distributed.all_gather_object(of_all, (own, self._mistakes))
        counted = [confusion.cpu() for confusion, _ in of_all if confusion is not None]
        if not counted or not trainer.is_global_zero:
            return
        confusion = torch.stack(counted).sum(0)
        mistakes = heapq.nlargest(self.worst, (mistake for _, some in of_all for mistake in some))
        side = round(len(confusion) ** 0.5)
        evaluation = {
            "checkpoint": Path(trainer.ckpt_path).name if trainer.ckpt_path else None,
            "classes": list(image_data(trainer).class_names),
            "metrics": {name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith("test/")},
            "confusion": confusion.view(side, side).tolist(),
            "mistakes": [asdict(mistake) for mistake in mistakes],
        }
        self._write(evaluation)
        for logger in trainer.loggers:
            if hasattr(logger, "log_evaluation"):
                logger.log_evaluation(evaluation)

    def _write(self, evaluation: dict[str, Any]) -> None:
        atomic_write_text(self.folder / "evaluation.json", json.dumps(evaluation))
        confusion = torch.tensor(evaluation["confusion"]).numpy()
        figures.save(
            figures.confusion_matrix(confusion, evaluation["classes"]), self.folder / "pictures/confusion_matrix.png"
        )
        if mistakes := evaluation["mistakes"]:
            captions = [f"{m['label']}, taken for {m['prediction']}\n{m['confidence']:.1%}" for m in mistakes]
            images = [figures.of_png(base64.b64decode(m["png"])) for m in mistakes]
            figures.save(figures.images_in_a_grid(images, captions), self.folder / "pictures/worst_mistakes.png")


def _as_png(pixels: Tensor) -> str:
    """(H, W, C) uint8 as a PNG in base64; large images smaller, as there is a page of them."""
    image = Image.fromarray(pixels.squeeze(-1).cpu().numpy())
    image.thumbnail((160, 160))
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
