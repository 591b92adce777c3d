"""Whether ``torch.compile`` saves more time in a run than compiling takes."""

import copy
import importlib.util
import os
import shutil
from typing import Any

from torch import nn

from ..models.cost import multiply_adds
from .hardware import has_fast_bf16

# The operations of a training after which compiling has paid back, by the type of the device, for compiling that takes
# 20 seconds on a CPU and a minute on a GPU. On a CPU with AMX, compiled steps in bf16 of a ResNet-18 take 9 % and of a
# ResNet-20 21 % less time. The number for GPUs is an estimate: a third less time, at 5e13 operations a second.
_PAYS_AFTER = {"cpu": 2e14, "cuda": 1e16}

# The same in steps on a GPU, where CUDA graphs spare a small network most of the time between its kernels. A step of a
# ResNet-20 takes 2.2 instead of 8.3 ms on an H100 with a slow host, and compiling 13 s.
_PAYS_AFTER_STEPS = 5_000


def operations_of_training(backbone: nn.Module, image_size: tuple[int, int], images: float) -> float:
    """Returns the floating-point operations of a training; 0 if they cannot be counted.

    A step computes the network forward, and about twice as much backward.

    Args:
        backbone: the network, which does not change.
        image_size: height and width.
        images: their number, over all epochs.
    """
    try:
        counted = multiply_adds(copy.deepcopy(backbone).to("meta"), max(image_size))
    except (RuntimeError, ValueError, TypeError, NotImplementedError):  # a network of one's own
        return 0
    return 6.0 * counted * images


def why_not_compiled(operations: float, device: str, precision: str, steps: float = 0) -> str:
    """Returns the reason why compiling does not pay back; empty if it does.

    Args:
        operations: those of the training; 0 if they are not known.
        device: the type of the device.
        precision: that of the trainer, such as ``bf16-mixed``.
        steps: the number of optimizer steps; 0 if it is not known.
    """
    if device not in _PAYS_AFTER:
        return f"not tried on {device!r}"
    if device == "cpu" and not ("bf16" in precision and has_fast_bf16("cpu")):
        return "gains nothing on this CPU"
    if not _has_compiler(device):
        return "there is no compiler"
    if not operations:
        return "the length of the run or the size of the images is not known"
    share = max(operations / _PAYS_AFTER[device], steps / _PAYS_AFTER_STEPS if device == "cuda" else 0)
    return "" if share >= 1 else f"would pay back in a run of {1 / share:.3g} times the length"


def _has_compiler(device: str) -> bool:
    named: Any = (os.environ.get("CXX"), os.environ.get("CC"), "g++", "clang++", "gcc", "clang")
    has_language = device == "cpu" or importlib.util.find_spec("triton") is not None
    return has_language and any(shutil.which(name) for name in named if name)
