"""A trained net out of its checkpoint, with all it takes to show it an image."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data import ImageSpec, PredictionDataModule
from ..errors import InputError
from ..models.weights import read_checkpoint
from ..training.classifier import ImageClassifier


@dataclass(frozen=True)
class LoadedModel:
    """The net of a checkpoint, in eval mode on the CPU.

    Args:
        path: of the checkpoint.
        classifier: the net.
        data: knows its classes, and turns images into what it takes.
        name: of the run, such as ``"digits"``.
        config: the whole config as YAML.
        metrics: of the last validation before it, and of the test if the run's folder is around the checkpoint.
    """

    path: Path
    classifier: ImageClassifier
    data: PredictionDataModule
    name: str
    config: str
    metrics: dict[str, float]

    def read(self, files: Sequence[str | Path]) -> list[Tensor]:
        """The pixels (C, H, W) uint8 of image files, of the size that the net was trained with.

        Raises:
            InputError: where one cannot be read.
        """
        images = self.data.files(map(str, files))
        return [images.read(number) for number in range(len(images))]

    @torch.no_grad()
    def probabilities(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) uint8 to the probability of each class (B, num_classes)."""
        return self.classifier(self.data.normalize(pixels)).float().softmax(dim=1)


def load_model(path: str | Path) -> LoadedModel:
    """Loads a checkpoint that ``lightning fit`` has written.

    Raises:
        InputError: where it is not one.
    """
    checkpoint = read_checkpoint(path)
    run, hparams = checkpoint.get("run"), checkpoint.get("hyper_parameters", {})
    if not isinstance(run, dict) or "backbone" not in hparams:
        raise InputError(f"{str(path)!r} is not a checkpoint of `lightning fit`, which names its net and its data")
    data = PredictionDataModule.of(ImageSpec.from_dict(run["data"]))
    classifier = ImageClassifier(**{**hparams, "compile": False})
    classifier.load_state_dict(checkpoint["state_dict"])
    metrics = {**_last_values(run.get("metrics", "")), **_of_the_test(Path(path))}
    return LoadedModel(Path(path), classifier.eval(), data, run["name"], run["config"], metrics)


def _last_values(metrics: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in csv.DictReader(io.StringIO(metrics)):
        found.update({name: float(value) for name, value in row.items() if name.startswith("val/") and value})
    return found


def _of_the_test(checkpoint: Path) -> dict[str, Any]:
    """The run tests the best checkpoint, after which nothing is written into it."""
    file = checkpoint.resolve().parent.parent / "evaluation.json"
    try:
        evaluation = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return evaluation["metrics"] if evaluation.get("checkpoint") == checkpoint.name else {}
