"""Defines what a run requires of a LightningModule beyond Lightning's hooks, and what it does without.

Any LightningModule can be trained. What follows is optional, and a run leaves out what a module does not offer:

- ``backbone``, a module: the run is described by its name and size.
- hyperparameters (``save_hyperparameters()``): they are stored in checkpoints, if they are plain values. The config in
  a checkpoint is enough to build the module again.
- ``test_step`` that returns logits (B, num_classes): the confusion matrix and the worst mistakes are made from them.
- ``predict_step`` that returns a tensor (B,) or (B, K): it is written to ``predictions.csv``.
- the metric that ``checkpoint.monitor`` names, logged in validation: the best checkpoint is chosen by it.
- ``num_classes`` and ``in_chans`` as arguments of the constructor: they follow the data.
- ``multilabel``, whether an image may have several labels, and then ``thresholds`` (num_classes,).

``ImageClassifier`` offers all of it. ``explain``, ``export`` and ``features`` need one, or a subclass of it.
"""

import logging
from typing import Any

from lightning import LightningDataModule, LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from ..errors import InputError
from ..runs.plain_values import is_loadable
from .batches import images_and_targets

_log = logging.getLogger(__name__)


def backbone_of(model: LightningModule) -> nn.Module | None:
    """Returns a module's backbone; None if it has none."""
    backbone = getattr(model, "backbone", None)
    return backbone if isinstance(backbone, nn.Module) else None


def net_name(model: LightningModule) -> str:
    """Returns the name of the trained network: that of the backbone, if the module names it, or that of its class."""
    name = model.hparams.get("backbone")
    return name if isinstance(name, str) and backbone_of(model) is not None else type(model).__name__


def is_multilabel(model: LightningModule) -> bool:
    """Returns whether a module predicts several labels for an image."""
    return getattr(model, "multilabel", False) is True


def runs_stage(stage: str, model: LightningModule, data: LightningDataModule | None) -> bool:
    """Returns whether module and data can run a stage: ``train``, ``val``, ``test`` or ``predict``.

    This requires the module's step, such as ``test_step``, and a loader from the data module or the module itself. A
    data module of this package may have no validation images.
    """
    step = {"train": "training_step", "val": "validation_step"}.get(stage, f"{stage}_step")
    if not is_overridden(step, model, parent=LightningModule):
        return False
    if stage == "val" and data is not None and not getattr(data, "validates", True):
        return False
    loader = f"{stage}_dataloader"
    in_data = data is not None and is_overridden(loader, data, parent=LightningDataModule)
    return in_data or is_overridden(loader, model, parent=LightningModule)


def leave_out_unsafe_hparams(module: LightningModule | LightningDataModule) -> None:
    """Removes the hyperparameters that no checkpoint can hold, and logs a line for each.

    Checkpoints are loaded with ``weights_only=True``, which accepts tensors and plain values only.
    """
    for name, value in list(module.hparams.items()):
        if not is_loadable(value):
            del module.hparams[name]
            _log.warning(
                "%s's hyperparameter %s is a %s, which a checkpoint cannot hold safely: it is left out; the config in "
                "the checkpoint builds the module again",
                type(module).__name__,
                name,
                type(value).__name__,
            )


def labels_of(batch: Any) -> Tensor | None:
    """Returns the labels (B,) of a batch of inputs and labels; None if it has none."""
    try:
        _, labels = images_and_targets(batch)
    except InputError:
        return None
    return labels if labels.ndim == 1 and not labels.is_floating_point() else None


def logits_of(outputs: Any) -> Tensor | None:
    """Returns what a ``test_step`` returned if it can be logits (B, num_classes); otherwise None."""
    is_logits = isinstance(outputs, Tensor) and outputs.ndim == 2 and outputs.is_floating_point()
    return outputs if is_logits else None
