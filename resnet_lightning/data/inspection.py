"""Looks at every image of a folder or table before a training: sizes, modes, damaged files and duplicates."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import InputError
from .datasets.folder_layout import FolderLayout
from .datasets.image_folder import Layout
from .loading.decode import read_image
from .loading.files import cores
from .loading.white_level import find_white_level


@dataclass(frozen=True)
class ImageFacts:
    """What is known of one file.

    Args:
        file: its path, relative to the folder.
        split: ``train``, ``val`` or ``test``.
        labels: the number of its class; of a table with several labels for each image, those of all.
        size: height and width, upright; None if the file cannot be read.
        mode: Pillow's mode, such as ``RGB`` or ``I;16``; empty if it cannot be read.
        digest: identifies the decoded pixels, also those of files in different formats.
        sums: the sums of the pixels and of their squares in each channel, in [0, 1]: (2, 3).
        problem: why it cannot be read; empty if it can.
    """

    file: str
    split: str
    labels: tuple[int, ...]
    size: tuple[int, int] | None = None
    mode: str = ""
    digest: bytes = b""
    sums: npt.NDArray[np.float64] | None = None
    problem: str = ""


@dataclass(frozen=True)
class Inspection:
    """What was found in a folder.

    Args:
        root: the folder.
        classes: the names of the classes.
        images: all files, training images first.
        white_level: of grey images of more than 8 bits; None if there are none.
        groups: the number of groups of images that belong together; None if there are none.
    """

    root: Path
    classes: tuple[str, ...]
    images: Sequence[ImageFacts]
    white_level: float | None = None
    groups: int | None = None

    @property
    def splits(self) -> list[str]:
        """The splits that have images."""
        return list(dict.fromkeys(image.split for image in self.images))

    def counts(self) -> dict[str, list[int]]:
        """The number of images of each class, by split."""
        found = Counter((image.split, label) for image in self.images for label in image.labels)
        return {split: [found[split, label] for label in range(len(self.classes))] for split in self.splits}

    @property
    def unreadable(self) -> list[ImageFacts]:
        return [image for image in self.images if image.problem]

    @property
    def readable(self) -> list[ImageFacts]:
        return [image for image in self.images if not image.problem]

    def duplicates(self) -> list[list[ImageFacts]]:
        """Groups of images with the same pixels, those in several splits or classes first."""
        groups: dict[bytes, list[ImageFacts]] = {}
        for image in self.readable:
            groups.setdefault(image.digest, []).append(image)
        found = [group for group in groups.values() if len(group) > 1]
        return sorted(found, key=lambda group: -len({image.split for image in group}) - len({i.labels for i in group}))

    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel over all pixels of the training images, in [0, 1]."""
        used = [image for image in self.readable if image.split == "train" and image.size and image.sums is not None]
        total = sum((image.sums for image in used if image.sums is not None), np.zeros((2, 3)))
        mean, square = total / max(sum(image.size[0] * image.size[1] for image in used if image.size), 1)
        return mean.tolist(), np.sqrt(np.maximum(square - mean**2, 0)).tolist()


def inspect_folder(root: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Inspection:
    """Reads every image of a folder of class folders, in one of the layouts of ``ImageFolderDataModule``.

    Args:
        root: the folder.
        progress: is called with the number of files that have been read and the number of all files.

    Raises:
        InputError: if the folder is not of such a layout.
    """
    return inspect_layout(FolderLayout(root), root, progress)


def inspect_layout(
    layout: Layout, root: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> Inspection:
    """Reads every image of a layout, such as that of a table; see ``inspect_folder``.

    Args:
        layout: finds the classes and the files.
        root: the folder that names are relative to.
        progress: see there.

    Raises:
        InputError: if the layout is wrong.
    """
    classes = layout.find_classes()
    parts = ("train", "val", "test") if layout.has_validation_set else ("train", "test")
    files: list[tuple[str, str, tuple[int, ...]]] = []
    groups: set[int] = set()
    for part in parts:
        names, labels = layout.list_part(part, classes, range(len(classes)))
        of_images = ((int(row),) if not row.ndim else tuple(row.nonzero().flatten().tolist()) for row in labels)
        files += [(name, part, found) for name, found in zip(names, of_images, strict=True)]
        if (of_part := layout.groups_of(part, classes)) is not None:
            groups.update(of_part.tolist())
    white_level = find_white_level([name for name, part, _ in files if part == "train"], None)

    def read(file: tuple[str, str, tuple[int, ...]]) -> ImageFacts:
        return _facts(*file, root, white_level)

    images = []
    with ThreadPoolExecutor(cores()) as threads:
        for image in threads.map(read, files):
            images.append(image)
            progress(len(images), len(files))
    return Inspection(root, classes, images, white_level, len(groups) or None)


def _facts(name: str, split: str, labels: tuple[int, ...], root: Path, white_level: float | None) -> ImageFacts:
    file = os.path.relpath(name, root)
    try:
        pixels = read_image(name, 3, white_level).numpy()
        with Image.open(name) as image:
            mode = image.mode
    except InputError as error:
        return ImageFacts(file, split, labels, problem=str(error))
    size = pixels.shape[1], pixels.shape[2]
    digest = hashlib.blake2b(repr(size).encode() + pixels.tobytes(), digest_size=16).digest()
    scaled = pixels.reshape(3, -1) / 255
    return ImageFacts(file, split, labels, size, mode, digest, np.stack([scaled.sum(1), (scaled**2).sum(1)]))
