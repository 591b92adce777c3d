"""Notices that a run's folder is renamed, moved or deleted while the run trains."""

import os
from pathlib import Path
from typing import Self

from ..errors import InputError
from .subprocesses import is_first_process


class Place:
    """A folder, wherever it is now.

    Args:
        folder: its path; it has to exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._status = os.fstat(self._number)

    @classmethod
    def of_a_run(cls, folder: Path) -> Self | None:
        """Returns the place of a run's folder; None if it does not exist, and in all processes but the first."""
        return cls(folder) if is_first_process() and folder.is_dir() else None

    def has_moved(self) -> bool:
        """Whether the folder is no longer at its path."""
        try:
            return not os.path.samestat(self._status, os.stat(self.folder))
        except OSError:
            return True

    def now(self) -> Path | None:
        """Returns where the folder is now; None if it was deleted, or if the system does not tell."""
        if not self.has_moved():
            return self.folder
        try:
            path = Path(os.readlink(f"/proc/self/fd/{self._number}"))
            is_it = os.path.samestat(self._status, path.stat())
        except OSError:
            return None
        return path if is_it else None


class FolderMoved(InputError):
    """Raised when the run's folder is no longer where it was.

    Args:
        folder: where it was.
        now: where it is; None if it is unknown.
        what: what the run has saved there.
    """

    def __init__(self, folder: Path, now: Path | None, what: str) -> None:
        if now is None:
            super().__init__(
                f"the run's folder {str(folder)!r} was deleted, or moved to another disk, while the run was using it; "
                "nothing more is written; if it was moved, continue with --resume and its new path"
            )
        else:
            super().__init__(
                f"the run's folder {str(folder)!r} was renamed to {str(now)!r} while the run was using it; {what}; "
                "continue with --resume and its new path"
            )
