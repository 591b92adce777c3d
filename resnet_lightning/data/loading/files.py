"""Lists image files, stores their paths in little memory, and reads them."""

import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from ...errors import InputError
from ..augmentation.boxes import Boxes
from ..augmentation.draws import Integers
from .decode import EXTENSIONS, UnreadableImage, read_image, resize, scale_and_cut, size_of

_log = logging.getLogger(__name__)

_OF_SYSTEMS = {
    *("@eadir", "@recycle", "@recently-snapshot", "@transcode", "#recycle", "#snapshot"),  # Synology and QNAP
    *("__macosx", "network trash folder", "temporary items"),  # macOS
    *("$recycle.bin", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini"),  # Windows
    *("lost+found", "__pycache__"),
}

_AT_ONCE = 50
"""How many images a thread reads before it takes the next ones."""

_SMALL_FILE = 8 * 1024
"""The bytes below which an image is decoded faster by one thread than by several, which wait for each other."""


class FileNames:
    """The paths of many files, in two arrays.

    A list of a million strings is a million objects, and each use changes a reference count. In a worker process every
    such change copies a page of the memory that it shares with its parent.
    """

    def __init__(self, names: Iterable[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._bytes = np.frombuffer(b"".join(encoded), np.uint8)
        self._ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[str]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> str:
        if not 0 <= number < len(self):
            raise IndexError(number)
        first = self._ends[number - 1] if number else 0
        return os.fsdecode(self._bytes[first : self._ends[number]].tobytes())

    def relative(self) -> tuple[bytes, bytes]:
        """Returns all names without the prefix that they share, and their lengths: the same wherever the files are."""
        lengths = np.diff(self._ends, prepend=0)
        starts, shared = self._ends - lengths, 0
        differs = np.ones(len(self._bytes), bool)
        while len(self) and shared < lengths.min():
            if (self._bytes[starts + shared] != self._bytes[shared]).any():
                break
            differs[starts + shared] = False
            shared += 1
        return self._bytes[differs].tobytes(), (lengths - shared).tobytes()


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or belongs to an operating system or a network drive."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def walk_images(folder: str, left_out: Counter[str] | None = None) -> Iterator[str]:
    """Yields the image files below a folder, sorted by name; hidden files and other file types are skipped.

    Args:
        folder: the folder.
        left_out: counts the visible files of other types, by their extension.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"cannot list the folder {folder!r}: {error.strerror}") from error
    for entry in found:
        if is_hidden(entry.name):
            continue
        if is_folder(entry):
            yield from walk_images(entry.path, left_out)
        elif entry.name.lower().endswith(EXTENSIONS):
            yield entry.path
        elif left_out is not None:
            left_out[os.path.splitext(entry.name)[1].lower() or "without an extension"] += 1


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, and no link to one that contains it: its images would have several classes.

    Raises:
        InputError: for a link that leads to itself.
    """
    try:
        if not entry.is_dir():
            return False
    except OSError as error:
        raise InputError(f"cannot read {entry.path!r}: {error.strerror}; remove it") from error
    if not entry.is_symlink():
        return True
    leads_up = Path(entry.path).parent.resolve().is_relative_to(Path(entry.path).resolve())
    if leads_up:
        _log.warning("left out: the link %s leads to a folder that contains it", entry.path)
    return not leads_up


def images_at(places: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """Returns the image files in folders, and files that are given themselves, each once.

    Args:
        places: a folder, an image file of any name, or several of these.

    Raises:
        InputError: if there is no such file or folder, or if a folder has no image.
    """
    several = [places] if isinstance(places, str | os.PathLike) else list(places)
    found: dict[str, None] = {}
    for place in map(Path, several):
        if place.is_file():
            found[str(place)] = None
            continue
        text = os.fspath(place)
        if not place.exists() and re.match(r"\w+:/", text):
            raise InputError(f"cannot read images from {text!r}; download them first, and give their folder")
        if not place.exists() and text.lower().endswith(EXTENSIONS):
            raise InputError(f"there is no image {text!r}")
        found |= dict.fromkeys(list_images(place))
    if not found:
        raise InputError("there are no images: the list of files and folders is empty")
    return list(found)


def list_images(folder: Path, left_out: Counter[str] | None = None) -> list[str]:
    """Returns all image files below a folder, sorted by name.

    Args:
        folder: the folder.
        left_out: counts the files of other types, by their extension; by default, a line of the log counts them.

    Raises:
        InputError: if the folder does not exist or holds none.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {str(folder)!r}")
    counted: Counter[str] = Counter() if left_out is None else left_out
    files = list(walk_images(str(folder), counted))
    if not files:
        raise InputError(f"there is no image in {str(folder)!r} (looked for {' '.join(EXTENSIONS)})")
    if left_out is None:
        log_left_out(folder, counted)
    return files


@rank_zero_only
def log_left_out(folder: Path, left_out: Counter[str]) -> None:
    """Logs how many files are left out of a folder's images, if any."""
    if total := left_out.total():
        kinds = ", ".join(f"{count} {kind}" for kind, count in left_out.most_common(8) if count)
        what = "1 file is" if total == 1 else f"{total} files are"
        _log.warning("%s left out of the images in %s: %s", what, folder, kinds)


@dataclass(frozen=True)
class ImageFiles:
    """Images that are read from their files when they are needed.

    Args:
        names: the files.
        size: the side of the images in pixels; None if all files have one size, which is kept.
        shorter_side: the length to which each file's shorter side is scaled before its centre is cropped, at least
            ``size``.
        channels: 1 for grey, 3 for colour.
        expected_size: the height and width that unscaled files must have; by default those of the first file.
        white_level: the pixel value of white in grey images of more than 8 bits; None if there are none.
    """

    names: FileNames
    size: int | None
    shorter_side: int
    channels: int
    expected_size: tuple[int, int] | None = None
    white_level: float | None = None

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of all images.

        Raises:
            UnreadableImage: if the size must be read from the first file and that file cannot be read.
        """
        if self.size:
            return self.size, self.size, self.channels
        height, width = self.expected_size or size_of(self.names[0])
        return height, width, self.channels

    @property
    def nbytes(self) -> int:
        """The size of all decoded images in bytes."""
        return len(self) * int(np.prod(self.shape)) if len(self) else 0

    def read(self, number: int) -> Tensor:
        """Reads one image (C, H, W) uint8, scaled and cropped.

        Raises:
            UnreadableImage: if the file cannot be read.
            InputError: if no size was given and this image differs in size from the first.
        """
        image = read_image(self.names[number], self.channels, self.white_level)
        if self.size:
            return scale_and_cut(image, self.shorter_side, self.size)
        height, width, _ = self.shape
        if image.shape[-2:] != (height, width):
            raise InputError(
                f"the images differ in size: {self.names[0]!r} is {width}x{height} and {self.names[number]!r} is "
                f"{image.shape[-1]}x{image.shape[-2]}; give one size with --data.image_size"
            )
        return image

    def read_box(self, number: int, draw: Callable[[Integers, Integers], Boxes]) -> Tensor:
        """Reads a box of one image, scaled to (C, size, size) uint8.

        Args:
            number: which image.
            draw: returns the box in an image of this height (1,) and width (1,).

        Raises:
            UnreadableImage: if the file cannot be read.
        """
        image = read_image(self.names[number], self.channels, self.white_level)
        height, width, _ = self.shape
        box = draw(*(np.array([side]) for side in image.shape[-2:]))
        top, left, rows, columns = (int(value[0]) for value in box)
        return resize(image[:, top : top + rows, left : left + columns], height, width)

    def read_all(self, numbers: Iterable[int], on_error: str = "raise") -> tuple[Tensor, Tensor]:
        """Reads images in several threads.

        Args:
            numbers: which ones.
            on_error: ``"raise"``, or ``"skip"`` to skip images that cannot be read.

        Returns:
            The images (n, H, W, C) uint8, black where one was skipped, and which were read, (n,) bool.

        Raises:
            InputError: as ``read``.
        """
        numbers = list(numbers)
        if not numbers:
            return torch.empty(0, 0, 0, self.channels, dtype=torch.uint8), torch.ones(0, dtype=torch.bool)
        images = torch.empty(len(numbers), *self.shape, dtype=torch.uint8)
        readable = torch.ones(len(numbers), dtype=torch.bool)

        def read(place: int) -> None:
            try:
                images[place] = self.read(numbers[place]).permute(1, 2, 0)
            except UnreadableImage:
                if on_error == "raise":
                    raise
                readable[place] = False
                images[place] = 0

        def read_several(places: range) -> None:
            for place in places:
                read(place)

        with ThreadPoolExecutor(self._reading_threads(numbers)) as threads:
            parts = [range(len(numbers))[first : first + _AT_ONCE] for first in range(0, len(numbers), _AT_ONCE)]
            for _ in threads.map(read_several, parts):  # raises the exceptions of the threads
                pass
        return images, readable

    def _reading_threads(self, numbers: list[int]) -> int:
        """The number of threads that read images: one for small files, since decoding them mostly runs Python."""
        sizes = [os.path.getsize(name) for number in numbers[:: max(len(numbers) // 20, 1)]
                 if os.path.exists(name := self.names[number])]  # fmt: skip
        return cores() if not sizes or sum(sizes) / len(sizes) > _SMALL_FILE else 1

    def fingerprint(self) -> str:
        """Identifies the files' content and how they are decoded: 32 hexadecimal digits.

        The files are not read. Writing to a file changes its modification time, or at least its change time, which
        programs cannot set.
        """
        # The first entry is the version of the rules by which files are decoded.
        rules = ("2", self.size, self.shorter_side, self.channels, self.white_level)
        digest = hashlib.blake2b(repr(rules).encode(), digest_size=16)
        for name in self.names:
            try:
                state = os.stat(name)
                entry = f"{name}\0{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}\0"
            except OSError:  # a broken link; reading it raises the error or skips it
                entry = f"{name}\0\0"
            digest.update(entry.encode(errors="surrogateescape"))
        return digest.hexdigest()


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
