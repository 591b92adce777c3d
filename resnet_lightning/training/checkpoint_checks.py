"""Checks the options of the checkpoints that a training keeps."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint

from ..errors import InputError
from .callbacks import BestCheckpoint

# The checkpoints that a run resumes from.
_OURS = {"last", "previous"}

_NOT_TAKEN = {
    "save_last": "a run always keeps last.ckpt, from which it resumes; leave it out",
    "save_weights_only": "test, predict and export need the config and the classes that a whole checkpoint has; leave "
    "it out, and get the weights alone with lightning export --format safetensors",
    "save_on_exception": "the state at an exception would replace the best checkpoint; add "
    "OnExceptionCheckpoint to trainer.callbacks instead",
}


def is_measured_in_validation(monitor: str | None) -> bool:
    """Whether the name of a metric is that of a validation: ``val/acc``, ``val_loss``, ``valid_f1``."""
    return (monitor or "").startswith("val")


def check_checkpoint_options(options: Mapping[str, Any], trainer: Mapping[str, Any]) -> None:
    """Checks the options of ``BestCheckpoint``, which are those of Lightning's ``ModelCheckpoint``.

    Args:
        options: the options ``checkpoint``.
        trainer: the options ``trainer``.

    Raises:
        InputError: for an option with which the best checkpoint would not be the best, or not be found again.
    """
    for name, reason in _NOT_TAKEN.items():
        if options.get(name):
            raise InputError(f"checkpoint.{name} is {options[name]!r}; {reason}")
    _check_filename("checkpoint.filename", options.get("filename"))
    monitor, top_k = options.get("monitor"), options.get("save_top_k", 1)
    if top_k < -1 or (monitor is None and top_k > 1):
        allowed = "-1 (all), 0 (none) or 1" + ("" if monitor is None else " or more")
        without = ", since checkpoint.monitor is null" if monitor is None else ""
        raise InputError(f"checkpoint.save_top_k is {top_k}; give {allowed}{without}")
    if monitor is None or not monitor.startswith(("val", "train/")):
        return  # the user's own metric, which may be measured at any time
    when = "in the validation" if is_measured_in_validation(monitor) else "at the end of the epoch"
    for name in "every_n_train_steps", "train_time_interval":
        if options.get(name):
            raise InputError(
                f"checkpoint.{name} is {options[name]}, but {monitor} is measured {when} only; leave it out, and "
                "validate more often with trainer.val_check_interval"
            )
    at_end = options.get("save_on_train_epoch_end")
    if is_measured_in_validation(monitor):
        # In an epoch without a validation, or long after one, the last score is that of other weights.
        if at_end and (
            trainer.get("check_val_every_n_epoch") != 1 or trainer.get("val_check_interval") not in (None, 1)
        ):
            raise InputError(
                f"checkpoint.save_on_train_epoch_end is true, but {monitor} is not measured at the end of each epoch; "
                "leave it out: each validation is followed by its checkpoint"
            )
    elif at_end is False:
        raise InputError(
            f"checkpoint.save_on_train_epoch_end is false, but {monitor} is measured at the end of the epoch, after "
            "the validation; leave it out"
        )


def check_checkpoint_callbacks(trainer: Trainer, best: BestCheckpoint | None, folder: Path, is_new: bool) -> None:
    """Checks that no other callback writes the checkpoints that are ours, or makes a new run start from one.

    Args:
        trainer: the trainer, with its callbacks.
        best: the callback that keeps the best checkpoint of the run.
        folder: the folder of the run's checkpoints.
        is_new: whether the run starts without a checkpoint.

    Raises:
        InputError: naming the callback and the option.
    """
    ours = _OURS | {(best.filename or "best" if best else "best").casefold()}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if callback is best or not isinstance(callback, ModelCheckpoint | OnExceptionCheckpoint):
            continue
        if isinstance(callback, OnExceptionCheckpoint) and is_new and os.path.exists(callback.ckpt_path):
            raise InputError(  # Lightning would silently start from it
                f"OnExceptionCheckpoint has left {callback.ckpt_path!r} in an earlier run; move it away, or start from "
                "it with --ckpt_path"
            )
        where = callback.dirpath
        if where is not None and Path(os.path.realpath(where)) != Path(os.path.realpath(folder)):
            continue
        name = type(callback).__name__
        if getattr(callback, "save_last", False):
            raise InputError(f"{name}.save_last would replace last.ckpt, from which the run resumes; leave it out")
        if callback.filename and os.path.normpath(callback.filename).casefold() in ours:
            raise InputError(
                f"{name}.filename is {callback.filename!r}, the name of a checkpoint of the run; give another name"
            )


def _check_filename(option: str, filename: str | None) -> None:
    if not filename:
        return
    name = os.path.normpath(filename)
    if name.casefold() in _OURS:  # not every file system tells LAST.ckpt from last.ckpt
        raise InputError(f"{option} is {filename!r}, the name of a checkpoint that the run resumes from; give another")
    if os.path.isabs(name) or name.split(os.sep)[0] in (os.pardir, os.curdir):
        raise InputError(f"{option} is {filename!r}; give the name of a file, and its folder as checkpoint.dirpath")
    try:
        ModelCheckpoint(filename=filename).format_checkpoint_name({})
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise InputError(f"{option} is {filename!r}; write fields as in '{{epoch}}-{{step}}' ({error})") from error
