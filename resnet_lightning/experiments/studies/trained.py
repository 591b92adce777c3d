"""The network of a finished run and its data, for what a study measures on them.

The folder of a study may be a download: what its configs and checkpoints name is under the rule of ``trust.py``.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningDataModule
from torch import nn

from ...build import build, import_by_path
from ...data import ImageDataModule
from ...errors import InputError
from ...runs.reader import Run
from ...runs.stored_names import check_names
from ...training.classifier import ImageClassifier
from ...trust import Trust, names_from_checkpoint


def trained_net(run: Run) -> nn.Module:
    """Returns the network at the end of a run, in evaluation mode, on the accelerator if there is one.

    Raises:
        InputError: if the checkpoint is missing or damaged.
    """
    return _classifier(run).backbone.eval().to(_device())


def initial_net(run: Run) -> nn.Module:
    """Returns a network like that of a run before its training, drawn with the seed of the run."""
    hparams: Mapping[str, Any] = _classifier(run).hparams
    with torch.random.fork_rng(), names_from_checkpoint(Trust()):
        torch.manual_seed(int(run.setting("seed_everything")))
        return ImageClassifier(**hparams).backbone.to(_device())


def data_of(run: Run) -> ImageDataModule:
    """Returns the data module of a run, without its augmentation.

    Raises:
        InputError: if the data set is missing, or if the config names another class.
    """
    path, options = run.setting("data.class_path"), run.setting("data.init_args") or {}
    if not isinstance(path, str) or not isinstance(options, dict):
        raise InputError(f"the config in {str(run.folder)!r} names no data module; delete the run to train it again")
    options = {name: value for name, value in options.items() if name != "augment"}
    with names_from_checkpoint(Trust()):
        check_names("data", options, [LightningDataModule])
        data = build("the data module", import_by_path("data", path, [LightningDataModule]), **options)
    if not isinstance(data, ImageDataModule):
        raise InputError(f"the config in {str(run.folder)!r} names {path!r}, which is no data module of this package")
    return data


def _classifier(run: Run) -> ImageClassifier:
    file = run.folder / "checkpoints" / "last.ckpt"
    return ImageClassifier.load_from_checkpoint(file, map_location="cpu", compile=False)


def _device() -> torch.device:
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
