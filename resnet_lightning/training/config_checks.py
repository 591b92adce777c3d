"""Finds options that do not work together, before training starts."""

import os

from lightning import LightningDataModule, LightningModule, Trainer
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.callbacks import BaseFinetuning, EarlyStopping, ModelCheckpoint, WeightAveraging
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden

from ..data import ImageDataModule
from ..errors import InputError, did_you_mean
from .callbacks import BestCheckpoint
from .classifier import ImageClassifier
from .model_protocol import runs_stage


def check_combination(trainer: Trainer, model: LightningModule, data: LightningDataModule | None) -> None:
    """Checks that the options of a training work together.

    Raises:
        InputError: naming two options that do not, and the fix.
    """
    if isinstance(trainer.strategy, ModelParallelStrategy) and trainer.strategy._save_distributed_checkpoint:
        raise InputError(
            "checkpoints must be single files; give save_distributed_checkpoint: false, as in "
            "configs/overlays/fsdp.yaml"
        )
    fix = "set data.val_split" if isinstance(data, ImageDataModule) else "the module or its data has no validation"
    validates = runs_stage("val", model, data) and bool(trainer.limit_val_batches)
    if not trainer.limit_val_batches:
        fix = "trainer.limit_val_batches is 0: raise it, or monitor a metric of the training"
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, BaseFinetuning) and isinstance(model, ImageClassifier):
            raise InputError(
                f"{type(callback).__name__} adds weights to the optimizer in the middle of the schedule; "
                "freeze stages with --model.backbone_args.frozen_stages instead, or unfreeze them with model.unfreeze"
            )
        if isinstance(callback, WeightAveraging) and isinstance(trainer.strategy, FSDPStrategy | ModelParallelStrategy):
            raise InputError(
                f"{type(callback).__name__} averages whole weights, but this strategy shards them; use ddp"
            )
        if isinstance(callback, EarlyStopping | ModelCheckpoint) and callback.monitor:
            who = "checkpoint" if isinstance(callback, BestCheckpoint) else type(callback).__name__
            if not validates and callback.monitor.startswith("val"):
                if not trainer.limit_val_batches:
                    raise InputError(
                        f"trainer.limit_val_batches is 0: {who}.monitor is {callback.monitor}, but this run does not "
                        "validate; raise it, or monitor a metric of the training"
                    )
                raise InputError(f"{who}.monitor is {callback.monitor}, but this run does not validate; {fix}")
            if isinstance(model, ImageClassifier):
                _check_monitor(f"{who}.monitor", callback.monitor, model, data)
    if isinstance(model, ImageClassifier):
        _check_classifier(trainer, model, data, validates, fix)


def _check_classifier(
    trainer: Trainer, model: ImageClassifier, data: LightningDataModule | None, validates: bool, fix: str
) -> None:
    if isinstance(data, ImageDataModule) and data.augment.mixes and not model.loss.own.takes_probabilities:
        raise InputError(
            f"loss {model.loss.name!r} takes labels only, but mixup and cutmix give class probabilities; leave them "
            "out of data.augment, or give another loss"
        )
    model.check_unfreezing(trainer)
    if model.hparams["scheduler"] == "ReduceLROnPlateau" and not validates:
        raise InputError(f"ReduceLROnPlateau monitors val/loss, but this run does not validate; {fix}")
    options = model.hparams["optimizer_args"] or {}
    if (
        isinstance(trainer.strategy, ModelParallelStrategy)
        and model.hparams["optimizer"] in ("SGD", "torch.optim.SGD")
        and not options.get("momentum")
    ):
        raise InputError(  # neither Lightning 2.6 nor torch 2.14 loads an empty optimizer state
            "FSDP cannot load the checkpoints of SGD without momentum; set momentum in model.optimizer_args, or give "
            "--trainer.strategy ddp"
        )
    is_fused = options.get("fused")
    if is_fused and trainer.gradient_clip_val and "mixed" in trainer.precision:
        raise InputError(
            f"a fused optimizer cannot clip gradients in {trainer.precision}; leave out trainer.gradient_clip_val "
            "or fused in model.optimizer_args"
        )


def check_is_initialized(part: LightningModule | LightningDataModule) -> None:
    """Checks that a class of the user's own calls the constructor of its base class.

    Raises:
        InputError: if it does not.
    """
    needed = "holdout" if isinstance(part, ImageDataModule) else "prepare_data_per_node"
    if not hasattr(part, needed):
        name = type(part).__name__
        raise InputError(f"{name}.__init__ does not call super().__init__(), with the options of its base class")


def check_trains(model: LightningModule, data: LightningDataModule | None) -> None:
    """Checks that a module can be trained.

    Raises:
        InputError: if it has no training step or no training data.
    """
    name = type(model).__name__
    if not is_overridden("training_step", model, parent=LightningModule):
        raise InputError(f"{name} has no training_step, so it cannot be trained")
    if not runs_stage("train", model, data):
        raise InputError(f"{name} has no train_dataloader of its own; give a data module with --data or in the config")


def check_machines(trainer: Trainer) -> None:
    """Checks that the configured machines and devices can be available.

    Raises:
        InputError: if the trainer would wait for a machine that nothing starts, or needs a GPU that is not used.
    """
    strategy = trainer.strategy
    environment = getattr(strategy, "cluster_environment", None)
    # MASTER_ADDR is set on machines that are started by hand, as Lightning documents.
    if trainer.num_nodes > 1 and isinstance(environment, LightningEnvironment) and "MASTER_ADDR" not in os.environ:
        raise InputError(
            f"trainer.num_nodes is {trainer.num_nodes}, but neither torchrun nor SLURM started this process; "
            "on a single machine, give --trainer.num_nodes 1"
        )
    if getattr(strategy, "_layer_sync", None) is not None and strategy.root_device.type == "cpu":
        raise InputError(
            "trainer.sync_batchnorm works on GPUs only; use norm_layer: group, which needs no synchronization"
        )


def _check_monitor(option: str, monitor: str, model: ImageClassifier, data: LightningDataModule | None) -> None:
    stage = monitor.partition("/")[0]
    known = {f"val/{name}" for name in model.val_metrics.names(getattr(data, "class_names", ()))}
    known |= {f"train/{name}" for name in (*model.train_metrics.by_name(), "images_per_second", "grad_norm")}
    if monitor not in known and stage in ("train", "val", "test", monitor):
        raise InputError(f"{option} is {monitor!r}, which is not measured; {did_you_mean(monitor, known)}")
