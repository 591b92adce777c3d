"""Loads a model from a checkpoint, together with the preprocessing of its images."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoint_file import read_checkpoint
from ..data import ImageSpec, PredictionDataModule
from ..errors import InputError
from ..training.classifier import ImageClassifier


@dataclass(frozen=True)
class LoadedModel:
    """A trained model, in eval mode on the CPU.

    Args:
        path: the checkpoint file.
        classifier: the model.
        data: the data module that reads and normalizes image files, and has the names of the classes.
        name: the name of the run, such as ``"digits"``.
        config: the complete config of the run as YAML.
        metrics: the metrics of the last validation before the checkpoint. Those of its test are included if the
            checkpoint is in the folder of its run.
    """

    path: Path
    classifier: ImageClassifier
    data: PredictionDataModule
    name: str
    config: str
    metrics: dict[str, float]

    def read(self, files: Sequence[str | Path]) -> list[Tensor]:
        """Reads image files as pixels (C, H, W) uint8, in the size that the model was trained on.

        Raises:
            InputError: if a file cannot be read.
        """
        images = self.data.files(map(str, files))
        return [images.read(number) for number in range(len(images))]

    @torch.no_grad()
    def probabilities(self, pixels: Tensor) -> Tensor:
        """Returns the probability of each class (B, num_classes) for pixels (B, C, H, W) uint8."""
        return self.classifier(self.data.normalize(pixels)).float().softmax(dim=1)


def load_model(path: str | Path) -> LoadedModel:
    """Loads the model from a checkpoint that ``lightning fit`` wrote.

    Raises:
        InputError: if the file cannot be read or is not such a checkpoint.
    """
    checkpoint = read_checkpoint(path)
    run, hparams = checkpoint.get("run"), checkpoint.get("hyper_parameters", {})
    if not isinstance(run, dict) or "backbone" not in hparams:
        raise InputError(
            f"{str(path)!r} is not a checkpoint of `lightning fit`: it lacks the model's options or its data's"
        )
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
    """Reads the test metrics from the run's folder, since the checkpoint is written before the test."""
    file = checkpoint.resolve().parent.parent / "evaluation.json"
    try:
        evaluation = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return evaluation["metrics"] if evaluation.get("checkpoint") == checkpoint.name else {}
