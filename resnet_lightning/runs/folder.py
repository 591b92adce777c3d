"""The folders of runs: made, found again and kept to one process at a time."""

import contextlib
import datetime
import errno
import fcntl
import itertools
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import CSVLogger

from ..errors import InputError
from .checkpoint_io import is_whole

_log = logging.getLogger(__name__)

# Tells the processes that Lightning starts for the other devices which run they belong to.
FOLDER_VARIABLE = "RESNET_LIGHTNING_RUN_FOLDER"
_PARENT_VARIABLE = "RESNET_LIGHTNING_PARENT"

# What a run may change of its trainer and still be the same run: how far it goes, on which machine, what it shows.
_OF_THE_JOB = set(
    "max_epochs max_steps max_time min_epochs min_steps accelerator devices num_nodes strategy plugins profiler logger "
    "default_root_dir enable_progress_bar enable_model_summary log_every_n_steps num_sanity_val_steps".split()
)


def folder_of_parent() -> Path | None:
    """The folder of the run that another process has begun, and started this one for."""
    return Path(os.environ[FOLDER_VARIABLE]) if {"LOCAL_RANK", FOLDER_VARIABLE} <= os.environ.keys() else None


def tell_children(folder: Path) -> None:
    """Leaves in the environment what processes that this one starts have to know."""
    os.environ.update({FOLDER_VARIABLE: str(folder), _PARENT_VARIABLE: str(os.getpid())})


def end_with_parent() -> None:
    """Ends this process soon after the one that started it, which it would wait for half an hour while it begins."""
    parent = int(os.environ[_PARENT_VARIABLE])

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        time.sleep(10)  # for what is left to do after a run that ended well
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def is_first_process() -> bool:
    return rank_zero_only.rank == 0  # type: ignore[attr-defined]


def new_folder(base: Path, name: str) -> Path:
    """Makes the folder ``base/name/<time>``.

    Raises:
        InputError: where it cannot be made.
    """
    started = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for suffix in itertools.chain([""], (f"_{n}" for n in itertools.count(2))):
        folder = base / name / f"{started}{suffix}"
        try:
            if is_first_process():
                folder.mkdir(parents=True)
        except FileExistsError:  # another run began in the same second
            continue
        except OSError as error:
            raise InputError(f"cannot make the run's folder {str(folder)!r}: {error.strerror}") from error
        return folder
    raise AssertionError("unreachable")


def remove_empty(folder: Path, levels: int) -> None:
    """Removes the folder of a run that ended before it wrote anything, and those above it, so many, if empty then."""
    with contextlib.suppress(OSError):  # not empty
        for level in (folder, *folder.parents)[:levels]:
            level.rmdir()


def find_run(base: Path, name: str, config: str) -> Path | None:
    """The newest folder of a run with this config, however far it was to go, that no process is writing to.

    Args:
        base: where runs are kept.
        name: of the run.
        config: the whole config as YAML.
    """
    wanted = _what_makes_a_run(yaml.safe_load(config))
    folders = sorted((base / name).glob("*/config.yaml"), key=lambda file: file.parent.name, reverse=True)
    for file in folders:
        with contextlib.suppress(yaml.YAMLError, OSError):
            is_it = _what_makes_a_run(yaml.safe_load(file.read_text())) == wanted
            # The other processes of this run find it in the hands of their first.
            if is_it and not (is_first_process() and _is_locked(file.parent)):
                return file.parent
    return None


def _what_makes_a_run(config: Any) -> Any:
    if not isinstance(config, dict):
        return None
    trainer = {key: value for key, value in (config.get("trainer") or {}).items() if key not in _OF_THE_JOB}
    return {**config, "trainer": trainer, "checkpoint": None}


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a run that is whole; damaged ones are named, and put aside by the first process."""
    for path in _newest_first(folder / "checkpoints"):
        with contextlib.suppress(FileNotFoundError):  # another process of this run has just put it aside
            if is_whole(path):
                return path
            if is_first_process():
                _log.warning("%s is damaged: left alone as %s.damaged", path, path.name)
                path.replace(path.with_name(f"{path.name}.damaged"))
    return None


def _newest_first(folder: Path) -> Iterator[Path]:
    # The best one is of a moment from which a run can go on as well, but an older one or with more to repeat.
    names = "last.ckpt", "previous.ckpt"
    yield from (folder / name for name in names if (folder / name).is_file())
    others = [(path.stat().st_mtime_ns, path) for path in folder.glob("*.ckpt") if path.name not in names]
    yield from (path for _, path in sorted(others, reverse=True))


def csv_logger(folder: Path) -> CSVLogger:
    """Logs to ``metrics.csv`` in a run's folder. What is there stays, until the run goes on or begins anew."""
    logger = CSVLogger(str(folder), name="", version="")
    file, kept = folder / "metrics.csv", folder / "metrics.csv.kept"
    if is_first_process() and file.exists():
        file.replace(kept)
        _ = logger.experiment  # which would remove it
        kept.replace(file)
    return logger


class Lock:
    """Keeps a run's folder to one process; the system takes it back from a process that dies.

    Raises:
        InputError: where another process has it.
    """

    @classmethod
    def of_a_run(cls, folder: Path) -> "Lock | None":
        """The lock of a folder, which is made where it is missing; None in processes other than the first."""
        if not is_first_process():
            return None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the run's folder {str(folder)!r}: {error.strerror}") from error
        return cls(folder)

    def __init__(self, folder: Path) -> None:
        path = folder / ".lock"
        while True:
            try:
                self._file = path.open("a")
            except OSError as error:
                raise InputError(f"cannot write to the run's folder {str(folder)!r}: {error.strerror}") from error
            try:
                # Not `flock`, which the workers of a killed process would keep.
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    return  # a file system without locks, as clusters have them
                self._file.close()
                raise InputError(
                    f"another process is writing to the run {str(folder)!r}; wait for it, or end it"
                ) from error
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._file.fileno()), path.stat()):
                    return
            self._file.close()  # whoever had it has just removed it

    def release(self) -> None:
        Path(self._file.name).unlink(missing_ok=True)
        self._file.close()


def _is_locked(folder: Path) -> bool:
    try:
        Lock(folder).release()
    except InputError:
        return True
    return False
