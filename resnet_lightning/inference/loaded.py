"""Loads a model from a checkpoint, together with the preprocessing of its images."""

import contextlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..build import build, import_by_path, importable_from, option_names
from ..checkpoint_file import read_checkpoint
from ..data import ImageSpec, PredictionDataModule
from ..errors import InputError
from ..runs.readable import UNREADABLE, parse_json, parse_yaml, read_text
from ..runs.reader import parse_metrics
from ..training.calibration import Calibration
from ..training.classifier import ImageClassifier
from ..trust import Trust, names_from_checkpoint


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
        return self.classifier.to_probabilities(self.classifier(self.data.normalize(pixels)))


def load_model(path: str | Path, trust: Iterable[str] = ()) -> LoadedModel:
    """Loads the model from a checkpoint that ``lightning fit`` wrote.

    Args:
        path: the file.
        trust: the packages, modules or full names whose code the checkpoint may run; see ``trust.py``.

    Raises:
        InputError: if the file cannot be read, is not such a checkpoint, or names code that is not trusted.
    """
    checkpoint = read_checkpoint(path)
    run, hparams = checkpoint.get("run"), checkpoint.get("hyper_parameters", {})
    has_parts = {"state_dict", "global_step"} <= checkpoint.keys() and isinstance(hparams, dict)
    if not isinstance(run, dict) or not isinstance(run.get("data"), dict) or not has_parts:
        raise InputError(
            f"{str(path)!r} is not a checkpoint of `lightning fit`: it lacks the model's options or its data's"
        )
    with importable_from(["."]), names_from_checkpoint(Trust(trust)):
        classifier = _classifier(str(path), _model_of(run), hparams)
    if not {"class_names", "mean", "std"} <= run["data"].keys():
        raise InputError(
            f"{str(path)!r} was trained on a data module that stores no class names and no normalization; explain, "
            "export and features need a data module of this package"
        )
    data = PredictionDataModule.of(ImageSpec.from_dict(run["data"]))
    found = {"num_classes": len(data.class_names), "in_chans": data.in_chans}
    if any(classifier.hparams[name] != number for name, number in found.items()):
        raise InputError(f"{str(path)!r} is a malformed checkpoint: its model and its data do not fit; use another one")
    classifier.load_state_dict(checkpoint["state_dict"])
    classifier.calibration = Calibration.of_checkpoint(checkpoint)
    metrics = {
        **_last_validation(run.get("metrics", "")),
        **_test_metrics(Path(path), classifier, checkpoint["global_step"]),
    }
    return LoadedModel(Path(path), classifier.eval(), data, run["name"], run["config"], metrics)


def _model_of(run: Mapping[str, Any]) -> Any:
    """Returns the part of the config in a checkpoint that describes the model; None if there is none."""
    with contextlib.suppress(*UNREADABLE):
        return parse_yaml(run["config"])["model"]
    return None


def _classifier(path: str, config: Any, hparams: Mapping[str, Any]) -> ImageClassifier:
    """Builds the model of a checkpoint, which is an ``ImageClassifier`` or a subclass of it."""
    is_named = isinstance(config, dict) and "class_path" in config
    factory = import_by_path("model", config["class_path"]) if is_named else ImageClassifier
    if not (inspect.isclass(factory) and issubclass(factory, ImageClassifier)):
        name = config["class_path"].rpartition(".")[2]
        raise InputError(f"{path!r} holds a {name}; explain, export and features need an ImageClassifier")
    if "backbone" not in hparams:
        raise InputError(f"{path!r} is not a checkpoint of `lightning fit`: it lacks the model's options")
    # A subclass need not store options of its own as hyperparameters.
    own = config.get("init_args", {}) if is_named else {}
    options = {**own, **hparams, "compile": False}
    parameters = inspect.signature(factory).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        options = {name: value for name, value in options.items() if name in option_names(factory)}
    try:
        classifier: ImageClassifier = build(f"model {factory.__name__}", factory, **options)
    except AttributeError as error:  # a list where a mapping belongs
        raise InputError(f"the options of the model in {path!r} cannot be used: {error}") from error
    return classifier


def _last_validation(metrics: str) -> dict[str, float]:
    try:
        return {name: points[-1][1] for name, points in parse_metrics(metrics).items() if name.startswith("val/")}
    except UNREADABLE:
        return {}


def _test_metrics(checkpoint: Path, classifier: ImageClassifier, step: int) -> dict[str, Any]:
    """Reads the test metrics from the run's folder, since the checkpoint is written before the test.

    They are those of this checkpoint if name and step are: a later best checkpoint has the same name. A checkpoint of
    `lightning calibrate` has the metrics of the one that was calibrated.
    """
    name = checkpoint.name if classifier.calibration is None else classifier.calibration.of
    file = checkpoint.resolve().parent.parent / "evaluation.json"
    try:
        evaluation = parse_json(read_text(file))
        is_of_it = evaluation.get("checkpoint") == name and evaluation.get("step", step) == step
        return {str(name): float(value) for name, value in evaluation["metrics"].items()} if is_of_it else {}
    except UNREADABLE:
        return {}
