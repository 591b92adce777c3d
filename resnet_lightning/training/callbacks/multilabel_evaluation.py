"""The evaluation of a test of images with several labels: scores, those of each label, and its worst mistakes."""

import base64
import heapq
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor

from ...atomic_write import atomic_write_text
from ...runs import figures
from ...runs.panels import log_label_scores
from ...runs.scores import Score, wilson_interval
from ..batches import images_and_targets, images_of
from ..data_protocol import ImageData, image_data
from ..gathering import gather
from ..model_protocol import is_multilabel, logits_of
from ..multilabel import NEUTRAL, as_columns, average_precisions, f1_scores
from .evaluation import as_png

_RESAMPLES = 300
_MOST_SORTED = 100_000_000  # numbers that the intervals may sort: a few seconds
_SHOWN = 32  # mistakes of all labels
_IN_A_ROW = 4  # of a label in the picture


@dataclass(frozen=True, order=True)
class LabelMistake:
    """A test image with a label that is missed or wrongly predicted.

    Args:
        confidence: in the wrong answer.
        image: its name.
        of_label: the label.
        label: all labels of the image.
        prediction: all labels that are predicted.
        png: the image in base64.
    """

    confidence: float
    image: str
    of_label: str
    label: str
    prediction: str
    png: str


class MultilabelEvaluation(Callback):
    """Writes the scores of a test, those of each label, and its worst mistakes to ``evaluation.json``, and draws these.

    It does so for a module with ``multilabel``, such as ``ImageClassifier``; otherwise it does nothing. With several
    test loaders, the evaluation is that of the first. The loggers receive it too.

    Args:
        folder: the run's folder; None to compute the scores alone.

    Attributes:
        scores: those of the test, by name; empty before a test and in processes other than the first.
        images: the number of test images.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.scores: dict[str, Score] = {}
        self.images = 0
        self._batches: list[tuple[Tensor, Tensor]] = []
        self._mistakes: list[list[LabelMistake]] = []  # by label
        self._step: int | None = None  # of the tested checkpoint

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batches, self._mistakes, self.scores, self.images = [], [], {}, 0

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
        logits = logits_of(outputs)
        if not is_multilabel(pl_module) or dataloader_idx or logits is None or not len(logits):
            return
        probabilities = logits.float().sigmoid()
        targets = as_columns(images_and_targets(batch)[1], logits.shape[1]).float()
        self._batches.append((probabilities.cpu(), targets.cpu()))
        if self.folder is not None and (data := image_data(trainer)) is not None:
            self._note_mistakes(data, images_of(batch), *self._batches[-1], _thresholds(pl_module))

    def _note_mistakes(
        self, data: ImageData, images: Tensor, probabilities: Tensor, targets: Tensor, thresholds: Tensor
    ) -> None:
        names = data.class_names
        self._mistakes = self._mistakes or [[] for _ in names]
        kept = max(_SHOWN // len(names), 1)
        predicted, present = probabilities >= thresholds, targets > NEUTRAL
        wrong = torch.where(predicted, probabilities, 1 - probabilities).where(predicted != present, -1.0)
        for column, found in enumerate(self._mistakes):
            least = found[-1].confidence if len(found) == kept else -0.5
            confidences, rows = wrong[:, column].topk(min(kept, len(wrong)))
            for confidence, row in zip(confidences.tolist(), rows.tolist(), strict=True):
                if confidence > least:
                    label, prediction = (_names(names, marks[row]) for marks in (present, predicted))
                    png = as_png(data.to_pixels(images[row : row + 1])[0])
                    name = data.name_of("test", int(data.indices[row]))
                    found.append(LabelMistake(confidence, name, names[column], label, prediction, png))
            found[:] = heapq.nlargest(kept, found)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not is_multilabel(pl_module):
            return
        gathered = gather(trainer, (self._batches, self._mistakes))
        batches = [batch for found, _ in gathered for batch in found]
        if not trainer.is_global_zero or not batches:
            return
        probabilities, targets = (torch.cat(values) for values in zip(*batches, strict=True))
        thresholds, data = _thresholds(pl_module), image_data(trainer)
        names = list(data.class_names) if data else [str(number) for number in range(len(thresholds))]
        self.scores, self.images = label_scores(probabilities, targets, thresholds), len(targets)
        if self.folder is None:
            return
        mistakes = [mistake for _, of_labels in gathered for found in of_labels for mistake in found]
        worst = {name: heapq.nlargest(max(_SHOWN // len(names), 1), _of(name, mistakes)) for name in names}
        by_label = scores_by_label(names, probabilities, targets, thresholds)
        measured = {name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith("test/")}
        shown = "average_precision", "f1", "precision", "recall", "threshold"
        evaluation = {
            "multilabel": True,
            "checkpoint": Path(trainer.ckpt_path).name if trainer.ckpt_path else None,
            "step": self._step,
            "classes": names,
            "metrics": {
                **measured,
                **{f"test/{key}/{row['name']}": row[key] for key in shown for row in by_label if row[key] is not None},
            },
            "images": self.images,
            "scores": {name: score.as_dict() for name, score in self.scores.items()},
            "by_class": by_label,
            "mistakes": [asdict(mistake) for name in names for mistake in worst[name]],
        }
        atomic_write_text(self.folder / "evaluation.json", json.dumps(evaluation))
        picture = draw_mistakes(worst, self.folder / "pictures/worst_mistakes.png")
        log_label_scores(trainer.loggers, evaluation, picture, trainer.global_step)


def draw_mistakes(worst: dict[str, list[LabelMistake]], path: Path) -> Path | None:
    """Draws a row of mistakes for each label that has some, and returns the picture; None if there are none.

    Args:
        worst: the mistakes of each label, the most confident first.
        path: the PNG file. One of an earlier test is removed if there are none.
    """
    shown = {name: found[:_IN_A_ROW] for name, found in worst.items() if found}
    if not shown:
        path.unlink(missing_ok=True)
        return None
    images: list[NDArray[np.uint8] | None] = []
    captions: list[str] = []
    for found in shown.values():
        empty = _IN_A_ROW - len(found)
        images += [*(figures.decode_png(base64.b64decode(mistake.png)) for mistake in found), *[None] * empty]
        captions += [f"{mistake.label}\n{_what_is_wrong(mistake)}\n{mistake.confidence:.1%}" for mistake in found]
        captions += [""] * empty
    title = "The most confident mistakes of each label"
    grid = figures.images_in_a_grid(images, captions, columns=_IN_A_ROW, title=title, side=160, row_names=list(shown))
    figures.save(grid, path)
    return path


def _what_is_wrong(mistake: LabelMistake) -> str:
    is_present = f", {mistake.of_label}, " in f", {mistake.label}, "
    return "missed" if is_present else "wrongly predicted"


def label_scores(probabilities: Tensor, targets: Tensor, thresholds: Tensor) -> dict[str, Score]:
    """Returns mean average precision, macro F1, and the share of images of which all labels are right.

    The intervals of the means are percentiles of bootstrap samples of the images, as in ``runs.scores``.

    Args:
        probabilities: (N, K).
        targets: (N, K), 1 for each label of an image.
        thresholds: (K,).
    """
    right = int(((probabilities >= thresholds) == (targets > NEUTRAL)).all(1).sum())

    def means(rows: Tensor) -> tuple[float, float]:
        some = probabilities[rows], targets[rows]
        return float(average_precisions(*some).nanmean()), float(f1_scores(*some, thresholds).nanmean())

    images = len(targets)
    of_all = means(torch.arange(images))
    intervals: list[tuple[float, float] | None] = [None, None]
    if images > 1 and targets.numel() * _RESAMPLES <= _MOST_SORTED:
        generator = torch.Generator().manual_seed(0)
        draws = [means(torch.randint(images, (images,), generator=generator)) for _ in range(_RESAMPLES)]
        limits = torch.tensor(draws, dtype=torch.float64).nanquantile(
            torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0
        )
        # Without a mistake, all samples are the same, and there is no interval.
        intervals = [(float(low), float(high)) if low < high else None for low, high in limits.T]
    return {
        "mean average precision": Score(of_all[0], intervals[0]),
        "macro F1": Score(of_all[1], intervals[1]),
        "images with all labels right": Score(right / images, wilson_interval(right, images)),
    }


def scores_by_label(
    names: list[str], probabilities: Tensor, targets: Tensor, thresholds: Tensor
) -> list[dict[str, Any]]:
    """Returns the scores of each label: images with it, its threshold, scores, and how often it is missed or wrong."""
    predicted, present = probabilities >= thresholds, targets > NEUTRAL
    hits = (predicted & present).sum(0).double()
    columns = {
        "average_precision": average_precisions(probabilities, targets),
        "precision": hits / torch.where(predicted.any(0), predicted.sum(0), torch.nan),
        "recall": hits / torch.where(present.any(0), present.sum(0), torch.nan),
        "f1": f1_scores(probabilities, targets, thresholds),
    }
    rows = []
    for k, name in enumerate(names):
        values = {key: float(column[k]) if column[k].isfinite() else None for key, column in columns.items()}
        missed, wrong = int((present & ~predicted)[:, k].sum()), int((predicted & ~present)[:, k].sum())
        counts = {"images": int(present[:, k].sum()), "missed": missed, "wrongly_predicted": wrong}
        rows.append({"name": name, **counts, "threshold": float(thresholds[k]), **values})
    return rows


def _thresholds(module: Any) -> Tensor:
    thresholds: Tensor = module.thresholds
    return thresholds.cpu()


def _names(names: Any, marks: Tensor) -> str:
    return ", ".join(names[int(column)] for column in marks.nonzero()) or "none"


def _of(name: str, mistakes: list[LabelMistake]) -> list[LabelMistake]:
    return [mistake for mistake in mistakes if mistake.of_label == name]
