"""Caches decoded images on disk: a folder is decoded only once, and the next run starts immediately."""

import contextlib
import logging
import os
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.lib.format as npy
import numpy.typing as npt
import torch
from torch import Tensor

from ...atomic_write import atomic_write
from .memory import in_words

_log = logging.getLogger(__name__)

_HEADER = 128  # bytes that NumPy writes before the array
_ABANDONED = 24 * 3600  # age in seconds at which an unfinished file is assumed to be abandoned


def default_cache_folder() -> Path:
    """``$XDG_CACHE_HOME/resnet_lightning``, by default ``~/.cache/resnet_lightning``.

    A user without a home, as in some containers, has it in the folder for temporary files.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "resnet_lightning"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"resnet_lightning-{os.getuid()}"


class DecodedCache:
    """Arrays on disk, found by their fingerprints; one file each.

    Each file is complete or absent, so that runs that start together do not disturb each other. Its name contains a
    checksum, which is verified on every read; a damaged file is removed. If a new file would exceed the limit, the
    least recently used files are removed first. An error of the folder (read-only, disk full) is logged once, and the
    run continues without a cache.

    Args:
        folder: the folder of the files.
        limit: the maximum total size of the files, in bytes.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self._given_up = False

    def load(self, fingerprint: str) -> Tensor | None:
        """Returns the array with that fingerprint, or None. It is memory-mapped, so that processes share it."""
        for file in sorted(self.folder.glob(f"{fingerprint}.*.npy")):
            try:
                array = np.load(file, mmap_mode="c")
                whole = _checksum(array) == file.suffixes[-2].removeprefix(".")
            except OSError:  # removed by another run, or not readable
                continue
            except Exception:  # NumPy raises many types for a damaged header
                whole = False
            if whole:
                with contextlib.suppress(OSError):
                    os.utime(file)  # its last use
                return torch.from_numpy(array)
            _log.warning("the cached images %s are damaged; decoding them again", file)
            with contextlib.suppress(OSError):
                file.unlink()
        return None

    def store(self, fingerprint: str, array: Tensor) -> None:
        """Stores an array, if the limit allows it."""
        size = array.numel() * array.element_size() + _HEADER
        if size > self.limit and self.limit:
            _log.info("%s of images are not cached: the limit is %s", in_words(size), in_words(self.limit))
        if size > self.limit or self._given_up:
            return
        values = np.ascontiguousarray(array.numpy())
        path = self.folder / f"{fingerprint}.{_checksum(values)}.npy"
        try:
            self._make_room(size)
            with atomic_write(path, durable=True, has_other_writers=True) as file:
                # Not with np.save, which misses a disk that is full when the last bytes are written.
                npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(values))
                file.write(values.data)
        except OSError as error:
            self._given_up = True
            _log.warning("decoded images are not cached in %s: %s", self.folder, error.strerror or error)

    def _make_room(self, size: int) -> None:
        for file in self.folder.glob("*.part"):
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > _ABANDONED:
                    file.unlink()
        kept = []
        for file in self.folder.glob("*.npy"):
            with contextlib.suppress(FileNotFoundError):  # removed by another run
                kept.append((file.stat(), file))
        kept.sort(key=lambda entry: entry[0].st_mtime)
        total = sum(state.st_size for state, _ in kept)
        for state, file in kept:
            if total + size <= self.limit:
                break
            file.unlink(missing_ok=True)
            total -= state.st_size


def _checksum(array: npt.NDArray[Any]) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(array).data):08x}"
