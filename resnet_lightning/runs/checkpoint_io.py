"""Writes checkpoints atomically with a checksum, and verifies them."""

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

# A checkpoint is a zip archive, which may end in a comment. The comment of ours is this mark and the SHA-256 digest of
# all bytes before the comment. The archive's own checksums are not enough: they do not cover its central directory.
_MARK = b"sha256:"
_COMMENT_LENGTH = len(_MARK) + 64


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning plugin that writes each checkpoint to a temporary file, flushes it to the disk and renames it.

    A file with a checkpoint's name is therefore always complete, even if the process is killed while writing. The file
    ends in a checksum.

    Raises:
        InputError: if the checkpoint cannot be written, for example because the disk is full. An existing file of that
            name is kept.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        target = Path(path)
        try:
            with atomic_write(target, durable=True) as file:
                torch.save(checkpoint, file)
                _append_checksum(file)
        except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
            reason = _find_os_error(error)
            if reason is None:
                raise
            kept = "; the previous one was kept" if target.exists() else ""
            raise InputError(f"the checkpoint {str(target)!r} cannot be written: {reason.strerror}{kept}") from error


def save_together(trainer: Trainer, save: Callable[[], None]) -> None:
    """Calls ``save`` in every process of a run, and raises in all of them if the first process fails.

    Raises:
        InputError: in every process, if the first one cannot write the checkpoint.
    """
    failure: InputError | None = None
    try:
        save()
    except InputError as error:
        failure = error
        trainer.strategy.barrier()  # the other processes write nothing and wait here
    if not trainer.strategy.reduce_boolean_decision(failure is None):
        raise failure or InputError("the first process cannot write the checkpoint")


def _append_checksum(file: io.BufferedRandom) -> None:
    file.seek(-2, os.SEEK_END)  # the length of the archive's comment
    file.write(_COMMENT_LENGTH.to_bytes(2, "little"))
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0, os.SEEK_END)
    file.write(_MARK + digest.encode())


def _find_os_error(error: BaseException | None) -> OSError | None:
    """Returns the first OSError in the chain of causes of an exception."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def is_whole(path: Path) -> bool:
    """Returns whether a checkpoint is complete and undamaged, by its checksum."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < _COMMENT_LENGTH:
            return False
        file.seek(-_COMMENT_LENGTH, os.SEEK_END)
        comment = file.read()
        file.seek(0)
        digest = hashlib.sha256()
        remaining = size - _COMMENT_LENGTH
        while remaining and (chunk := file.read(min(remaining, 1 << 20))):
            digest.update(chunk)
            remaining -= len(chunk)
    if comment.startswith(_MARK):
        return comment == _MARK + digest.hexdigest().encode()
    try:  # written by another checkpoint plugin: only the archive's own checksums can be verified
        with zipfile.ZipFile(path) as archive:
            return not archive.comment and archive.testzip() is None
    except Exception:  # damaged bytes raise many kinds of exceptions
        return False
