"""Checkpoint files: the checksum at their end, and the one function that reads them."""

import hashlib
import io
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .errors import InputError, nearest

# A checkpoint is a zip archive, which may end in a comment. The comment of ours is this mark and the SHA-256 digest of
# all bytes before the comment. The archive's own checksums are not enough: they do not cover its central directory, and
# torch does not verify them.
_MARK = b"sha256:"
_PARTS = {
    "state_dict": dict,
    "hyper_parameters": Mapping,
    "global_step": int,
    "epoch": int,
    "pytorch-lightning_version": str,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "run": dict,
    "calibration": dict,
}
_PARTS_OF_RUN = {"name": str, "config": str, "data": dict}
_COMMENT_LENGTH = len(_MARK) + 64

_MOST_TIMES = 100  # how much larger than its file the tensors of a checkpoint may be
_MOST_PARTS = 1_000_000  # the number of keys and values
_DEPTH = 100  # how many containers may be nested


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU with ``weights_only=True``, which rejects files that contain code.

    The checksum of a checkpoint of this package is verified: torch reads damaged weights without an error. A file with
    the suffix ``.safetensors`` is read with the safetensors library and contains a state dict.

    Raises:
        InputError: if the file is missing, is not a checkpoint, is damaged or contains code, or if the safetensors
            library is needed and missing.
    """
    check_file(path)
    try:
        if Path(path).suffix == ".safetensors":
            return _read_safetensors(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError as error:
        raise InputError(f"{str(path)!r} needs the library safetensors: pip install safetensors") from error
    except Exception as error:  # torch raises many types of exceptions for damaged files
        raise InputError(f"{str(path)!r} is not a checkpoint, is damaged or carries code") from error
    if not isinstance(checkpoint, dict):
        raise InputError(f"{str(path)!r} is not a checkpoint: it holds a {type(checkpoint).__name__}")
    _check_layout(str(path), checkpoint)
    _check_extent(path, checkpoint)
    return checkpoint


def check_file(path: str | os.PathLike[str]) -> None:
    """Checks a file before it is read as a checkpoint.

    Raises:
        InputError: if it is missing, damaged or compressed.
    """
    check_checksum(path)
    _check_is_not_compressed(path)


def _check_layout(path: str, checkpoint: dict[str, Any]) -> None:
    """Checks the types of the parts that are read from a checkpoint, as far as it has them."""
    run = checkpoint.get("run")
    parts = {name: (checkpoint, kind) for name, kind in _PARTS.items() if name in checkpoint}
    if isinstance(run, dict):
        parts |= {name: (run, kind) for name, kind in _PARTS_OF_RUN.items() if name in run or name != "data"}
    for name, (place, kind) in parts.items():
        if not isinstance(place.get(name), kind):
            found = type(place.get(name)).__name__ if name in place else "missing"
            raise InputError(
                f"{path!r} is a malformed checkpoint: its {name!r} is {found}, and not {kind.__name__}; use another one"
            )


def check_checksum(path: str | os.PathLike[str]) -> None:
    """Checks that a file exists and, if it is a checkpoint of this package, that it is undamaged.

    Raises:
        InputError: if not.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no checkpoint {str(path)!r}{_similar_checkpoint(os.fspath(path))}")
    try:
        is_damaged = matches_checksum(path) is False
    except OSError as error:
        raise InputError(f"the checkpoint {str(path)!r} cannot be read: {error.strerror}") from error
    if is_damaged:
        raise InputError(
            f"the checkpoint {str(path)!r} is damaged: its content does not match its checksum; use a copy of it, or "
            "another checkpoint of the run"
        )


def _similar_checkpoint(name: str) -> str:
    """Returns the end of the message for a checkpoint that is missing: one that may have been meant."""
    if not name:
        return "; give the path of a file"
    if re.match(r"\w+:/", name):
        return "; download it first, and give its path"
    path = Path(name)
    folders = [path, path / "checkpoints"] if path.is_dir() else [path.parent]
    found = [str(file) for folder in folders if folder.is_dir() for file in sorted(folder.glob("*.ckpt"))]
    if path.is_dir():
        return f": that is a folder; {f'give a file, such as {found[0]!r}' if found else 'give the path of a file'}"
    names = nearest(path.name, [os.path.basename(file) for file in found])
    return f"; did you mean {str(path.with_name(names[0]))!r}?" if names else ""


def append_checksum(file: io.BufferedRandom) -> None:
    """Appends the checksum to a checkpoint that ``torch.save`` has just written to a file."""
    file.seek(-2, os.SEEK_END)  # the length of the archive's comment
    file.write(_COMMENT_LENGTH.to_bytes(2, "little"))
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0, os.SEEK_END)
    file.write(_MARK + digest.encode())


def matches_checksum(path: str | os.PathLike[str]) -> bool | None:
    """Returns whether a file matches its checksum; None if it was not written with one."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _COMMENT_LENGTH, 0))
        comment = file.read()
        if not comment.startswith(_MARK):
            return _is_without_comment(path)
        file.seek(0)
        digest = hashlib.sha256()
        remaining = size - _COMMENT_LENGTH
        while remaining and (chunk := file.read(min(remaining, 1 << 20))):
            digest.update(chunk)
            remaining -= len(chunk)
    return comment == _MARK + digest.hexdigest().encode()


def _is_without_comment(path: str | os.PathLike[str]) -> bool | None:
    """Returns None, or False if the file is an archive with a comment: ours, whose mark or end is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return False if archive.comment else None
    except Exception:  # not an archive, or one whose damage makes it unreadable
        return None


def _check_is_not_compressed(path: str | os.PathLike[str]) -> None:
    """Rejects an archive that unpacks to more than its own size: torch stores, and never compresses."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception as error:
        with open(path, "rb") as file:
            if file.read(2) != b"PK":  # not an archive: torch reads other formats too
                return
        # torch's own reader might unpack it all the same.
        raise InputError(f"{str(path)!r} is not a checkpoint, is damaged or carries code") from error
    unpacked = sum(entry.file_size for entry in entries)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or unpacked > os.path.getsize(path):
        raise InputError(
            f"{str(path)!r} is a compressed archive of {unpacked:,} bytes; torch.save never compresses a checkpoint"
        )


def _check_extent(path: str | os.PathLike[str], checkpoint: dict[str, Any]) -> None:
    """Rejects content that is far larger than the file: its tensors or lists repeat their parts, or never end."""
    size, number, level = 0, 0, [checkpoint]
    for _ in range(_DEPTH):
        parts: list[Any] = []
        for whole in level:
            if isinstance(whole, Mapping):
                parts += [*whole.keys(), *whole.values()]
            elif isinstance(whole, list | tuple | set | frozenset):
                parts += whole
            elif isinstance(whole, torch.Tensor) and whole.layout is torch.strided:
                size += whole.numel() * whole.element_size()
            if number + len(parts) > _MOST_PARTS or size > _MOST_TIMES * os.path.getsize(path):
                raise InputError(f"{str(path)!r} unpacks to many times its size, as no checkpoint of torch does")
        number += len(parts)
        if not (level := parts):
            return
    raise InputError(f"the parts of {str(path)!r} are nested more than {_DEPTH} deep, as in no checkpoint of torch")


def _read_safetensors(path: str | os.PathLike[str]) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(path)
