"""The lock that reserves a run's folder for one process."""

import contextlib
import errno
import fcntl
import os
import time
from pathlib import Path

from ..errors import InputError
from .subprocesses import is_first_process

_NAME = ".lock"
_HELD_ELSEWHERE = errno.EACCES, errno.EAGAIN

# Seconds. A process that only looks for a run that is free holds its lock for a moment.
_PATIENCE = 0.5


class InUse(InputError):
    """Another process is writing to a run's folder."""


class Lock:
    """Reserves a run's folder for this process until ``release``; the system releases it when the process dies.

    On file systems without locks, as on some clusters, it does nothing.

    Raises:
        InUse: if another process holds the lock.
        InputError: if the folder cannot be written to.
    """

    @classmethod
    def of_a_run(cls, folder: Path) -> "Lock | None":
        """Creates a folder if it is missing, and locks it. Returns None in all processes of a run but the first.

        Raises:
            InputError: if another process holds the lock, or the folder cannot be created or written to.
        """
        if not is_first_process():
            return None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot create the run's folder {str(folder)!r}: {error.strerror}") from error
        return cls(folder)

    def __init__(self, folder: Path, patience: float = _PATIENCE) -> None:
        self._path = path = folder / _NAME
        until = time.monotonic() + patience
        while True:
            try:
                # Without blocking, which a named pipe would do.
                self._file = open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o666), "wb")  # noqa: SIM115
            except OSError as error:
                raise InputError(f"cannot write to the run's folder {str(folder)!r}: {error.strerror}") from error
            try:
                # Not `flock`: the data workers of a killed process would keep the lock.
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in _HELD_ELSEWHERE:
                    return  # a file system without locks
                self._file.close()
                if time.monotonic() < until:
                    time.sleep(0.01)
                    continue
                raise InUse(f"another process is writing to the run {str(folder)!r}; wait for it, or end it") from error
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._file.fileno()), path.stat()):
                    return
            self._file.close()  # its last holder has just removed it

    def release(self) -> None:
        path = self._path
        with contextlib.suppress(OSError):  # the folder may have been moved, and another run may be there
            if os.path.samestat(os.fstat(self._file.fileno()), path.stat()):
                path.unlink()
        self._file.close()


def can_lock(folder: Path) -> bool:
    """Whether this process could lock a run's folder: no other process holds the lock, and the folder is writable."""
    try:
        Lock(folder, patience=0).release()
    except InputError:
        return False
    return True


def is_held(folder: Path) -> bool:
    """Whether a process holds the lock of a run's folder, without taking it; True on file systems without locks.

    Do not call this in the process that holds the lock: in POSIX, closing the file would release it.
    """
    try:
        # Without blocking, which a named pipe would do.
        with open(os.open(folder / _NAME, os.O_RDONLY | os.O_NONBLOCK)) as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
    except OSError:
        return False
    return False
