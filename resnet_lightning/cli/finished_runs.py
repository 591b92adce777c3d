"""What becomes of a finished run that a command names or finds: it is left alone unless it is told to go on."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape

from ..errors import InputError
from ..runs.folder import find_runs_alike
from ..runs.readable import UNREADABLE, parse_yaml, read_record, read_text
from .arguments import option_values

_LENGTHS = "max_epochs", "max_steps", "max_time"


class LeftAlone(Exception):
    """Raised when a run is finished and nothing is to be done. The message is the line to print."""


def check_saves(fast_dev_run: bool | int) -> None:
    """Checks that a command that continues a run saves something: otherwise the run would lose its results.

    Raises:
        InputError: if it does not.
    """
    if fast_dev_run:
        raise InputError(
            "--resume continues a run, and trainer.fast_dev_run (--overlay debug) saves nothing; leave out one of them"
        )


def check_goes_on(folder: Path, config: str, arguments: Sequence[str]) -> None:
    """Checks that a run that ``--resume`` names may go on.

    Args:
        folder: its folder.
        config: the config of this command, in YAML.
        arguments: the command line as typed.

    Raises:
        LeftAlone: if the run is finished, and no larger length was typed.
    """
    if not _is_finished(folder):
        return
    is_typed = any(option_values(f"--trainer.{name}", arguments) for name in _LENGTHS)
    if not (is_typed and _is_longer(config, folder)) and not _has_patience(folder, config, arguments):
        raise LeftAlone(_line(folder))


def unfinished_runs(base: Path, name: str, config: str, show: Callable[[str], None]) -> Iterator[Path]:
    """Yields the unfinished runs with this config for ``--resume auto``, the newest first; none for a new run.

    Args:
        base: the folder of all runs.
        name: the run's name.
        config: the config of this command, in YAML.
        show: prints a line.

    Raises:
        LeftAlone: after the last, if a run with this config is finished and at least as long.
    """
    finished = []
    for folder in find_runs_alike(base, name, config):
        if _is_finished(folder):
            finished.append(folder)
        else:
            yield folder
    for folder in finished:
        if not _is_longer(config, folder):
            raise LeftAlone(_line(folder))
    if finished:
        show(f"[dim]{escape(str(finished[0]))} is finished and left alone; to train it on, name it: --resume FOLDER")


def _line(folder: Path) -> str:
    return (
        f"There was nothing left to train: {folder} is finished and left alone; to train it on, give "
        f"--resume FOLDER and a larger --trainer.max_epochs"
    )


def _is_finished(folder: Path) -> bool:
    return read_record(folder).get("state") == "finished"


def _has_patience(folder: Path, config: str, arguments: Sequence[str]) -> bool:
    """Whether a run that a callback ended early goes on with another patience, which was typed."""
    if "reason" not in read_record(folder) or not any("patience" in argument for argument in arguments):
        return False
    try:
        before = parse_yaml(read_text(folder / "config.yaml"))["trainer"]
    except UNREADABLE:
        return False
    return bool(parse_yaml(config)["trainer"].get("callbacks") != before.get("callbacks"))


def _is_longer(config: str, folder: Path) -> bool:
    """Whether a config trains longer than that of a run."""
    try:
        before = parse_yaml(read_text(folder / "config.yaml"))["trainer"]
    except UNREADABLE:
        return False
    now = parse_yaml(config)["trainer"]
    return now.get("max_time") != before.get("max_time") or any(
        _length(now, name) > _length(before, name) for name in ("max_epochs", "max_steps")
    )


def _length(trainer: Mapping[str, Any], name: str) -> float:
    value = trainer.get(name)
    return float(value) if isinstance(value, int) and value >= 0 else math.inf
