"""Checks the paths in the config of a checkpoint: a run must not write where the checkpoint chooses."""

import inspect
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning import LightningDataModule

from ..build import import_by_path
from ..data import ImageDataModule
from ..errors import InputError
from ..runs.stored_names import texts

# The last part of an option's name that takes a path. The others take text that is a path below one of these at most,
# such as the name of a file.
_PATH = re.compile(r".*[._](dir|dirpath|path|folder|root|file|filepath|ur[il]|location|record|output)")
# These loggers write into the run's folder, whatever they are given.
_PLACED_LOGGERS = ("TensorBoardLogger", "WandbLogger", "MLFlowLogger")


def check_paths(config: Mapping[str, Any], checkpoint: Path) -> None:
    """Checks the paths in a config.

    Those that a run writes to have to lie in the folder of the checkpoint's run, and the folder of all runs in the
    current one. Data may be read anywhere.

    Args:
        config: the options of data, checkpoint and trainer that the user has not replaced.
        checkpoint: the checkpoint's file.

    Raises:
        InputError: for another path.
    """
    here, run = [Path.cwd()], _folder_of_run(checkpoint)
    may_read = not _downloads(config.get("data"))
    for name, text in texts("data", config.get("data")):
        is_read = name.rpartition(".")[2] != "cache_folder" and (may_read or os.path.exists(text))
        if not is_read and _leads_out(text, [*here, *run]):
            _refuse(name, text)
    trainer = config.get("trainer") or {}
    if isinstance(base := trainer.get("default_root_dir"), str):
        is_where_the_run_is = bool(run) and Path(base).resolve() == run[0].parent.parent
        if not is_where_the_run_is and (_is_elsewhere(base) or not _is_in(base, here)):
            _refuse("trainer.default_root_dir", base)
    others = {name: value for name, value in trainer.items() if name not in ("default_root_dir", "logger")}
    written = {"checkpoint": config.get("checkpoint"), "trainer": others | {"logger": _loggers(trainer.get("logger"))}}
    for group, options in written.items():
        for name, text in texts(group, options):
            if _PATH.fullmatch(name) and not name.endswith(".sub_dir"):
                if _is_elsewhere(text) or not _is_in(text, run):
                    _refuse(name, text)
            elif _leads_out(text, [*here, *run]) or ".." in re.split(r"[/\\]", text):
                _refuse(name, text)


def _refuse(option: str, path: str) -> None:
    is_here = not _is_elsewhere(path) and _is_in(path, [Path.cwd()])
    outside = "outside of the run's folder" if is_here else "outside of the current folder"
    raise InputError(
        f"the checkpoint's config sets {option} to {path!r}, which is {outside}; if that is meant, give --{option}, or "
        "your own --config"
    )


def _loggers(value: Any) -> Any:
    """Returns the options of loggers without the folders of those that write into the run's folder."""
    if isinstance(value, list):
        return [_loggers(part) for part in value]
    if not isinstance(value, Mapping) or str(value.get("class_path")).rpartition(".")[2] not in _PLACED_LOGGERS:
        return value
    options = value.get("init_args")
    kept = {name: part for name, part in options.items() if name != "save_dir"} if isinstance(options, dict) else None
    return {**value, "init_args": kept}


def _downloads(data: Any) -> bool:
    """Whether a data module creates its folder: it is a data set of this package that is downloaded."""
    path = data.get("class_path") if isinstance(data, Mapping) else None
    found = import_by_path("data", path, [LightningDataModule]) if isinstance(path, str) and "." in path else None
    return inspect.isclass(found) and getattr(found, "download", None) is not ImageDataModule.download


def _folder_of_run(checkpoint: Path) -> list[Path]:
    """The run's folder, if the checkpoint is where ``lightning fit`` saves it."""
    folder = checkpoint.resolve().parent.parent
    is_run = checkpoint.resolve().parent.name == "checkpoints" and (folder / "run.json").is_file()
    return [folder] if is_run else []


def _leads_out(text: str, places: Iterable[Path]) -> bool:
    """Whether a text is a path to a place outside of some folders; text without a slash is none."""
    return _is_elsewhere(text) or (("/" in text or text == "..") and not _is_in(text, places))


def _is_elsewhere(text: str) -> bool:
    """Whether a text is a path below somebody's home, or a URL."""
    return text.startswith("~") or "://" in text


def _is_in(path: str, places: Iterable[Path]) -> bool:
    try:
        resolved = Path(path).resolve()
        return any(resolved.is_relative_to(place.resolve()) for place in places)
    except (OSError, ValueError, RuntimeError):  # a link that leads to itself
        return False
