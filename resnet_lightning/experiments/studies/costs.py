"""What a trained network costs, measured for the studies that compare networks at equal cost."""

from collections.abc import Sequence

import torch

from ...models.cost import multiply_adds
from ...runs.reader import Run
from ...training.backbones import make_backbone
from .study import Measurement

_IMAGES = {"DigitsDataModule": (8, 1), "MNISTDataModule": (28, 1)}
"""The side and the channels of the images, by data module."""

_COLOR_IMAGES = 32, 3


def measure_cost(run: Run) -> Sequence[Measurement]:
    """Returns the multiply-adds, in millions for one image, of the network that a run's config names."""
    if not run.config:  # a script of its own
        return []
    options = run.setting("model")
    data = str(run.setting("data.class_path")).rpartition(".")[2]
    size, in_chans = _IMAGES.get(data, _COLOR_IMAGES)
    classes = len(run.evaluation.classes) if run.evaluation else 10
    with torch.device("meta"):  # shapes without values
        network, _ = make_backbone(options["backbone"], classes, in_chans, options.get("backbone_args") or {})
    return [Measurement("multiply_adds", multiply_adds(network, size) / 1e6)]
