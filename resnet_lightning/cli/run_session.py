"""Acquires and releases the resources of a run: its folder, lock, environment variables and W&B runs."""

import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from lightning.pytorch.loggers import Logger

from ..runs import subprocesses
from ..runs.folder import (
    make_folder,
    new_folder,
    newest_checkpoint,
    remove_empty,
    remove_untrained,
    set_aside_special_files,
)
from ..runs.lock import Lock
from ..runs.wandb_logger import ResumableWandbLogger
from ..signals import PARENT_VARIABLE, Signalled, exit_code
from ..training.callbacks import Interrupted


class RunSession:
    """The folder, the lock, the environment variables and the loggers of one run, for a ``with`` statement.

    At the end, W&B runs are finished with the exit code of the program, the lock is released, and the environment is
    restored. Folders that the session created are removed if they are empty.

    Attributes:
        folder: the run's folder; None until it is chosen, and if the run saves nothing.
        loggers: the trainer's loggers.
        has_failed_early: whether the run could not begin to train. A folder that was created for it is then removed,
            unless it has files of others.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.loggers: Iterable[Logger] = ()
        self.has_failed_early = False
        self._created: list[Path] = []  # innermost first
        self._lock: Lock | None = None
        self._variables = {name: os.environ.get(name) for name in (subprocesses.FOLDER_VARIABLE, PARENT_VARIABLE)}

    def open_folder(self, folder: Path) -> Path | None:
        """Locks the folder of the run to resume. It is created if it is missing.

        Returns:
            Its newest checkpoint that is not damaged, if there is one.

        Raises:
            InputError: if another process is writing to the folder, or if it cannot be created.
        """
        if subprocesses.is_first_process():
            self._created = make_folder(folder)
        self._lock = Lock.of_a_run(folder)
        self.folder = folder
        if self._lock:
            set_aside_special_files(folder)
        return newest_checkpoint(folder)

    def new_folder(self, base: Path, name: str, lock: bool) -> None:
        """Creates a folder ``base/name/<time>``, or uses that of the process that started this one.

        Raises:
            InputError: if it cannot be created.
        """
        self.folder = subprocesses.folder_of_parent()
        if self.folder is None:
            self.folder, self._created = new_folder(base, name)
        if lock:
            self._lock = Lock.of_a_run(self.folder)

    def announce_folder(self) -> None:
        """Stores the folder in the environment, for the processes that Lightning starts for the other devices."""
        assert self.folder is not None
        subprocesses.tell_children(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            # Only after success: after an error, other processes may never arrive at the same point.
            if error is None and torch.distributed.is_initialized():
                # The group's threads could otherwise abort the process at its end.
                torch.distributed.destroy_process_group()
            for logger in self.loggers:
                if isinstance(logger, ResumableWandbLogger):
                    logger.end(_exit_code(error))
        finally:
            if self._lock:
                self._lock.release()
            if subprocesses.is_first_process():
                if self.has_failed_early and self.folder in self._created:
                    remove_untrained(self.folder)
                remove_empty(self._created)
            for name, value in self._variables.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _exit_code(error: BaseException | None) -> int:
    if error is None:
        return 0
    return exit_code(error.number) if isinstance(error, Interrupted | Signalled) else 1
