"""Checkpoints that are whole or not there: how they are written, checked and found again."""

import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.plugins import TorchCheckpointIO

from ..atomic_write import atomic_write
from ..errors import InputError

# A checkpoint is a zip archive, and an archive may end in a comment: here this, and the digest of all bytes before it.
# The checksums inside the archive are not enough, since its directory of contents has none.
_MARK = b"sha256:"
_COMMENT_LENGTH = len(_MARK) + 64


class WholeCheckpoints(TorchCheckpointIO):
    """Writes each checkpoint beside its place, with a checksum, flushes it to the disk and renames it.

    Whatever happens meanwhile, a file with a checkpoint's name is a whole one, new or old.

    Raises:
        InputError: where there is no room for it. What the file held before is still there.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        place = Path(path)
        try:
            with atomic_write(place, durable=True) as file:
                torch.save(checkpoint, file)
                _append_checksum(file)
        except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
            reason = _os_error(error)
            if reason is None:
                raise
            kept = "; the one before it is still there" if place.exists() else ""
            raise InputError(f"the checkpoint {str(place)!r} cannot be written: {reason.strerror}{kept}") from error


def save_together(trainer: Trainer, save: Callable[[], None]) -> None:
    """Saves, and where the first process cannot, ends all of them.

    Raises:
        InputError: in each process.
    """
    failure: InputError | None = None
    try:
        save()
    except InputError as error:
        failure = error
        trainer.strategy.barrier()  # where the others wait, who write nothing
    if not trainer.strategy.reduce_boolean_decision(failure is None):
        raise failure or InputError("the first process cannot write the checkpoint")


def _append_checksum(file: io.BufferedRandom) -> None:
    file.seek(-2, os.SEEK_END)  # where the archive says how long its comment is
    file.write(_COMMENT_LENGTH.to_bytes(2, "little"))
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0, os.SEEK_END)
    file.write(_MARK + digest.encode())


def _os_error(error: BaseException | None) -> OSError | None:
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def is_whole(path: Path) -> bool:
    """Whether a checkpoint is byte for byte what was written."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < _COMMENT_LENGTH:
            return False
        file.seek(-_COMMENT_LENGTH, os.SEEK_END)
        comment = file.read()
        file.seek(0)
        digest = hashlib.sha256()
        left = size - _COMMENT_LENGTH
        while left and (some := file.read(min(left, 1 << 20))):
            digest.update(some)
            left -= len(some)
    if comment.startswith(_MARK):
        return comment == _MARK + digest.hexdigest().encode()
    try:  # of another plugin for checkpoints, it has the archive's own checksums alone
        with zipfile.ZipFile(path) as archive:
            return not archive.comment and archive.testzip() is None
    except Exception:  # of many kinds, where the bytes are anything
        return False
