"""Decoded images on disk, so that a folder is decoded once and the next run starts at once."""

import contextlib
import logging
import os
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
_ABANDONED = 24 * 3600  # seconds after which a file that someone began to write has no one who finishes it


def default_cache_folder() -> Path:
    """``$XDG_CACHE_HOME/resnet_lightning``, or below ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "resnet_lightning"


class DecodedCache:
    """Arrays by their fingerprints, in files that are whole or not there.

    A file is written under another name and renamed when it is complete, so that runs that start together do each
    other no harm. Its name carries a checksum, which is compared whenever it is read; a file that fails is removed.
    Where a new file would make the folder larger than it may be, those used longest ago are removed first. Whatever
    goes wrong with the folder (it is read-only, the disk is full) is said once, and the run goes on without it.

    Args:
        folder: where the files are.
        limit: how large they may be together, in bytes.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self._given_up = False

    def load(self, fingerprint: str) -> Tensor | None:
        """The array of that fingerprint, mapped into memory, which processes of one machine then share; or None."""
        for file in sorted(self.folder.glob(f"{fingerprint}.*.npy")):
            try:
                array = np.load(file, mmap_mode="c")
                whole = _checksum(array) == file.suffixes[-2].removeprefix(".")
            except OSError:  # removed just now, or not ours to read
                continue
            except Exception:  # NumPy raises many kinds for a header that is damaged
                whole = False
            if whole:
                with contextlib.suppress(OSError):
                    os.utime(file)  # used just now
                return torch.from_numpy(array)
            _log.warning("the cached images %s are damaged; they are decoded anew", file)
            with contextlib.suppress(OSError):
                file.unlink()
        return None

    def store(self, fingerprint: str, array: Tensor) -> None:
        """Keeps an array, if there is room for it."""
        size = array.numel() * array.element_size() + _HEADER
        if size > self.limit and self.limit:
            _log.info("%s of images are not cached: the cache may be %s", in_words(size), in_words(self.limit))
        if size > self.limit or self._given_up:
            return
        values = np.ascontiguousarray(array.numpy())
        path = self.folder / f"{fingerprint}.{_checksum(values)}.npy"
        try:
            self._make_room(size)
            with atomic_write(path, durable=True, has_other_writers=True) as file:
                # Not by np.save, which does not notice where the last bytes find no room.
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
            with contextlib.suppress(FileNotFoundError):  # another run has just removed it
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
