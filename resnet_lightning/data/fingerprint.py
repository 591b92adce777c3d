"""The fingerprint of a training set, by which a resumed run notices that its images have changed."""

import hashlib
import os
import zlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from .loading.files import FileNames

# Of a large data set, the sizes of so many files are compared, and the last bytes of so many.
_SIZES, _ENDS = 100_000, 1_000
_END = 4096  # bytes
_CHUNK = 1 << 24  # bytes


def fingerprint_of_files(names: FileNames, targets: Tensor, indices: Tensor) -> str:
    """Returns 32 hexadecimal digits for image files. A copy of them in another folder has the same fingerprint.

    It depends on all names and labels, on the sizes of at most 100,000 files and the last 4 kB of at most 1,000, which
    are spread evenly. Reading every file would take too long.

    Args:
        names: the files.
        targets: (N,), their labels.
        indices: (n,), which of them are trained on.
    """
    digest = _digest(targets, indices)
    for part in names.relative():
        digest.update(part)
    for name in _spread(names, _SIZES):
        try:
            size = os.stat(name).st_size
        except OSError:  # a broken link; reading it raises the error or skips it
            size = -1
        digest.update(f"{size} ".encode())
    for name in _spread(names, _ENDS):
        digest.update(_end_of(name))
    return digest.hexdigest()


def fingerprint_of_array(images: Tensor, targets: Tensor, indices: Tensor) -> str:
    """Returns 32 hexadecimal digits for images in memory; it depends on every pixel and label.

    Args:
        images: (N, H, W, C) uint8.
        targets: (N,), their labels.
        indices: (n,), which of them are trained on.
    """
    digest = _digest(targets, indices)
    digest.update(repr(tuple(images.shape)).encode())
    pixels: Any = images.contiguous().view(-1).numpy()
    checksum = 0  # CRC-32 is several times faster than a digest, and the changes to notice are no attacks
    for start in range(0, len(pixels), _CHUNK):
        checksum = zlib.crc32(pixels[start : start + _CHUNK], checksum)
    digest.update(f"{checksum}".encode())
    return digest.hexdigest()


def _digest(targets: Tensor, indices: Tensor) -> "hashlib.blake2b":
    digest = hashlib.blake2b(digest_size=16)
    for numbers in targets, indices:
        digest.update(numbers.long().numpy().tobytes())
    return digest


def _spread(names: FileNames, at_most: int) -> Iterator[str]:
    """Yields at most so many names, evenly spread."""
    return (names[number] for number in range(0, len(names), max(-(-len(names) // at_most), 1)))


def _end_of(name: str) -> bytes:
    try:
        with open(name, "rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _END, 0))
            return file.read()
    except OSError:
        return b""
