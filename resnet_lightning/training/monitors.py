"""Whether a larger or a smaller value of a metric is better, for the parts of a run that monitor one."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from ..errors import InputError
from .configured_metrics import ConfiguredMetrics

Mode = Literal["min", "max"]

_OURS: dict[str, Mode] = {"loss": "min", "acc": "max", "acc5": "max"}
_LIKELY: dict[str, Mode] = {
    **_OURS,
    **dict.fromkeys(("error", "err", "ece", "nll", "mse", "rmse", "mae", "perplexity", "distance", "brier"), "min"),
    **dict.fromkeys(("accuracy", "f1", "auroc", "auc", "map", "iou", "dice", "precision", "recall", "kappa"), "max"),
}
_STAGES = ("train", "val", "test")


def best_mode(monitor: str, metrics: Mapping[str, Any]) -> Mode | None:
    """Returns ``"min"`` if a smaller value of a metric is better, ``"max"`` if a larger one is, None if unknown.

    Args:
        monitor: the name under which it is logged, such as ``val/acc``.
        metrics: the option ``model.metrics``, by whose names torchmetrics knows the direction.
    """
    stage, _, name = monitor.partition("/")
    if stage not in _STAGES:
        return None
    name = name.partition("/")[0]  # without the class, or the loader of several
    return _OURS.get(name) or _declared(name, metrics)


def likely_mode(monitor: str) -> Mode | None:
    """Returns the mode that a name suggests by the last of its words that suggests one: ``"min"`` for ``val_loss``."""
    words = re.split(r"[^a-z0-9]", monitor.lower())
    return next((_LIKELY[word] for word in reversed(words) if word in _LIKELY), None)


def _declared(name: str, metrics: Mapping[str, Any]) -> Mode | None:
    if name not in metrics:
        return None
    for num_classes in 10, 2:  # the number is that of the data, which are not read yet; some metrics take two only
        try:
            is_higher = ConfiguredMetrics({name: metrics[name]}, num_classes).higher_is_better(name)
        except InputError:
            continue
        return None if is_higher is None else "max" if is_higher else "min"
    return None


def in_words(mode: Mode) -> str:
    """Returns ``larger`` for ``max`` and ``smaller`` for ``min``."""
    return "larger" if mode == "max" else "smaller"
