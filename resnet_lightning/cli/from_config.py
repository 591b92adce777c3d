"""Builds the model, data module and trainer of a config, for use from Python."""

import json
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import LightningDataModule, LightningModule, Trainer
from rich.console import Console

from ..build import importable_from, imported_from
from ..errors import InputError, did_you_mean
from ..runs.folder import free_folder
from ..training.callbacks import LastCheckpoint, RunRecord
from ..training.callbacks.run_folder import RunFolder
from ..training.trainer import find_callback
from .arguments import resolve
from .command_line import CommandLine
from .run_session import RunSession

# Options that belong to a command, with what takes their place in Python.
_OF_A_COMMAND = {
    "ckpt_path": "trainer.fit(model, data, ckpt_path=...)",
    "resume": "trainer.fit(model, data, ckpt_path=...)",
    "find": "Lightning's Tuner",
    "config": "the first argument",
    "debug": "the exception",
    "print_schema": "lightning fit --print_schema",
}


def from_config(
    config: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None
) -> tuple[LightningModule, LightningDataModule | None, Trainer]:
    """Returns the model, the data module and the trainer that ``lightning fit --config`` would train with.

    Nothing runs yet, and nothing is written: the trainer creates the run's folder when its ``fit`` is called. It
    installs no signal handlers. ``seed_everything`` of the config is applied.

    >>> model, data, trainer = from_config("digits", {"trainer.max_epochs": 3, "model.lr": 0.05})
    >>> trainer.fit(model, data)
    >>> trainer.test(model, data, ckpt_path="best")

    Classes of the user's own are looked for beside the config and in the current folder. If a class was found there,
    the folder stays at the end of ``sys.path``, so that the workers of data loaders find it too.

    Args:
        config: the path of a config, or the name of one that comes with the package.
        overrides: options by their names on the command line, such as ``{"data.batch_size": 64}``, with plain values.
            ``{"overlay": "ema"}`` applies an overlay.

    Returns:
        The model, the data module and the trainer. The data module is None if the config names none.

    Raises:
        InputError: if the input is wrong, as on the command line.
    """
    arguments = ["fit", "--config", os.fspath(config)]
    for name, value in (overrides or {}).items():
        if name in _OF_A_COMMAND:
            raise InputError(f"{name} is no override; use {_OF_A_COMMAND[name]}")
        if name.partition(".")[0] not in _GROUPS:
            raise InputError(f"unknown option {name!r}; {did_you_mean(name, _GROUPS)}")
        arguments.append(f"--{name}={_as_text(name, value)}")
    resolved = resolve(arguments, lambda folder: None)
    with importable_from(resolved.code_folders), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="LightningCLI's args parameter is intended to run")
        built = _Build(arguments, resolved, RunSession(), Console())
        found = imported_from(resolved.code_folders)
    sys.path += [folder for folder in found if folder not in sys.path]
    _detach(built.trainer, built.session.folder)
    return built.model, built.datamodule, built.trainer


_GROUPS = {"seed_everything", "data", "model", "checkpoint", "trainer", "overlay"}


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} is a {type(value).__name__}; give plain values, and a class as class_path and init_args"
        ) from error


class _Build(CommandLine):
    """Builds the objects and runs nothing."""

    def _choose_folder(self, base: Path) -> None:
        self.session.folder = free_folder(base, self.resolved.run_name)

    def fit(self, **kwargs: Any) -> None:
        """Does nothing; the caller trains."""


def _detach(trainer: Trainer, folder: Path | None) -> None:
    """Lets the trainer create its folder itself, and leaves the signals to the caller's process."""
    if last := find_callback(trainer, LastCheckpoint):
        last.handles_signals = False
    if folder and (record := find_callback(trainer, RunRecord)):
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        callbacks.insert(0, RunFolder(folder, record))
