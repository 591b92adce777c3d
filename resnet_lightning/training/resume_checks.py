"""Checks that a checkpoint fits the model, the data and the config of a run."""

from collections.abc import Mapping
from typing import Any

import yaml
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden

from ..errors import InputError
from ..models.weights import check_state_dict
from ..runs.configs import MISSING, differences, flatten, stored_config
from .state_checks import check_callback_states, check_progress

# Arguments of a backbone that may change: they leave its layers and its logits in eval mode as they are.
_MAY_CHANGE = {"pretrained", "may_differ", "frozen_stages", "drop_rate", "drop_path_rate"}


def check_checkpoint(
    path: str,
    checkpoint: Mapping[str, Any],
    trainer: Trainer,
    model: LightningModule,
    data: LightningDataModule | None,
) -> None:
    """Checks that a checkpoint belongs to a model and its data.

    Args:
        path: the path of the checkpoint, for the message.
        checkpoint: the content of the file.
        trainer: the trainer that loads it.
        model: the model that gets its weights.
        data: the data module; the checkpoint must have been trained on the same classes. None if there is none.

    Raises:
        InputError: if it does not.
    """
    for key in "state_dict", "pytorch-lightning_version":
        if key not in checkpoint:
            raise InputError(f"{path!r} is not the checkpoint of a run: it has no {key!r}")
    if isinstance(trainer.strategy, ModelParallelStrategy):
        check_is_sharded(path, checkpoint)
    check_net(path, checkpoint.get("hyper_parameters", {}), model.hparams)
    # A module that overrides configure_model may have no layers yet.
    if model.strict_loading and not (is_overridden("configure_model", model) and not list(model.parameters())):
        check_state_dict(model.state_dict(), checkpoint["state_dict"], repr(path))
    if "run" in checkpoint and data is not None:
        data.load_state_dict(checkpoint["run"]["data"])


def check_resumable(path: str, checkpoint: Mapping[str, Any], trainer: Trainer, config: str) -> None:
    """Checks that a training can continue from a checkpoint.

    Args:
        path: the path of the checkpoint, for the message.
        checkpoint: the content of the file.
        trainer: the trainer of this run.
        config: the config of this run, as YAML.

    Raises:
        InputError: if it cannot.
    """
    if "optimizer_states" not in checkpoint:
        raise InputError(f"{path!r} holds only weights; a training cannot resume from it")
    if "run" not in checkpoint:
        raise InputError(f"{path!r} was not written by a run of this program; a training cannot resume from it")
    before, now = stored_config(checkpoint["run"]["config"]), yaml.safe_load(config)
    check_progress(checkpoint)
    check_callback_states(checkpoint, trainer.callbacks)  # type: ignore[attr-defined]
    _check_length(path, checkpoint, trainer, before)
    averages = any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    if "current_model_state" in checkpoint and not averages:
        raise InputError(
            f"{path!r} holds a moving average; resume with --overlay ema, or start from the "
            "average: give the path as --model.backbone_args.pretrained"
        )
    check_training(path, before, now)


def _check_length(path: str, checkpoint: Mapping[str, Any], trainer: Trainer, before: Mapping[str, Any]) -> None:
    """Checks that the checkpoint is not beyond the end of this run. Lightning counts complete epochs."""
    epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["completed"] if "loops" in checkpoint else 0
    steps, max_epochs, max_steps = checkpoint["global_step"], trainer.max_epochs, trainer.max_steps
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    averages = any(isinstance(callback, StochasticWeightAveraging) for callback in callbacks)
    if averages and max_epochs is not None and (before.get("trainer") or {}).get("max_epochs") == max_epochs:
        epochs = min(epochs, max_epochs)  # in one epoch more, it has computed the statistics of batch normalization
    for unit, reached, end in ("epoch", epochs, max_epochs), ("step", steps, max_steps):
        if end is not None and 0 <= end < reached:
            raise InputError(
                f"{path!r} is at {unit} {reached}, but this run ends at {unit} {end}; raise --trainer.max_{unit}s"
            )


def check_net(path: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Checks that a checkpoint's weights belong to the backbone that was built, even if all shapes agree.

    Args:
        path: the path of the checkpoint, for the message.
        before: the hyper-parameters in the checkpoint.
        now: the hyper-parameters of the classifier that was built.

    Raises:
        InputError: naming the first difference.
    """
    if "backbone" in before and before["backbone"] != now.get("backbone"):
        raise InputError(
            f"{path!r} holds the backbone {before['backbone']!r}, but this run has {now.get('backbone')!r}"
        )
    args_before, args_now = (hparams.get("backbone_args") or {} for hparams in (before, now))
    for name in sorted({*args_before, *args_now} - _MAY_CHANGE):
        if args_before.get(name) != args_now.get(name):
            raise InputError(
                f"{path!r} holds a backbone with {name} {args_before.get(name)!r}, but this run has "
                f"{args_now.get(name)!r}"
            )


def check_training(path: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Checks that a checkpoint's training state fits the config of this run.

    Args:
        path: the path of the checkpoint, for the message.
        before: the config in the checkpoint.
        now: the config of this run.

    Raises:
        InputError: naming the first difference.
    """
    data = [_class_name(config.get("data")) or "the module's own data" for config in (before, now)]
    if data[0] != data[1]:
        raise InputError(
            f"{path!r} was trained on {data[0]}, but this run uses {data[1]}; to fine-tune on other images, "
            "give its path as --model.backbone_args.pretrained"
        )
    classes = [_class_name(config["model"]) or "ImageClassifier" for config in (before, now)]
    if classes[0] != classes[1]:
        raise InputError(f"{path!r} is a checkpoint of {classes[0]}, but the model of this run is {classes[1]}")
    models = [config["model"].get("init_args") or config["model"] for config in (before, now)]
    if not all("optimizer" in model and "scheduler" in model and "backbone" in model for model in models):
        return  # not an ImageClassifier: which of its options its optimizer depends on is unknown
    optimizer = [model["optimizer"] for model in models]
    if optimizer[0] != optimizer[1]:
        raise InputError(
            f"{path!r} was trained with optimizer {optimizer[0]!r}, whose state {optimizer[1]!r} cannot take over"
        )
    frozen = [(model.get("backbone_args") or {}).get("frozen_stages") for model in models]
    if frozen[0] != frozen[1]:
        raise InputError(
            f"{path!r} was trained with frozen_stages {frozen[0]}, and its optimizer state covers those weights only; "
            "to train others, give its path as --model.backbone_args.pretrained"
        )
    for name in "lr_factors", "unfreeze":
        given = [model.get(name) for model in models]
        if given[0] != given[1]:
            raise InputError(
                f"{path!r} was trained with {name} {given[0]}, which a resumed run cannot change; to train with "
                "others, give its path as --model.backbone_args.pretrained"
            )
    schedule = [model["scheduler"] for model in models]
    if schedule[0] != schedule[1] and "ReduceLROnPlateau" in schedule:
        raise InputError(
            f"{path!r} was trained with scheduler {schedule[0]!r}, whose state {schedule[1]!r} cannot take over"
        )


def _class_name(config: Any) -> str | None:
    """Returns the name of the class in a part of a config; None if it names none."""
    path = config.get("class_path") if isinstance(config, dict) else config
    return path.rpartition(".")[2] if isinstance(path, str) else None


def check_is_sharded(path: str, checkpoint: Mapping[str, Any]) -> None:
    """Checks that a checkpoint was written with FSDP.

    FSDP2 copies raw storage. It would permute the weights of any other checkpoint that are in channels_last.

    Args:
        path: the path of the checkpoint, for the message.
        checkpoint: its content.

    Raises:
        InputError: if it was written with another strategy.
    """
    config = stored_config(checkpoint["run"]["config"]) if "run" in checkpoint else {}
    strategy = config.get("trainer", {}).get("strategy")
    if not isinstance(strategy, dict) or not str(strategy.get("class_path")).endswith("ModelParallelStrategy"):
        raise InputError(
            f"{path!r} was written without FSDP, and FSDP cannot read it; give --trainer.strategy ddp, or start from "
            "its weights with --model.backbone_args.pretrained"
        )


def changes(before: str, now: str) -> list[str]:
    """Lists the options that differ between two configs in YAML: ``"model.lr: 0.1 before, 0.05 now"``."""
    found = differences([flatten(config) for config in (yaml.safe_load(now), stored_config(before))])
    return [
        f"{name}: {value_before} before, {value_now} now"
        for name, (value_now, value_before) in found.items()
        if {value_before, value_now} != {MISSING, "null"}  # an option that only one version has, at its default
    ]
