"""How well a model classifies corrupted images: the results, as a table, and in the files of a run."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..atomic_write import atomic_write_text
from .readable import parse_json

FILE = "corruptions.json"
COLUMNS = "corruption", "1", "2", "3", "4", "5", "mean"


@dataclass(frozen=True)
class Robustness:
    """The accuracy on corrupted test images.

    Attributes:
        images: the number of test images.
        clean: the accuracy on the images as they are.
        accuracies: by corruption, the accuracy in each of five strengths.
        checkpoint: the name of the checkpoint's file; None for an untrained model.
        step: the optimizer step of the checkpoint.
        seed: the seed of the random numbers.
        data: the name of the data module.
    """

    images: int
    clean: float
    accuracies: dict[str, list[float]]
    checkpoint: str | None = None
    step: int | None = None
    seed: int = 0
    data: str = ""

    @property
    def mean_error(self) -> float:
        """The mean corruption error: the mean over the corruptions of the mean error over the strengths.

        It is the unnormalized one, as published for CIFAR-10-C; that of ImageNet-C is relative to AlexNet.
        """
        return sum(1 - mean(row) for row in self.accuracies.values()) / max(len(self.accuracies), 1)

    def rows(self) -> list[tuple[Any, ...]]:
        """Returns the rows of a table with ``COLUMNS``."""
        return [(name, *row, mean(row)) for name, row in self.accuracies.items()]

    def metrics(self) -> dict[str, float]:
        """Returns the values for loggers: the accuracy on each corruption, and the mean corruption error."""
        found = {f"corruptions/{name}": mean(row) for name, row in self.accuracies.items()}
        return {**found, "corruptions/clean": self.clean, "corruptions/mean_error": self.mean_error}

    def write(self, folder: Path) -> None:
        """Writes ``corruptions.json`` and ``corruptions.csv``."""
        content = {
            "checkpoint": self.checkpoint,
            "step": self.step,
            "data": self.data,
            "seed": self.seed,
            "images": self.images,
            "clean": self.clean,
            "mean_error": self.mean_error,
            "accuracies": self.accuracies,
        }
        atomic_write_text(folder / FILE, json.dumps(content, indent=1))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *self.rows()])
        atomic_write_text(folder / "corruptions.csv", text.getvalue())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads the content of ``corruptions.json``.

        Raises:
            ValueError, KeyError, TypeError: if it is damaged.
        """
        read: Mapping[str, Any] = parse_json(text)
        accuracies = {str(name): [float(value) for value in row] for name, row in read["accuracies"].items()}
        if not accuracies or any(len(row) != 5 for row in accuracies.values()):
            raise ValueError("a corruption has no five strengths")
        checkpoint, data = read.get("checkpoint"), read.get("data")
        return cls(
            int(read["images"]),
            float(read["clean"]),
            accuracies,
            None if checkpoint is None else str(checkpoint),
            None if read.get("step") is None else int(read["step"]),
            int(read.get("seed", 0)),
            str(data or ""),
        )


def mean(values: list[float]) -> float:
    """Returns the mean of some numbers."""
    return sum(values) / len(values)
