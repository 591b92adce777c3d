"""The LightningModule that trains any backbone to classify images."""

import inspect
import math
import os
from collections.abc import Mapping
from typing import Any, Self

import torch
from lightning import LightningModule
from lightning.pytorch.callbacks import ModelPruning
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ..build import build, import_by_path
from ..checkpoint_file import check_checksum
from ..errors import InputError
from ..models import create_model
from .batches import images_and_targets, images_of
from .finetuning import step_schedule, unfreeze_head
from .fsdp import broadcast_buffers, shard
from .length import optimizer_steps
from .loader_metrics import LoaderMetrics
from .metrics import EpochMetrics
from .optim import copy_settings, fast_forward, make_optimizer, make_scheduler, parameter_groups


class ImageClassifier(LightningModule):
    """Trains a backbone with cross-entropy and reports accuracy: images (B, C, H, W) -> logits (B, num_classes).

    Targets are labels (B,) or, for mixed images, class probabilities (B, num_classes).

    Every argument is a plain value. A checkpoint therefore holds all that is needed to build the module again:
    ``ImageClassifier.load_from_checkpoint(path)`` takes no other argument.

    Args:
        backbone: a name from ``list_models()``, or the dotted path of any callable that returns a module, such as
            ``torchvision.models.alexnet``. In Python, it may also be a module. Its checkpoint must then be loaded
            with that module: ``load_from_checkpoint(path, backbone=model)``.
        num_classes: the size of the logits.
        in_chans: the number of image channels.
        backbone_args: further arguments of the backbone, such as ``{stem: cifar}``. For fine-tuning, give
            ``pretrained`` (a path) and ``frozen_stages``. See ``create_model``.
        lr: the learning rate; with a schedule, its peak.
        optimizer: a class of ``torch.optim``, or a dotted path.
        optimizer_args: its other arguments. Weight decay is not applied to norms and biases.
        scheduler: a class of ``torch.optim.lr_scheduler``, or a dotted path. It is stepped after every optimizer step
            and sized to the run's length. None keeps the learning rate constant.
        scheduler_args: its other arguments. Milestones below 1 are fractions of the run.
        label_smoothing: the fraction of the target that is spread over all classes (Szegedy et al. 2016, section 7).
        channels_last: use the channels_last memory format, which is faster on most hardware.
        compile: compile the backbone with ``torch.compile``.

    Raises:
        InputError: if a name is unknown, or an option or its value is not accepted.
    """

    def __init__(
        self,
        backbone: str | Any = "resnet18",  # or a module; with that type, --help would list every module of torch
        num_classes: int = 10,
        in_chans: int = 3,
        backbone_args: dict[str, Any] | None = None,
        lr: float = 0.1,
        optimizer: str = "SGD",
        optimizer_args: dict[str, Any] | None = None,
        scheduler: str | None = "OneCycleLR",
        scheduler_args: dict[str, Any] | None = None,
        label_smoothing: float = 0.0,
        channels_last: bool = True,
        compile: bool = False,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise InputError(f"model.num_classes is {num_classes}; a classifier needs at least 2")
        if not 0 < lr < math.inf:
            raise InputError(f"model.lr is {lr}; give a positive, finite number")
        if not 0 <= label_smoothing < 1:
            raise InputError(f"model.label_smoothing is {label_smoothing}; give a number from 0 up to 1")
        hparams = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        if isinstance(backbone, nn.Module):
            del hparams["backbone"]
        if backbone_args and "pretrained" in backbone_args:
            # A checkpoint holds all weights, and the pretrained file may be gone when it is loaded.
            hparams["backbone_args"] = {k: v for k, v in backbone_args.items() if k not in ("pretrained", "may_differ")}
        # Without arguments, `save_hyperparameters()` stores the parser's config under LightningCLI, not these values.
        self.save_hyperparameters(hparams)

        self.backbone = make_backbone(backbone, num_classes, in_chans, backbone_args or {})
        if channels_last:
            self.backbone.to(memory_format=torch.channels_last)
        if compile:
            self.backbone.compile()  # in place: the state dict keeps its keys
        self.lr = lr  # Lightning's learning-rate finder reads and sets it
        self._lr_before = lr  # the learning rate in the checkpoint that is resumed
        self._schedule_fits: tuple[float, float] = (lr, 0)  # the learning rate and the steps that it was built for
        # Built and discarded, so that a wrong option raises an error here and not when training starts.
        self._make_dummy_optimizer(total_steps=1000)

        self.train_metrics = EpochMetrics()
        self.val_metrics = EpochMetrics(top_5=num_classes >= 10)
        self.test_metrics = EpochMetrics(top_5=num_classes >= 10)
        self.loader_metrics = LoaderMetrics()

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Self:
        """Builds the module from a checkpoint; see ``LightningModule.load_from_checkpoint`` for the arguments.

        Raises:
            InputError: if the file is missing or damaged.
        """
        if isinstance(checkpoint_path, str | os.PathLike) and "://" not in str(checkpoint_path):
            check_checksum(checkpoint_path)
        return super().load_from_checkpoint(checkpoint_path, *args, **kwargs)

    def forward(self, images: Tensor) -> Tensor:
        """Normalized images (B, C, H, W) to logits (B, num_classes)."""
        images = images.to(self.dtype)  # with precision bf16-true, the weights are bfloat16
        # Batches of this package's loaders already have this memory format; others may not.
        layout = torch.channels_last if self.hparams["channels_last"] else torch.contiguous_format
        return self.backbone(images.contiguous(memory_format=layout))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss, _ = self._step(batch, self.train_metrics)
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._step(batch, self.loader_metrics.of("val", self.val_metrics, dataloader_idx))

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Returns the logits (B, num_classes), for callbacks."""
        _, logits = self._step(batch, self.loader_metrics.of("test", self.test_metrics, dataloader_idx))
        return logits

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Returns class probabilities (B, num_classes), float32. The batch may be images alone."""
        return self(images_of(batch)).float().softmax(dim=1)

    def _step(self, batch: Any, metrics: EpochMetrics) -> tuple[Tensor, Tensor]:
        images, targets = images_and_targets(batch)
        logits = self(images)
        losses = F.cross_entropy(logits, targets, label_smoothing=self.hparams["label_smoothing"], reduction="none")
        # In evaluation, a process may have no images in the last step.
        metrics.update(losses.detach(), logits.detach(), targets)
        return losses.mean(), logits

    def on_validation_epoch_start(self) -> None:
        self.loader_metrics.start("val", self.val_metrics, self.trainer.val_dataloaders)

    def on_test_epoch_start(self) -> None:
        self.loader_metrics.start("test", self.test_metrics, self.trainer.test_dataloaders)

    def on_train_epoch_end(self) -> None:
        self.log_dict({f"train/{name}": metric for name, metric in self.train_metrics.by_name().items()})

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.loader_metrics.by_name("val", self.val_metrics), add_dataloader_idx=False)

    def on_test_epoch_end(self) -> None:
        self.log_dict(self.loader_metrics.by_name("test", self.test_metrics), add_dataloader_idx=False)

    def configure_model(self) -> None:
        if self.device_mesh is not None:  # set by ModelParallelStrategy
            shard(self.backbone, self.device_mesh)

    def on_validation_start(self) -> None:
        if self.device_mesh is not None:
            broadcast_buffers(self.backbone)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        if isinstance(self.trainer.strategy, FSDPStrategy):
            raise InputError(
                "FSDP1 flattens the weights, so that weight decay cannot spare norms and biases; use FSDP2, as in "
                "configs/overlays/fsdp.yaml"
            )
        prunes = any(isinstance(callback, ModelPruning) for callback in self.trainer.callbacks)  # type: ignore[attr-defined]
        if prunes and self.hparams["channels_last"]:
            raise InputError(
                "ModelPruning cannot prune weights in the channels_last memory format; set model.channels_last to false"
            )
        unfreeze_head(self.trainer, self.backbone)
        total_steps = optimizer_steps(self.trainer)
        if self.hparams["scheduler"] and not math.isfinite(total_steps):
            raise InputError("the schedule needs the length of the run, which is unlimited; give --trainer.max_epochs")
        optimizer, scheduler = self._make_optimizer(parameter_groups(self.backbone), total_steps)
        self._schedule_fits = self.lr, total_steps
        if scheduler is None:
            return optimizer
        if isinstance(scheduler, ReduceLROnPlateau):
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss"}}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _make_optimizer(self, groups: list[dict[str, Any]], total_steps: float) -> tuple[Optimizer, LRScheduler | None]:
        hparams = self.hparams
        optimizer = make_optimizer(hparams["optimizer"], groups, self.lr, hparams["optimizer_args"] or {})
        if hparams["scheduler"] is None:
            return optimizer, None
        options = hparams["scheduler_args"] or {}
        return optimizer, make_scheduler(hparams["scheduler"], optimizer, int(total_steps), options)

    def _make_dummy_optimizer(self, total_steps: float) -> tuple[Optimizer, LRScheduler | None]:
        """Returns the configured optimizer and schedule for two parameters that belong to no model."""
        groups = [{"params": [nn.Parameter(torch.zeros(1))], **options} for options in ({}, {"weight_decay": 0.0})]
        return self._make_optimizer(groups, total_steps)

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        step_schedule(scheduler, lambda: super(ImageClassifier, self).lr_scheduler_step(scheduler, metric))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._lr_before = checkpoint.get("hyper_parameters", {}).get("lr", self.lr)

    def on_train_start(self) -> None:
        # When a run is resumed, the checkpoint determines the position in the schedule. The config determines the shape
        # of the schedule and the settings of the optimizer.
        steps, total_steps = self.trainer.global_step, optimizer_steps(self.trainer)
        if not steps and self._schedule_fits == (self.lr, total_steps):
            return
        if steps > total_steps:
            raise InputError(
                f"the checkpoint is at step {steps}, but this run ends at step {total_steps}; "
                "raise --trainer.max_epochs"
            )
        dummy, schedule = self._make_dummy_optimizer(total_steps)
        current = next((config.scheduler for config in self.trainer.lr_scheduler_configs), None)
        if type(current) is not type(schedule):
            return  # that of a callback, such as Lightning's learning-rate finder
        if steps and isinstance(schedule, ReduceLROnPlateau):
            # Apply the reduction so far to the learning rate of the config.
            for group, restored in zip(dummy.param_groups, self.trainer.optimizers[0].param_groups, strict=False):
                group["lr"] = restored["lr"] * (self.lr / self._lr_before)
        if schedule is None or isinstance(schedule, ReduceLROnPlateau):
            copy_settings(self.trainer.optimizers[0], dummy)
        else:
            fast_forward(self.trainer.lr_scheduler_configs[0].scheduler, dummy, schedule, steps)


def make_backbone(backbone: str | nn.Module, num_classes: int, in_chans: int, options: Mapping[str, Any]) -> nn.Module:
    """Builds the backbone that a config names; see ``ImageClassifier`` for the arguments.

    Raises:
        InputError: if there is no such backbone, or it does not take these options.
    """
    if isinstance(backbone, nn.Module):
        return backbone
    for name in ("num_classes", "in_chans"):
        if name in options:
            raise InputError(f"{name} follows the data and cannot be set in model.backbone_args; leave it out")
    if options.get("features_only"):
        raise InputError("a classifier needs logits; leave features_only out of backbone_args")
    if "." not in backbone:
        return create_model(backbone, **{"num_classes": num_classes, "in_chans": in_chans, **options})
    factory = import_by_path("backbone", backbone)
    defaults: dict[str, Any] = {"num_classes": num_classes}
    # Many backbones of other libraries have no such argument and take RGB images.
    if in_chans != 3 or "in_chans" in inspect.signature(factory).parameters:
        defaults["in_chans"] = in_chans
    model = build(f"backbone {backbone!r}", factory, **{**defaults, **options})
    if not isinstance(model, nn.Module):
        raise InputError(f"backbone {backbone!r} returned a {type(model).__name__}, not a torch module")
    return model
