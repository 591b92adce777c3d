"""The network of a finished run and its data, for what a study measures on them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ...build import build, import_by_path
from ...data import ImageDataModule
from ...runs.reader import Run
from ...training.classifier import ImageClassifier


def trained_net(run: Run) -> nn.Module:
    """Returns the network at the end of a run, in evaluation mode, on the accelerator if there is one.

    Raises:
        InputError: if the checkpoint is missing or damaged.
    """
    return _classifier(run).backbone.eval().to(_device())


def initial_net(run: Run) -> nn.Module:
    """Returns a network like that of a run before its training, drawn with the seed of the run."""
    hparams: Mapping[str, Any] = _classifier(run).hparams
    with torch.random.fork_rng():
        torch.manual_seed(int(run.setting("seed_everything")))
        return ImageClassifier(**hparams).backbone.to(_device())


def data_of(run: Run) -> ImageDataModule:
    """Returns the data module of a run, without its augmentation.

    Raises:
        InputError: if the data set is missing.
    """
    config: Mapping[str, Any] = run.setting("data")
    options = {name: value for name, value in config.get("init_args", {}).items() if name != "augment"}
    data = build("the data module", import_by_path("data", config["class_path"]), **options)
    assert isinstance(data, ImageDataModule)
    return data


def _classifier(run: Run) -> ImageClassifier:
    file = run.folder / "checkpoints" / "last.ckpt"
    return ImageClassifier.load_from_checkpoint(file, map_location="cpu", compile=False)


def _device() -> torch.device:
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
