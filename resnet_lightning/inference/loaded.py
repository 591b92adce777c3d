"""A model loaded from its checkpoint, with what it needs to classify image files."""

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
    """A trained model, in eval mode on the CPU.

    Args:
        path: the checkpoint.
        classifier: the model.
        data: names its classes, reads image files and normalizes them.
        name: the name of the run, such as ``"digits"``.
        config: the complete config of the run as YAML.
        metrics: of the last validation before the checkpoint, and of its test if the checkpoint lies in its run's
            folder.
    """

    path: Path
    classifier: ImageClassifier
    data: PredictionDataModule
    name: str
    config: str
    metrics: dict[str, float]

    def read(self, files: Sequence[str | Path]) -> list[Tensor]:
        """Reads image files to pixels (C, H, W) uint8, of the size that the model was trained on.

        Raises:
            InputError: if one cannot be read.
        """
        images = self.data.files(map(str, files))
        return [images.read(number) for number in range(len(images))]

    @torch.no_grad()
    def probabilities(self, pixels: Tensor) -> Tensor:
        """Pixels (B, C, H, W) uint8 to the probability of each class (B, num_classes)."""
        return self.classifier(self.data.normalize(pixels)).float().softmax(dim=1)


def load_model(path: str | Path) -> LoadedModel:
    """Loads the model of a checkpoint that ``lightning fit`` wrote.

    Raises:
        InputError: for any other file.
    """
    checkpoint = read_checkpoint(path)
    run, hparams = checkpoint.get("run"), checkpoint.get("hyper_parameters", {})
    if not isinstance(run, dict) or "backbone" not in hparams:
        raise InputError(f"{str(path)!r} is not a checkpoint of `lightning fit`, which states the model and its data")
    data = PredictionDataModule.of(ImageSpec.from_dict(run["data"]))
    classifier = ImageClassifier(**{**hparams, "compile": False})
    classifier.load_state_dict(checkpoint["state_dict"])
    metrics = {**_last_validation(run.get("metrics", "")), **_test_metrics(Path(path))}
    return LoadedModel(Path(path), classifier.eval(), data, run["name"], run["config"], metrics)


def _last_validation(metrics: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in csv.DictReader(io.StringIO(metrics)):
        found.update({name: float(value) for name, value in row.items() if name.startswith("val/") and value})
    return found


def _test_metrics(checkpoint: Path) -> dict[str, Any]:
    """Read from the run's folder: the test comes after the checkpoint was written."""
    file = checkpoint.resolve().parent.parent / "evaluation.json"
    try:
        evaluation = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return evaluation["metrics"] if evaluation.get("checkpoint") == checkpoint.name else {}
