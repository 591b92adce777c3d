"""A journal, in the run's folder, of what the run logged to Weights & Biases."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only

from ..atomic_write import atomic_write_text

RECORD = "wandb.jsonl"
"""The journal's name in a run's folder: a line for the W&B run, one for each row, and one for a clean end."""

_log = logging.getLogger(__name__)

RowKey = tuple[int | None, tuple[str, ...]]


@dataclass
class Session:
    """What one process logs to a W&B run.

    Args:
        id: W&B's id of the run.
        file: W&B's file, relative to the run's folder; empty before W&B has started.
        is_offline: whether W&B only writes that file, for ``wandb sync``.
        first_step: W&B's step of the session's first row.
    """

    id: str
    file: str
    is_offline: bool
    first_step: int


@dataclass
class Row:
    """A row that was logged.

    Args:
        number: the row's number, counted from the start of the run.
        wandb_step: W&B's step.
        step: the trainer's step, if it was given.
        metrics: the row's numbers and texts; None in place of images and the like.
    """

    number: int
    wandb_step: int
    step: int | None
    metrics: dict[str, Any]

    @property
    def key(self) -> RowKey:
        """Identifies a repeated row. Its values may differ, as those of the training speed do."""
        return self.step, tuple(sorted(self.metrics))


@dataclass
class Journal:
    """The content of a journal: one W&B run.

    Args:
        session: the newest session; None in a new run.
        rows: the rows of all sessions, in the order of W&B's steps.
        next_step: W&B's step after the newest session if it ended cleanly; None if it was killed or is still running.
    """

    session: Session | None = None
    rows: list[Row] = field(default_factory=list)
    next_step: int | None = None

    def killed_files(self, folder: Path) -> Path | None:
        """Returns the folder of W&B's files for the newest session if it was killed offline and not uploaded since."""
        if self.session is None or not self.session.is_offline or self.next_step is not None:
            return None
        file = folder / self.session.file
        has_files = file.exists() or (set_aside_path(file.parent) / file.name).exists()
        return file.parent if has_files and not _is_uploaded(file) else None

    def waits_for_upload(self, folder: Path) -> bool:
        """Whether the files of the newest session are offline and have not been uploaded by ``wandb sync``."""
        if self.session is None or not self.session.is_offline:
            return False
        file = folder / self.session.file
        return self.killed_files(folder) is not None or (file.exists() and not _is_uploaded(file))


def _is_uploaded(file: Path) -> bool:
    return file.with_name(f"{file.name}.synced").exists()


def set_aside_path(files: Path) -> Path:
    """Returns the new path of the W&B files of a killed session, which ``wandb sync`` does not upload."""
    return files.with_name(f"killed-{files.name}")


def read_journal(path: Path) -> Journal:
    """Reads a journal. If it is missing or damaged, the result is empty; a damaged file is renamed."""
    if not path.exists():
        return Journal()
    try:
        lines = path.read_text().split("\n")[:-1]  # an unfinished line belongs to a row that was not logged
        session, *entries = map(json.loads, lines)
        next_step = entries.pop()["next_step"] if entries and "next_step" in entries[-1] else None
        return Journal(Session(**session), [Row(**entry) for entry in entries], next_step)
    except (ValueError, TypeError):
        _rename_damaged(path)
        return Journal()


@rank_zero_only
def _rename_damaged(path: Path) -> None:
    path.replace(path.with_name(f"{path.name}.damaged"))
    _log.warning("%s is damaged: renamed to %s.damaged; a new W&B run starts", path, path.name)


def start_journal(path: Path, session: Session, rows: Sequence[Row] = ()) -> None:
    """Writes a journal for a new session, with the rows of earlier sessions."""
    atomic_write_text(path, "".join(_line(vars(entry)) for entry in (session, *rows)))


def append_row(path: Path, row: Row) -> None:
    with path.open("a") as file:
        file.write(_line(vars(row)))


def append_end(path: Path, next_step: int) -> None:
    """Records that the newest session ended cleanly: W&B has all of its rows."""
    with path.open("a") as file:
        file.write(_line({"next_step": next_step}))


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry) + "\n"
