"""Checks the names among the options of ``Trainer``, whose own messages list every name or none."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.strategies import StrategyRegistry

from ..errors import InputError, did_you_mean

_NAMES: Mapping[str, Iterable[str]] = {
    "accelerator": ("auto", "gpu", *AcceleratorRegistry.available_accelerators()),
    "strategy": ("auto", *StrategyRegistry.available_strategies()),
    "profiler": ("simple", "advanced", "pytorch", "xla"),
    "gradient_clip_algorithm": ("norm", "value"),
}


def check_names(options: Mapping[str, Any]) -> None:
    """Checks the arguments of ``Trainer`` that are names, as far as they are given as names.

    Raises:
        InputError: if a name is unknown, or if this machine lacks the accelerator.
    """
    for option, names in _NAMES.items():
        value = options.get(option)
        if isinstance(value, str) and value.lower() not in names:
            raise InputError(f"trainer.{option} is {value!r}; {did_you_mean(value, names)}")
    accelerator = options.get("accelerator")
    if isinstance(accelerator, str) and not _is_available(accelerator):
        raise InputError(
            f"trainer.accelerator is {accelerator!r}, but torch finds no such device on this machine; give auto or cpu"
        )


def _is_available(accelerator: str) -> bool:
    # Asked for these alone: with CUDA, the question can keep processes from being forked.
    if accelerator in ("cuda", "gpu") and torch.cuda.is_available():
        return True
    return accelerator not in ("cuda", "gpu", "mps") or (accelerator != "cuda" and torch.backends.mps.is_available())
