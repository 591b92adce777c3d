"""The images that a run trains on, and their fingerprint, by which a resumed run notices that they have changed."""

import hashlib
import os
import zlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from ..errors import InputError
from .loading.files import FileNames
from .splits import Split

# Of a large data set, the sizes of so many files are compared, and the last bytes of so many.
_SIZES, _ENDS = 100_000, 1_000
_END = 4096  # bytes
_CHUNK = 1 << 24  # bytes


class TrainedImages:
    """The images that a run trains on, by their number and fingerprint; a checkpoint stores both."""

    def __init__(self) -> None:
        self._number_before: int | None = None  # of the checkpoint
        self._fingerprint_before: str | None = None
        self._fingerprint: str | None = None  # of this process

    def check(self, train: Split, names: FileNames | None) -> None:
        """Checks that these are the images of the checkpoint that is resumed, if there is one.

        Args:
            train: the training images.
            names: their files; None if the images have none.

        Raises:
            InputError: if not.
        """
        if self._number_before not in (None, len(train)):
            raise InputError(
                f"the checkpoint was trained on {self._number_before} images, but this data set has {len(train)}; "
                "to fine-tune on other images, give its path as --model.backbone_args.pretrained"
            )
        self._fingerprint = self._fingerprint or fingerprint_of(train, names)
        if self._fingerprint_before not in (None, self._fingerprint):
            raise InputError(
                "the checkpoint was trained on other images: since then, some were replaced, renamed or relabelled, or "
                "options such as data.split_seed choose others; restore them to resume, or, to fine-tune on these "
                "images, give its path as --model.backbone_args.pretrained"
            )

    def state_dict(self, train: Split | None) -> dict[str, Any]:
        """Returns what a checkpoint stores; the training images are None if they were not read."""
        return {"trained_on": None if train is None else len(train), "fingerprint": self._fingerprint}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores what a checkpoint stores. Older ones lack a part of it."""
        self._number_before = state_dict.get("trained_on")
        self._fingerprint_before = state_dict.get("fingerprint")


def fingerprint_of(split: Split, names: FileNames | None) -> str:
    """Returns 32 hexadecimal digits for the images and labels of a split.

    Args:
        split: the images.
        names: their files; None if the images have none.
    """
    if names is not None:
        return fingerprint_of_files(names, split.targets, split.indices)
    assert isinstance(split.images, Tensor)
    return fingerprint_of_array(split.images, split.targets, split.indices)


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
        digest.update(end_of(name))
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


def end_of(name: str) -> bytes:
    """Returns the last 4 kB of a file; none if it cannot be read."""
    try:
        with open(name, "rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _END, 0))
            return file.read()
    except OSError:
        return b""
