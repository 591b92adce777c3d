"""Whether a larger or a smaller value of a metric is better, for the parts of a run that monitor one."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from ..errors import InputError
from .configured_metrics import ConfiguredMetrics

Mode = Literal["min", "max"]

_OURS: dict[str, Mode] = {"loss": "min", "acc": "max", "acc5": "max"}
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
    return _OURS.get(name) or _declared(name.partition("/")[0], metrics)


def likely_mode(monitor: str) -> Mode | None:
    """Returns the mode that the last word of a name suggests, such as ``"min"`` for ``val_loss``."""
    word = re.split(r"[^a-z0-9]", monitor.lower())[-1]
    return {**_OURS, "accuracy": "max", "error": "min"}.get(word)


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
