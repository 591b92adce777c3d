"""Writes checkpoints atomically with a checksum, and verifies them."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.plugins import TorchCheckpointIO

from ..atomic_write import atomic_write
from ..checkpoint_file import append_checksum, check_file, matches_checksum, read_checkpoint
from ..errors import InputError
from .plain_values import with_plain_values


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning plugin that writes each checkpoint to a temporary file, flushes it to the disk and renames it.

    A file with a checkpoint's name is therefore always complete, even if the process is killed while writing. The file
    ends in a checksum, which is verified when it is read. Values that could not be read back are replaced or left out,
    see ``with_plain_values``.

    Raises:
        InputError: if the checkpoint cannot be written, for example because the disk is full, and an existing file of
            that name is kept; or if the checkpoint to read is missing or damaged.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        target = Path(path)
        try:
            with atomic_write(target, durable=True) as file:
                torch.save(with_plain_values(checkpoint), file)
                append_checksum(file)
        except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
            reason = _find_os_error(error)
            if reason is None:
                raise
            kept = "; the previous one was kept" if target.exists() else ""
            raise InputError(f"the checkpoint {str(target)!r} cannot be written: {reason.strerror}{kept}") from error

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = "cpu",
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        is_local = "://" not in str(path)
        if is_local and weights_only and map_location == "cpu":
            return read_checkpoint(path)
        if is_local:
            check_file(path)
        return super().load_checkpoint(Path(path), map_location, weights_only)


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


def _find_os_error(error: BaseException | None) -> OSError | None:
    """Returns the first OSError in the chain of causes of an exception."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def is_whole(path: Path) -> bool:
    """Returns whether a checkpoint is complete and undamaged, by its checksum."""
    matches = matches_checksum(path)
    if matches is not None:
        return matches
    try:  # written by another checkpoint plugin: only the archive's own checksums can be verified
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # damaged bytes raise many kinds of exceptions
        return False


def has_finite_weights(path: Path) -> bool:
    """Returns False if weights, or running statistics of norms, in a checkpoint are NaN or infinite."""
    try:
        checkpoint = read_checkpoint(path)
        weights = [*checkpoint["state_dict"].items(), *checkpoint.get("current_model_state", {}).items()]
    except (InputError, LookupError, AttributeError):  # not the checkpoint of a run; whoever reads it raises the error
        return True
    # Other buffers may be infinite, such as the mask of an attention.
    trained = ("weight", "bias", "running_mean", "running_var")
    return all(
        bool((value.isfinite() if str(name).endswith(trained) else ~value.isnan()).all())
        for name, value in weights
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    )
