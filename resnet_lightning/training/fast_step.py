"""Chooses the memory format, the fused optimizer and whether to compile: what is faster for a network and its run."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from ..data import ImageDataModule
from ..errors import InputError
from .compiling import operations_of_training, why_not_compiled
from .hardware import bf16_in_words
from .length import optimizer_steps
from .value_ranges import check_truth_value

_log = logging.getLogger(__name__)

# A fused step reads and writes each value once.
_FUSED_ON = {"cpu", "cuda"}
_FUSED = {"Adam", "AdamW", "SGD"}

# With a map of fewer rows and as many channels in the last stage, channels_last is slower on a CPU.
_SMALLEST_MAP = 4
_MANY_CHANNELS = 256

_OTHER_STEPS = ("fused", "foreach", "differentiable")

_GRAPHS = "reduce-overhead"
"""The mode of ``torch.compile`` that replays a step's kernels from CUDA graphs."""


class FastStep:
    """How a network is trained: in which memory format, with a fused optimizer or not, compiled or not.

    It holds plain values only, so that copies of the module may have it too.

    Args:
        channels_last: true, false or ``auto``, which chooses once the images and the device are known; until then, the
            format is channels_last.
        compile: true, false, ``reduce-overhead`` or ``auto``, which chooses once the length of the training is known.

    Raises:
        InputError: if an option is none of these.
    """

    def __init__(self, channels_last: bool | str, compile: bool | str) -> None:
        if channels_last != "auto":
            check_truth_value("model.channels_last", channels_last, or_else=" or auto")
        if compile not in ("auto", _GRAPHS):
            check_truth_value("model.compile", compile, or_else=f", auto or {_GRAPHS}")
        self._chooses = channels_last == "auto"
        self._chooses_to_compile = compile == "auto"
        self.is_channels_last = bool(channels_last)
        self.is_fused = False  # until the trainer is known
        self.is_compiled = compile in (True, _GRAPHS)
        self._uses_graphs = compile == _GRAPHS
        self._was_compiled: bool | None = None  # in the checkpoint that is resumed; None if there is none
        self._logged = ""

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.is_channels_last else torch.contiguous_format

    def arrange(self, backbone: nn.Module) -> None:
        """Gives a new network the memory format, and compiles it if that is certain."""
        if self.is_channels_last:
            backbone.to(memory_format=torch.channels_last)
        if self.is_compiled:
            self._compile(backbone)

    def _compile(self, backbone: nn.Module) -> None:
        backbone.compile(mode=_GRAPHS if self._uses_graphs else None)  # in place: the state dict keeps its keys

    def run(self, backbone: nn.Module, images: Tensor) -> Any:
        """Calls the network with images (B, C, H, W) in its memory format.

        Batches of this package's loaders already have this format; others may not.
        """
        outputs = backbone(images.contiguous(memory_format=self.memory_format))
        if self._uses_graphs and isinstance(outputs, Tensor):
            return outputs.clone()  # the next step writes its outputs to the same memory
        return outputs

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

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Stores whether the network was compiled, if that was chosen here: a resumed run has to compute the same."""
        if self._chooses_to_compile:
            checkpoint["compiled"] = self.is_compiled

    def load(self, checkpoint: Mapping[str, Any]) -> None:
        """Reads the choice of the run that is resumed."""
        found = checkpoint.get("compiled")
        self._was_compiled = found if isinstance(found, bool) else None

    def settle(self, trainer: Trainer, backbone: nn.Module, options: Mapping[str, Any]) -> None:
        """Adapts what a checkpoint has restored to this run, chooses whether to compile, and logs all choices.

        Args:
            trainer: the trainer of the run, whose optimizers exist.
            backbone: the network.
            options: the arguments of the optimizer.

        Raises:
            InputError: if gradients of several batches are to be accumulated with CUDA graphs.
        """
        if self._uses_graphs and trainer.accumulate_grad_batches != 1:
            raise InputError(
                f"model.compile is {_GRAPHS}, whose gradients are overwritten by the next batch: set it to true, or "
                f"trainer.accumulate_grad_batches to 1"
            )
        note = ""
        for restored in trainer.optimizers:
            match_layouts(restored)
            if isinstance(restored, SGD):
                restored.register_step_pre_hook(add_missing_momentum)
            if set_fused(restored, self.is_fused, options):
                note = "; the run began with the other kind of step, so it continues equal up to rounding"
        reason = self._choose_to_compile(trainer, backbone) if self._chooses_to_compile else ""
        if trainer.is_global_zero:
            layout = "channels_last" if self.is_channels_last else "contiguous"
            optimizer = "fused" if self.is_fused else "as configured"
            line = f"memory format: {layout}; optimizer: {optimizer}{reason}{note}"
            if line != self._logged:  # a search of the batch size begins many times
                _log.info("%s", line)
                self._logged = line

    def _choose_to_compile(self, trainer: Trainer, backbone: nn.Module) -> str:
        """Compiles the network if that pays back; returns the choice, the precision and the threads in words."""
        device, precision = trainer.strategy.root_device.type, str(trainer.precision)
        steps = optimizer_steps(trainer)
        reason = why_not_compiled(_operations(trainer, backbone), device, precision, steps)
        if self._was_compiled is not None and self._was_compiled != (not reason):
            reason = "" if self._was_compiled else "the run began without"
        if not reason and not self.is_compiled:
            is_alone = trainer.world_size == 1 and trainer.accumulate_grad_batches == 1
            self._uses_graphs = device == "cuda" and is_alone
            self._compile(backbone)
        self.is_compiled = not reason
        compiled = f"not compiled ({reason})" if reason else "compiled" + " with CUDA graphs" * self._uses_graphs
        threads = torch.get_num_threads()
        return f"; precision: {precision} ({bf16_in_words(device)}); {compiled}; threads: {threads}"


def _operations(trainer: Trainer, backbone: nn.Module) -> float:
    """Returns the operations of the training, for all processes; 0 if they are not known."""
    size, data = _image_size(trainer), getattr(trainer, "datamodule", None)
    if size is None or not isinstance(data, ImageDataModule):
        return 0
    images = optimizer_steps(trainer) * trainer.accumulate_grad_batches * data.batch_size
    return operations_of_training(backbone, size, images)


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
    16-mixed, whose gradients would still be scaled when their norm is logged. With ``dampening``, it could not train
    a parameter that is unfrozen later; see ``add_missing_momentum``.

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
    if getattr(strategy, "device_mesh", None) is not None or options.get("dampening"):
        return False
    return optimizer in _FUSED and strategy.root_device.type in _FUSED_ON


def add_missing_momentum(optimizer: Optimizer, *_: Any) -> None:
    """Gives each trained parameter a momentum of zero if it has none: a hook that runs before each step of SGD.

    The fused step of torch 2.11 to 2.14 fails if only some parameters have a momentum, as when a stage is unfrozen.
    Without dampening, a first step from zero equals one without a momentum.
    """
    for group in optimizer.param_groups:
        if not group["fused"] or not group["momentum"]:
            continue
        for parameter in group["params"]:
            if parameter.requires_grad and optimizer.state[parameter].get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


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
