"""Predictions as a CSV file."""

import logging
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ...atomic_write import atomic_write_csv
from ...errors import InputError, check_int
from ..data_protocol import ImageData, image_data
from ..gathering import gather
from ..model_protocol import is_multilabel

_log = logging.getLogger(__name__)


class PredictionWriter(Callback):
    """Writes a CSV file with a line for each image: its file or index, the most likely label, and its probability.

    With ``top_k``, the next most likely labels follow, each with its probability. The line of a file that could not be
    read has no labels. The names of files and classes come from the trainer's data module; without such a data module,
    see ``data_protocol.py``, examples and classes are numbered.

    For a module with ``multilabel``, such as ``ImageClassifier``, the columns are the labels of an image whose
    probability is at least its threshold, separated by semicolons, and the probability of each label.

    If ``predict_step`` returns a tensor (B,) or (B, K) that does not hold probabilities, the columns are ``index`` and
    ``value``, or ``index`` and ``value_0`` to ``value_<K-1>``. If it returns anything else, no file is written.

    Args:
        path: the CSV file; it is created only when it is complete.
        top_k: the number of labels for each image.

    Attributes:
        has_written: whether this process has written the file.

    Raises:
        InputError: if there are fewer classes than ``top_k``.
    """

    def __init__(self, path: Path, top_k: int = 1) -> None:
        check_int("--top_k", top_k, at_least=1)
        self.path = path
        self.top_k = top_k
        self.has_written = False
        self._rows: list[tuple[int, list[int], list[float]]] = []  # index, labels, their probabilities
        self._values: list[tuple[int, list[float]]] = []  # index, what was returned instead of probabilities
        self._are_labels: bool | None = None  # whether the first outputs were probabilities
        self._count = 0

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rows, self._values, self._are_labels, self._count = [], [], None, 0
        data = image_data(trainer)
        if data is not None:
            self._check_top_k(len(data.class_names))

    def _check_top_k(self, num_classes: int) -> None:
        if self.top_k > num_classes:
            raise InputError(f"--top_k is {self.top_k}, but there are only {num_classes} classes")

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not isinstance(outputs, Tensor) or outputs.ndim not in (1, 2) or not len(outputs):
            return
        if image_data(trainer) is not None:
            indices = batch[1].tolist()
        else:  # in the order of Lightning's sampler for several processes
            numbers = range(self._count, self._count + len(outputs))
            indices = [number * trainer.world_size + trainer.global_rank for number in numbers]
            self._count += len(outputs)
        if self._are_labels is None:
            self._are_labels = not is_multilabel(pl_module) and _are_probabilities(outputs)
        if self._are_labels:
            self._check_top_k(outputs.shape[1])
            probabilities, labels = outputs.topk(self.top_k)
            self._rows += zip(indices, labels.tolist(), probabilities.tolist(), strict=True)
        else:
            self._values += zip(indices, outputs.reshape(len(outputs), -1).tolist(), strict=True)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = image_data(trainer)
        of_all = gather(trainer, (self._rows, self._values, data.unreadable if data else ()))
        if not trainer.is_global_zero:
            return
        rows = sorted(row for found, _, _ in of_all for row in found)
        values = sorted(row for _, found, _ in of_all for row in found)
        unreadable = [name for _, _, names in of_all for name in names]
        if is_multilabel(pl_module):
            self._write_label_sets(values, pl_module, data, unreadable)
        elif rows or unreadable:
            self._write_labels(rows, data, unreadable)
        elif values:
            places = [f"value_{place}" for place in range(len(values[0][1]))] if len(values[0][1]) > 1 else ["value"]
            self._save([["index", *places], *([number, *row] for number, row in values)])
        else:
            _log.warning(
                "%s.predict_step returns no tensor (B,) or (B, K): there is no %s",
                type(pl_module).__name__,
                self.path.name,
            )

    def _write_labels(
        self, rows: list[tuple[int, list[int], list[float]]], data: ImageData | None, unreadable: list[str]
    ) -> None:
        files = data.predict_files if data else None
        places = ["", *(f"_{place}" for place in range(2, self.top_k + 1))]
        columns = [f"{name}{place}" for place in places for name in ("label", "probability")]
        lines: list[list[Any]] = []
        for number, labels, probabilities in rows:
            names = (data.class_names[label] if data else label for label in labels)
            pairs = zip(names, (f"{p:.6f}" for p in probabilities), strict=True)
            lines.append([files[number] if files else number, *(cell for pair in pairs for cell in pair)])
        self._write(columns, lines, bool(files), unreadable)

    def _write_label_sets(
        self,
        probabilities: list[tuple[int, list[float]]],
        module: Any,
        data: ImageData | None,
        unreadable: list[str],
    ) -> None:
        """Writes the labels of each image whose probabilities reach their thresholds, and all probabilities."""
        files = data.predict_files if data else None
        thresholds = module.thresholds.tolist()
        names = list(data.class_names) if data else [str(number) for number in range(len(thresholds))]
        lines: list[list[Any]] = []
        for number, values in probabilities:
            reached = zip(names, values, thresholds, strict=True)
            chosen = [name for name, value, threshold in reached if value >= threshold]
            shown = (f"{value:.6f}" for value in values)
            lines.append([files[number] if files else number, ";".join(chosen), *shown])
        columns = ["labels", *(f"probability_{name}" for name in names)]
        self._write(columns, lines, bool(files), unreadable)

    def _write(self, columns: list[str], lines: list[list[Any]], are_files: bool, unreadable: list[str]) -> None:
        """Writes a line for each image, which begins with its file or index, and for each file that is unreadable."""
        if are_files:
            lines += [[Path(name), *[""] * len(columns)] for name in unreadable]
            lines.sort(key=lambda line: line[0])
        self._save([["file" if are_files else "index", *columns], *lines])

    def _save(self, lines: list[list[Any]]) -> None:
        atomic_write_csv(self.path, lines)
        self.has_written = True


def _are_probabilities(outputs: Tensor) -> bool:
    """Whether outputs (B, K) can be the probabilities of K classes, K of at least 2."""
    if outputs.ndim != 2 or outputs.shape[1] < 2 or not outputs.is_floating_point():
        return False
    sums = outputs.float().sum(1)
    return bool((outputs >= 0).all() and torch.allclose(sums, torch.ones_like(sums), atol=1e-2))
