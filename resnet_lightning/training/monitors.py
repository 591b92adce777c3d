"""Whether a larger or a smaller value of a metric is better, for the parts of a run that monitor one."""

from collections.abc import Mapping
from typing import Any, Literal

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
    return _OURS.get(name)


def in_words(mode: Mode) -> str:
    """Returns ``larger`` for ``max`` and ``smaller`` for ``min``."""
    return "larger" if mode == "max" else "smaller"
