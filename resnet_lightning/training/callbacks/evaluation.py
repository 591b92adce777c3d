"""The evaluation of a test: the confusion matrix, its scores, how reliable confidences are, the worst mistakes."""

import base64
import heapq
import io
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from PIL import Image
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from ...atomic_write import atomic_write_text
from ...runs import figures
from ...runs.panels import log_evaluation
from ...runs.reliability import Reliability, reliability
from ...runs.results_by_image import ResultsByImage
from ...runs.scores import Score, class_scores, scores
from ..batches import images_of
from ..calibration import Calibration
from ..data_protocol import ImageData, image_data
from ..gathering import gather
from ..model_protocol import is_multilabel, labels_of, logits_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class Mistake:
    """A test image with a confident and wrong prediction."""

    confidence: float
    image: str
    label: str
    prediction: str
    png: str  # the image in base64


class Evaluation(Callback):
    """Writes confusion matrix, scores, reliability and worst mistakes of a test to ``evaluation.json`` and as figures.

    The module's ``test_step`` has to return logits (B, num_classes), and the batches have to begin with images and
    labels (B,); otherwise nothing is written. The mistakes require a data module that names and shows its images, see
    ``data_protocol.py``; without one, the classes are numbered. With several test loaders, the evaluation is
    that of the first. The loggers receive it too.

    Args:
        folder: the run's folder; None writes and logs nothing.
        worst: the number of mistakes to keep, the most confident ones.

    Attributes:
        scores: those of the test, by name; empty before a test and in processes other than the first.
        images: the number of test images.
    """

    def __init__(self, folder: Path | None, worst: int = 16) -> None:
        self.folder = folder
        self.worst = worst
        self.scores: dict[str, Score] = {}
        self.images = 0
        self._confusion: MulticlassConfusionMatrix | None = None
        self._mistakes: list[Mistake] = []
        self._right: list[Tensor] = []  # (2, B) for each batch: the images' indices, and whether they are right
        self._confidences: list[Tensor] = []  # (3, B): whether they are right, confidences, those without temperature
        self._step: int | None = None  # of the tested checkpoint

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._confusion, self._mistakes, self._right, self._confidences = None, [], [], []
        self.scores, self.images = {}, 0

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._step = checkpoint["global_step"]

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        logits, labels = logits_of(outputs), labels_of(batch)
        if dataloader_idx or logits is None or labels is None or len(labels) != len(logits):
            return
        before, predictions = logits.float().softmax(1).max(1)
        temperature = _temperature(pl_module)
        confidences = before if temperature is None else (logits.float() / temperature).softmax(1).max(1).values
        if self._confusion is None:
            self._confusion = _confusion_matrix(logits.shape[1], logits.device)
        self._confusion.update(predictions, labels)
        self._confidences.append(torch.stack([(predictions == labels).float(), confidences, before]))
        data = image_data(trainer)
        if data is None:
            return
        if hasattr(data, "fingerprint_of"):
            self._right.append(torch.stack([data.indices.to(labels.device), (predictions == labels).long()]))
        least = self._mistakes[-1].confidence if len(self._mistakes) == self.worst else -1.0
        wrong = confidences.where(predictions != labels, -1.0).double()
        confidence, rows = wrong.topk(min(self.worst, len(wrong)))
        found = torch.stack(
            [confidence, rows, labels[rows], predictions[rows]], 1
        ).tolist()  # one transfer from the device
        self._mistakes += [
            _mistake(data, images_of(batch), *values) for values in found if values[0] > max(least, -0.5)
        ]
        self._mistakes = heapq.nlargest(self.worst, self._mistakes)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        confusion_matrix = None if self._confusion is None else self._confusion.compute().cpu()
        right = torch.cat(self._right, 1).cpu() if self._right else torch.empty(2, 0, dtype=torch.long)
        confidences = torch.cat(self._confidences, 1).cpu() if self._confidences else torch.empty(3, 0)
        gathered = gather(trainer, (confusion_matrix, self._mistakes, right, confidences))
        matrices = [matrix for matrix, *_ in gathered if matrix is not None]
        if not trainer.is_global_zero:
            return
        if not matrices and is_multilabel(pl_module):
            return  # that of several labels is another callback's
        if not matrices:
            _log.info("the test_step returns no logits (B, num_classes): no confusion matrix, no list of mistakes")
            return
        data = image_data(trainer)
        mistakes = heapq.nlargest(self.worst, (mistake for _, found, *_ in gathered for mistake in found))
        confusion = torch.stack(matrices).sum(0)
        self.scores, self.images = scores(confusion.numpy()), int(confusion.sum())
        reliable = _reliability(torch.cat([found for *_, found in gathered], 1), _temperature(pl_module))
        self.scores |= _calibration_scores(reliable)
        if self.folder is None:
            return
        classes = list(data.class_names) if data else [str(number) for number in range(len(confusion))]
        tested = _results_by_image(data, torch.cat([right for *_, right, _ in gathered], 1))
        evaluation = {
            "checkpoint": Path(trainer.ckpt_path).name if trainer.ckpt_path else None,
            "step": self._step,
            "classes": classes,
            "metrics": {name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith("test/")},
            "images": self.images,
            "scores": {name: score.as_dict() for name, score in self.scores.items()},
            "by_class": [asdict(found) for found in class_scores(classes, confusion.numpy())],
            "confusion": confusion.tolist(),
            "reliability": reliable.as_dict(),
            "by_image": None if tested is None else asdict(tested),
            "mistakes": [asdict(mistake) for mistake in mistakes],
        }
        _write(evaluation, reliable, self.folder)
        log_evaluation(trainer.loggers, evaluation, self.folder / "pictures", trainer.global_step)


def _write(evaluation: dict[str, Any], reliable: Reliability, folder: Path) -> None:
    atomic_write_text(folder / "evaluation.json", json.dumps(evaluation))
    figures.save(figures.reliability(reliable), folder / "pictures/reliability.png")
    confusion = torch.tensor(evaluation["confusion"]).numpy()
    matrix = figures.confusion_matrix(confusion, evaluation["classes"])
    figures.save(matrix, folder / "pictures/confusion_matrix.png")
    if mistakes := evaluation["mistakes"]:
        captions = [f"{m['label']}\npredicted: {m['prediction']}\n{m['confidence']:.1%}" for m in mistakes]
        images = [figures.decode_png(base64.b64decode(m["png"])) for m in mistakes]
        title = "The most confident mistakes of the test"
        grid = figures.images_in_a_grid(images, captions, columns=4, title=title, side=160)
        figures.save(grid, folder / "pictures/worst_mistakes.png")


def _temperature(module: LightningModule) -> float | None:
    """Returns the temperature of a calibrated ``ImageClassifier``; None for others."""
    calibration: Any = getattr(module, "calibration", None)
    return calibration.temperature if isinstance(calibration, Calibration) else None


def _reliability(confidences: Tensor, temperature: float | None) -> Reliability:
    """Compares confidences and accuracy.

    Args:
        confidences: whether each image is right, its confidence, and that without the temperature, (3, N).
        temperature: that of the model, if it is calibrated.
    """
    right, after, before = confidences.double().nan_to_num().numpy()
    return reliability(after, right > 0, temperature, None if temperature is None else before)


def _calibration_scores(found: Reliability) -> dict[str, Score]:
    """Returns the expected calibration error, and that without the temperature of a calibrated model."""
    errors = {"calibration error": found.error, "calibration error before": found.error_before}
    return {name: Score(value, None) for name, value in errors.items() if value is not None}


def _results_by_image(data: ImageData | None, right: Tensor) -> ResultsByImage | None:
    """Returns which images are classified correctly; None if the data module cannot identify its images.

    Args:
        data: the data module.
        right: the images' indices, and whether they are right, (2, N).
    """
    fingerprint_of = getattr(data, "fingerprint_of", None)
    if fingerprint_of is None or not right.numel():
        return None
    marks = ["-"] * (int(right[0].max()) + 1)
    for index, is_right in right.T.tolist():
        marks[index] = str(is_right)
    return ResultsByImage(fingerprint_of("test"), "".join(marks))


def _confusion_matrix(classes: int, device: torch.device) -> MulticlassConfusionMatrix:
    """Returns a metric that is not synchronized: a process without images has no metric that could take part."""
    return MulticlassConfusionMatrix(classes, validate_args=False, sync_on_compute=False).to(device)


def _mistake(
    data: ImageData, images: Tensor, confidence: float, row: float, label: float, prediction: float
) -> Mistake:
    row = int(row)
    return Mistake(
        confidence,
        data.name_of("test", int(data.indices[row])),
        data.class_names[int(label)],
        data.class_names[int(prediction)],
        as_png(data.to_pixels(images[row : row + 1])[0]),
    )


def as_png(pixels: Tensor) -> str:
    """Pixels (H, W, C) uint8 as a PNG in base64, at most 160 pixels high and wide to keep the report small."""
    image = Image.fromarray(pixels.squeeze(-1).cpu().numpy())
    image.thumbnail((160, 160))
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
