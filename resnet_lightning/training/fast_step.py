"""Chooses the memory format and the fused optimizer by what is faster for a network, its images and its device."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import nn
from torch.optim import Optimizer

from .value_ranges import check_truth_value

# A fused step reads and writes each value once.
_FUSED_ON = {"cpu", "cuda"}
_FUSED = {"Adam", "AdamW", "SGD"}

# With a map of fewer rows and as many channels in the last stage, channels_last is slower on a CPU.
_SMALLEST_MAP = 4
_MANY_CHANNELS = 256

_OTHER_STEPS = ("fused", "foreach", "differentiable")


def starts_channels_last(option: bool | str) -> bool:
    """Returns the choice before the images and the device are known: channels_last, unless the option is False.

    Raises:
        InputError: if the option is neither true, false nor ``auto``.
    """
    if option != "auto":
        check_truth_value("model.channels_last", option, or_else=" or auto")
    return bool(option)


def wants_channels_last(backbone: nn.Module, image_size: tuple[int, int] | None, device: str, precision: str) -> bool:
    """Whether the channels_last memory format is the faster one; True where nothing is known.

    On a CPU, small maps of many channels in the last stage, such as those of an ImageNet stem on 32x32 images, are
    faster in the contiguous format. In bfloat16, that holds for networks of 3x3 convolutions, not of bottlenecks.

    Args:
        backbone: the network. Its ``feature_info`` states the reduction of its last map.
        image_size: height and width of the images; None if they are not known.
        device: the type of the device, such as ``cpu``.
        precision: the precision of the trainer, such as ``bf16-mixed``.
    """
    rows = getattr(backbone, "feature_info", None)
    if device != "cpu" or image_size is None or not isinstance(rows, tuple) or not rows:
        return True
    if min(image_size) / rows[-1]["reduction"] >= _SMALLEST_MAP or rows[-1]["num_chs"] < _MANY_CHANNELS:
        return True
    kernels = [layer.kernel_size for layer in backbone.modules() if isinstance(layer, nn.Conv2d)]
    return "bf16" in precision and kernels.count((1, 1)) > len(kernels) / 2


def can_fuse(trainer: Trainer, module: LightningModule, optimizer: str, options: Mapping[str, Any]) -> bool:
    """Whether a fused optimizer is available and faster, and the options leave the choice open.

    It is not used for sharded parameters, nor where mixed precision requires a plain one: to clip gradients, and with
    16-mixed, whose gradients would still be scaled when their norm is logged.

    Args:
        trainer: the trainer of the run.
        module: the module that is trained; it may clip gradients itself.
        optimizer: the name of the optimizer.
        options: its arguments.
    """
    if any(name in options for name in _OTHER_STEPS):
        return False
    clips = trainer.gradient_clip_val or is_overridden("configure_gradient_clipping", module, parent=LightningModule)
    if trainer.precision == "16-mixed" or (clips and "mixed" in str(trainer.precision)):
        return False
    strategy = trainer.strategy
    if getattr(strategy, "device_mesh", None) is not None:
        return False
    return optimizer in _FUSED and strategy.root_device.type in _FUSED_ON


def match_layouts(optimizer: Optimizer) -> None:
    """Gives gradients and restored states the memory format of their parameters.

    A checkpoint restores them in the format of the run that wrote it. A fused optimizer walks through memory in order,
    and would combine values of different places.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            for name, value in state.items():
                if _differs(value, parameter):
                    state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
            if parameter.grad is not None and _differs(parameter.grad, parameter):
                parameter.grad = torch.empty_like(parameter).copy_(parameter.grad)


def set_fused(optimizer: Optimizer, is_fused: bool, options: Mapping[str, Any]) -> bool:
    """Restores the choice of this run after a checkpoint has restored that of another; returns whether they differ."""
    if any(name in options for name in _OTHER_STEPS):
        return False
    differing = [group for group in optimizer.param_groups if bool(group.get("fused")) != is_fused]
    for group in differing:
        group["fused"] = is_fused or None
    return bool(differing)


def _differs(value: Any, parameter: nn.Parameter) -> bool:
    is_like = isinstance(value, torch.Tensor) and type(value) is torch.Tensor and value.shape == parameter.shape
    return is_like and value.stride() != parameter.stride()
