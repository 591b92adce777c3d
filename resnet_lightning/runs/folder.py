"""Creates the folders of runs, finds them again, and finds the checkpoint to resume from."""

import contextlib
import datetime
import errno
import itertools
import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError
from .checkpoint_io import has_finite_weights, is_whole
from .configs import flatten
from .lock import can_lock
from .metrics_logger import MetricsLogger
from .readable import UNREADABLE, parse_yaml, read_text
from .subprocesses import is_first_process

_log = logging.getLogger(__name__)

# Options that may change when a run is resumed: how long it trains, on which machine, and what it displays.
_OF_THE_JOB = (
    "max_epochs max_steps max_time min_epochs min_steps accelerator devices num_nodes strategy plugins profiler logger "
    "default_root_dir enable_progress_bar enable_model_summary log_every_n_steps num_sanity_val_steps"
)
_MAY_CHANGE = {"checkpoint", *(f"trainer.{name}" for name in _OF_THE_JOB.split())}


def local_folder(option: str, path: str | os.PathLike[str]) -> Path:
    """Returns the folder that an option names, with ``~`` expanded.

    Raises:
        InputError: if it is a URL. Runs are locked and renamed, which remote stores cannot do.
    """
    text = os.fspath(path)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise InputError(f"{option} is {text!r}; give a folder of this machine, and copy it when the run has ended")
    return Path(os.path.expanduser(text))


def make_folder(folder: Path) -> list[Path]:
    """Creates a folder, and those above it that are missing, and returns those that it has created, innermost first.

    Raises:
        InputError: if one cannot be created.
    """
    created: list[Path] = []
    try:
        for path in (*reversed(folder.parents), folder):
            with contextlib.suppress(FileExistsError):
                if not path.is_dir():
                    path.mkdir()
                    created.insert(0, path)
        if not folder.is_dir():
            raise FileExistsError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except OSError as error:
        remove_empty(created)
        raise InputError(f"cannot create the run's folder {str(folder)!r}: {error.strerror}") from error
    return created


def remove_empty(folders: Iterable[Path]) -> None:
    """Removes folders, innermost first, up to the first that is not empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


# What a run writes before it trains.
_BEFORE_TRAINING = {"config.yaml", "run.json", "metrics.csv", "hparams.yaml", "pictures/first_batch.png"}


def remove_untrained(folder: Path) -> None:
    """Removes the files of a run that has ended before it trained anything, unless others are among them."""
    paths = sorted(folder.rglob("*"), reverse=True)  # the content of a folder before the folder
    files = [path for path in paths if path.is_symlink() or not path.is_dir()]
    names = (path.relative_to(folder).as_posix() for path in files)
    if all(name in _BEFORE_TRAINING or name.startswith("tensorboard/") for name in names):
        for path in files:
            path.unlink(missing_ok=True)
        for path in paths:
            if path not in files:
                remove_empty([path])


def new_folder(base: Path, name: str) -> tuple[Path, list[Path]]:
    """Creates the folder ``base/name/<time>``. In processes other than the first, it only returns the path.

    Returns:
        The folder, and the folders that were created, innermost first.

    Raises:
        InputError: if it cannot be created.
    """
    if not is_first_process():
        return base / name / _now(), []
    created = make_folder(base / name)
    for suffix in itertools.chain([""], (f"_{n}" for n in itertools.count(2))):
        folder = base / name / f"{_now()}{suffix}"
        try:
            folder.mkdir()
        except FileExistsError:  # another run began in the same second
            continue
        except FileNotFoundError:  # another run has just removed the empty folder above
            created = make_folder(base / name)
            continue
        except OSError as error:
            remove_empty(created)
            raise InputError(f"cannot create the run's folder {str(folder)!r}: {error.strerror}") from error
        return folder, [folder, *created]
    raise AssertionError("unreachable")


def _now() -> str:
    return datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


_promised: set[Path] = set()


def free_folder(base: Path, name: str) -> Path:
    """Returns the path ``base/name/<time>`` of a folder that does not exist, each time another one."""
    started = _now()
    for suffix in itertools.chain([""], (f"_{n}" for n in itertools.count(2))):
        folder = (base / name / f"{started}{suffix}").absolute()
        if folder not in _promised and not folder.exists():
            _promised.add(folder)
            return folder
    raise AssertionError("unreachable")


def find_runs_alike(base: Path, name: str, config: str) -> Iterator[Path]:
    """Yields the folders of runs with this config that no other process is writing to, the newest first.

    Another process may take one of them before the caller has locked it.

    Args:
        base: the folder of all runs.
        name: the run's name.
        config: the whole config as YAML. Options such as ``trainer.max_epochs`` may differ.
    """
    wanted = _settings(config)
    files = sorted((base / name).glob("*/config.yaml"), key=lambda file: file.parent.name, reverse=True)
    for file in files:
        try:
            found = _settings(read_text(file))
        except UNREADABLE:  # it hides no other run
            continue
        # For the other processes of this run, the folder is locked by their first process.
        if found == wanted and (not is_first_process() or can_lock(file.parent)):
            yield file.parent


def _settings(config: str) -> dict[str, Any]:
    """Returns the options that may not change. The config of an older version lacks options, which are null today."""
    flat = flatten(parse_yaml(config), leave_out=_MAY_CHANGE)
    return {name: value for name, value in flat.items() if value is not None}


def newest_checkpoint(folder: Path) -> Path | None:
    """Returns the newest checkpoint of a run that is not damaged and whose weights are finite.

    The first process reports other checkpoints and renames them.
    """
    for path in _newest_first(folder / "checkpoints"):
        with contextlib.suppress(FileNotFoundError):  # another process of this run has just renamed it
            what = "is damaged" if not is_whole(path) else "" if has_finite_weights(path) else "has NaN in its weights"
            if not what:
                return path
            if is_first_process():
                _log.warning("%s %s: renamed to %s.damaged", path, what, path.name)
                path.replace(path.with_name(f"{path.name}.damaged"))
    return None


def set_aside_special_files(folder: Path) -> None:
    """Renames what is neither file nor folder in a run's folder, such as a named pipe: to open one may wait forever."""
    for path in list(folder.rglob("*")):
        is_special = path.exists() and not (path.is_file() or path.is_dir())
        if is_special and path.suffix != ".damaged":
            _log.warning("%s is no file: renamed to %s.damaged", path, path.name)
            path.replace(path.with_name(f"{path.name}.damaged"))


def _newest_first(folder: Path) -> Iterator[Path]:
    # The best checkpoint comes last: it is usually older, so that more of the training is repeated.
    names = "last.ckpt", "previous.ckpt"
    yield from (folder / name for name in names if (folder / name).is_file())
    others = [(path.stat().st_mtime_ns, path) for path in folder.glob("*.ckpt") if path.name not in names]
    yield from (path for _, path in sorted(others, reverse=True))


def csv_logger(folder: Path) -> MetricsLogger:
    """Returns a logger that writes ``metrics.csv``. An existing file is kept until the run starts or resumes."""
    logger = MetricsLogger(folder)
    file, kept = folder / "metrics.csv", folder / "metrics.csv.kept"
    if is_first_process() and file.exists():
        file.replace(kept)
        _ = logger.experiment  # would remove the file
        kept.replace(file)
    return logger
