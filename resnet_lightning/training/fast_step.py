"""Chooses the memory format and the fused optimizer by what is faster for a network, its images and its device."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import nn
from torch.optim import Optimizer

from ..data import ImageDataModule
from .value_ranges import check_truth_value

_log = logging.getLogger(__name__)

# A fused step reads and writes each value once.
_FUSED_ON = {"cpu", "cuda"}
_FUSED = {"Adam", "AdamW", "SGD"}

# With a map of fewer rows and as many channels in the last stage, channels_last is slower on a CPU.
_SMALLEST_MAP = 4
_MANY_CHANNELS = 256

_OTHER_STEPS = ("fused", "foreach", "differentiable")


class FastStep:
    """How a network is trained: in which memory format, and with a fused optimizer or not.

    It holds plain values only, so that copies of the module may have it too.

    Args:
        channels_last: true, false or ``auto``, which chooses once the images and the device are known; until then, the
            format is channels_last.

    Raises:
        InputError: if the option is none of these.
    """

    def __init__(self, channels_last: bool | str) -> None:
        if channels_last != "auto":
            check_truth_value("model.channels_last", channels_last, or_else=" or auto")
        self._chooses = channels_last == "auto"
        self.is_channels_last = bool(channels_last)
        self.is_fused = False  # until the trainer is known

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.is_channels_last else torch.contiguous_format

    def arrange(self, backbone: nn.Module) -> None:
        """Gives a new network the memory format."""
        if self.is_channels_last:
            backbone.to(memory_format=torch.channels_last)

    def choose_format(self, backbone: nn.Module, trainer: Trainer) -> bool | str:
        """Chooses the memory format of a run, if the option leaves the choice open.

        Returns:
            The value of ``channels_last`` that a checkpoint stores.
        """
        if self._chooses:
            device, precision = trainer.strategy.root_device.type, str(trainer.precision)
            self.is_channels_last = wants_channels_last(backbone, _image_size(trainer), device, precision)
            backbone.to(memory_format=self.memory_format)
        return self.is_channels_last

    def choose_optimizer(
        self, trainer: Trainer, module: LightningModule, optimizer: str, options: Mapping[str, Any]
    ) -> None:
        """Chooses whether the optimizer is fused; see ``can_fuse``."""
        self.is_fused = can_fuse(trainer, module, optimizer, options)

    def optimizer_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the arguments of the optimizer with the choice."""
        return {**options, **({"fused": True} if self.is_fused else {})}

    def settle(self, trainer: Trainer, options: Mapping[str, Any]) -> None:
        """Adapts what a checkpoint has restored to this run's memory format and optimizer, and logs both.

        Args:
            trainer: the trainer of the run, whose optimizers exist.
            options: the arguments of the optimizer.
        """
        note = ""
        for restored in trainer.optimizers:
            match_layouts(restored)
            if set_fused(restored, self.is_fused, options):
                note = "; the run began with the other kind of step, so it continues equal up to rounding"
        if trainer.is_global_zero:
            layout = "channels_last" if self.is_channels_last else "contiguous"
            optimizer = "fused" if self.is_fused else "as configured"
            _log.info("memory format: %s; optimizer: %s%s", layout, optimizer, note)


def _image_size(trainer: Trainer) -> tuple[int, int] | None:
    """Returns height and width of the training images; None if they are not known."""
    data: Any = getattr(trainer, "datamodule", None)
    if not isinstance(data, ImageDataModule):
        return None
    side = data.sizes()[0]
    height, width = (side, side) if side else data.split("train").images.shape[-3:-1]
    return height, width


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
