"""Predictions as a CSV file."""

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from ...atomic_write import atomic_write_csv
from ...errors import InputError, check_int
from ..data_protocol import image_data


class PredictionWriter(Callback):
    """Writes a CSV file with a line for each image: its file or index, the most likely label, and its probability.

    With ``top_k``, the next most likely labels follow, each with its probability. The line of a file that could not be
    read has no labels. The names of files and classes come from the trainer's data module.

    Args:
        path: the CSV file; it is created only when it is complete.
        top_k: the number of labels for each image.

    Raises:
        InputError: if there are fewer classes than ``top_k``.
    """

    def __init__(self, path: Path, top_k: int = 1) -> None:
        check_int("--top_k", top_k, at_least=1)
        self.path = path
        self.top_k = top_k
        self._rows: list[tuple[int, list[int], list[float]]] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rows = []
        data = image_data(trainer)
        if self.top_k > len(data.class_names):
            raise InputError(f"--top_k is {self.top_k}, but there are only {len(data.class_names)} classes")

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        probabilities, labels = outputs.topk(self.top_k)
        self._rows += zip(batch[1].tolist(), labels.tolist(), probabilities.tolist(), strict=True)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = image_data(trainer)
        of_all: list[Any] = [(self._rows, data.unreadable)]
        if trainer.world_size > 1:
            of_all = [None] * trainer.world_size
            torch.distributed.all_gather_object(of_all, (self._rows, data.unreadable))
        if not trainer.is_global_zero:
            return
        files = data.predict_files
        places = ["", *(f"_{place}" for place in range(2, self.top_k + 1))]
        columns = [f"{name}{place}" for place in places for name in ("label", "probability")]
        lines: list[list[Any]] = []
        for number, labels, probabilities in sorted(row for rows, _ in of_all for row in rows):
            pairs = zip((data.class_names[label] for label in labels), (f"{p:.6f}" for p in probabilities), strict=True)
            lines.append([files[number] if files else number, *(cell for pair in pairs for cell in pair)])
        if files:
            lines += [[Path(name), *[""] * len(columns)] for _, names in of_all for name in names]
            lines.sort(key=lambda line: line[0])
        atomic_write_csv(self.path, [["file" if files else "index", *columns], *lines])
