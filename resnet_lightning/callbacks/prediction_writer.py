"""Predictions as a table."""

import csv
import io
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer


class PredictionWriter(Callback):
    """Writes a CSV with a line for each predicted image: its file or number, the label, and the label's probability.

    It takes the files' and the classes' names from the trainer's data module.

    Args:
        path: of the CSV, which appears when it is complete.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: list[tuple[int, int, float]] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rows = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        probabilities, labels = outputs.max(dim=1)
        self._rows += zip(batch[1].tolist(), labels.tolist(), probabilities.tolist(), strict=True)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        shares: list[Any] = [self._rows]
        if trainer.world_size > 1:
            shares = [None] * trainer.world_size
            torch.distributed.all_gather_object(shares, self._rows)
        if not trainer.is_global_zero:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        files = data.predict_files
        self.path.parent.mkdir(parents=True, exist_ok=True)
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(("file" if files else "index", "label", "probability"))
        for number, label, probability in sorted(row for share in shares for row in share):
            image = files[number] if files else number
            writer.writerow((image, data.class_names[label], f"{probability:.6f}"))
        unfinished = self.path.with_suffix(".part")
        try:
            unfinished.write_text(table.getvalue(), newline="")
            unfinished.replace(self.path)
        finally:
            unfinished.unlink(missing_ok=True)
