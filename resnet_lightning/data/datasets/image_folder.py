"""Folders of images, one for each class."""

import contextlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from ...errors import InputError
from ..augmentation import Augmentation
from ..duplicates import shared_images
from ..loading.cache import DecodedCache, default_cache_folder
from ..loading.decode import size_of
from ..loading.files import FileNames, ImageFiles
from ..loading.white_level import find_white_level
from ..module import ImageDataModule
from ..splits import Split
from .folder_layout import FolderLayout
from .folder_lists import FolderLists

_PARTS_OF_STAGE = {"fit": ("train", "val", "test"), "validate": ("train", "val"), "test": ("test",)}
_LARGEST_SIDE = 16384  # pixels; an image of this size takes 0.8 GB
_MEASURED = 1000  # images on which the white level, and those that are streamed also mean and std, are measured


class Layout(Protocol):
    """Finds the classes and the files of a data set. See ``FolderLayout`` for the methods."""

    @property
    def has_validation_set(self) -> bool: ...

    def find_classes(self) -> tuple[str, ...]: ...

    def folder_of(self, part: str) -> Path: ...

    def first_training_image(self, name: str) -> str: ...

    def list_part(self, part: str, classes: Sequence[str], labels: Sequence[int]) -> tuple[list[str], Tensor]: ...

    def groups_of(self, part: str, classes: Sequence[str]) -> Tensor | None: ...


class ImageFolderDataModule(ImageDataModule):
    """A folder of class folders of images, in one of these layouts:

    - ``root/train/<class>/*`` and ``root/test/<class>/*``;
    - the same plus ``root/val/<class>/*``, the validation images;
    - ``root/train`` and ``root/val`` alone, as in ImageNet: ``val`` is then the test set;
    - ``root/train/<class>/*`` or ``root/<class>/*`` alone: every fifth image of each class, by name, is a test image.

    Other usual names of these folders, such as ``Training``, ``valid`` or ``test_set``, are recognized in upper and
    lower case. Hidden files and folders, and those of systems and network drives, such as ``@eaDir`` and
    ``__MACOSX``, are ignored.

    Images of every mode are converted to RGB and turned upright as their EXIF orientation states; of several frames,
    the first is used. Grey images of more than 8 bits for each pixel are scaled by one white level for the whole data
    set. If images fit in memory, they are decoded once and cached on disk, so that the next run starts immediately.
    Otherwise, or with ``resident: false``, worker processes stream them from files. Images of several sizes need
    ``image_size``. See ``ImageDataModule`` for the other arguments.

    Args:
        root: the folder.
        image_size: the side of the images, cropped from the centre; None if all files have one size.
        shorter_side: scale each file's shorter side to this before the crop; ``image_size`` by default. ImageNet's
            usual choice is 256 for 224.
        white_level: the pixel value of white in grey images of more than 8 bits, such as 4095 for 12 bits in 16. By
            default it follows from the largest value of up to 1,000 training images: 1 for floats up to 1, otherwise
            the largest value of 8, 10, 12, 14, 16, 24 or 32 bits. An image with larger values is an error.
        group_file: a CSV or Parquet file with the columns ``file``, relative to ``root``, and ``group``. Images of a
            group, such as those of one patient, are never divided among training, validation and test.
        split_file: a file with the columns ``file`` and ``split``, which is ``train``, ``val`` or ``test``, where no
            folders state it. It may be the same file.
        augment: the augmentation of training batches.
        num_workers: processes that stream files; by default one per core, at most 16.
        on_error: what to do with an image that cannot be read: ``raise`` an error, or ``skip`` it and report the number
            of skipped images at the end.
        cache_folder: where decoded images are kept; ``~/.cache/resnet_lightning`` by default.
        cache_gb: the maximum size of that folder in gigabytes; 0 for no cache.

    Raises:
        InputError: if a folder is missing or empty, has a single class or an image that cannot be read, if test
            images have a class that training images lack, or if it is not clear which folders are splits.
    """

    can_stream: ClassVar[bool] = True

    def __init__(
        self,
        root: str | os.PathLike[str] = "data",
        *,
        image_size: int | None = None,
        shorter_side: int | None = None,
        white_level: float | None = None,
        group_file: str | os.PathLike[str] | None = None,
        split_file: str | os.PathLike[str] | None = None,
        augment: Augmentation = Augmentation(flip=True),
        num_workers: int | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        cache_folder: str | os.PathLike[str] | None = None,
        cache_gb: float = 20.0,
        **options: Any,
    ) -> None:
        for name, side in (("image_size", image_size), ("shorter_side", shorter_side)):
            if side is not None and not 1 <= side <= _LARGEST_SIDE:
                raise InputError(f"data.{name} is {side}; give the side in pixels, at most {_LARGEST_SIDE}")
        if shorter_side is not None and shorter_side < (image_size or shorter_side + 1):
            raise InputError(f"data.shorter_side is {shorter_side}; set data.image_size as well, to at most this")
        if white_level is not None and not 0 < white_level <= 2**32:
            raise InputError(
                f"data.white_level is {white_level}; give the pixel value of white, larger than 0 and at most 2**32"
            )
        if num_workers is not None and not 0 <= num_workers <= 1024:
            raise InputError(f"data.num_workers is {num_workers}; give 0 (none) or more processes, at most 1024")
        if on_error not in ("raise", "skip"):
            raise InputError(f"data.on_error is {on_error!r}; give 'raise' or 'skip'")
        if not 0 <= cache_gb < float("inf"):
            raise InputError(f"data.cache_gb is {cache_gb}; give a size in gigabytes, 0 for no cache")
        self._size = image_size
        self._given_white_level = white_level
        self._shorter_side = shorter_side or image_size or 0
        self.num_workers = num_workers
        self.on_error = on_error
        self._group_file, self._split_file = (
            None if file is None else Path(os.path.expanduser(file)) for file in (group_file, split_file)
        )
        self._layout = self.make_layout(Path(root))
        self._names: dict[str, FileNames] = {}
        self._cache = DecodedCache(Path(cache_folder or default_cache_folder()), int(cache_gb * 1e9))
        super().__init__(root, augment=augment, **options)

    def make_layout(self, root: Path) -> Layout:
        """Returns what finds classes and files; by default in folders of classes."""
        folders = FolderLayout(root)
        if self._group_file is None and self._split_file is None:
            return folders
        return FolderLists(folders, self._group_file, self._split_file)

    @property
    def image_size(self) -> int | None:  # type: ignore[override]  # known only after the first image is found
        """The given side; by default that of the training images, or None if they are not square."""
        if self._size is None:
            height, width = self._size_of_training_images
            return height if height == width else None
        return self._size

    def sizes(self) -> tuple[int | None, int]:
        return (self._size, self._shorter_side) if self._size else super().sizes()

    @cached_property
    def white_level(self) -> float | None:  # type: ignore[override]  # measured on the training images when first needed
        """The pixel value of white in grey images of more than 8 bits: given or measured; None if there are none."""
        if "train" not in self._names:
            self._list_names("train")
        names = self._names["train"]
        step = max(len(names) // _MEASURED, 1)
        return find_white_level([names[number] for number in range(0, len(names), step)], self._given_white_level)

    def find_classes(self) -> tuple[str, ...]:
        return self._layout.find_classes()

    @property
    def has_validation_set(self) -> bool:
        return self._layout.has_validation_set

    def groups(self) -> Tensor | None:
        return self._layout.groups_of("train", self.class_names)

    def folders(self) -> Sequence[Path]:
        parts = ("train", "val", "test") if self.has_validation_set else ("train", "test")
        return [self._layout.folder_of(part) for part in parts]

    def read(self, part: str) -> tuple[Any, Any]:
        files, labels = self._list(part)
        if len(files) and not self._size:
            height, width = self._size_of_training_images
            if files.shape[:2] != (height, width):
                raise InputError(
                    f"the {part} images are {files.shape[1]}x{files.shape[0]}, but the training images are "
                    f"{width}x{height}; give one size with --data.image_size"
                )
        if not self._decodes(files):
            return files, labels
        images, self._readable[part] = self._decode(files)
        return images, labels

    def folder_of(self, part: str) -> Path:
        """Returns the folder of a part's images, or the folder whose images the part is taken from."""
        return self._layout.folder_of(part)

    def name_of(self, part: str, index: int) -> str:
        return os.path.relpath(self._names[part][index], self.root)

    def shared_images(self) -> str:
        splits = {name: self.split(name) for name in ("train", "val", "test")}
        part_of = {"val": "val" if self.has_validation_set else "train"}
        return shared_images(splits, lambda name, index: self.name_of(part_of.get(name, name), index))

    def files_of(self, part: str) -> FileNames | None:
        self.split(part)
        return self._names[part]  # also if they are decoded: their pixels depend on the library that decodes them

    def _list(self, part: str) -> tuple[ImageFiles, Tensor]:
        targets = self._list_names(part)
        names, white = self._names[part], self.white_level
        return ImageFiles(names, self._size, self._shorter_side, self.in_chans, white_level=white), targets

    def _list_names(self, part: str) -> Tensor:
        """Lists the files of a part, and returns their labels (N,)."""
        labels = [self.all_classes.index(name) for name in self.class_names]
        names, targets = self._layout.list_part(part, self.class_names, labels)
        self._names[part] = FileNames(names)
        return targets

    def _decodes(self, files: ImageFiles) -> bool:
        """Whether all files are decoded into memory instead of streamed."""
        return self.placement.decodes(files, self._processes, crops_files=bool(self.augment.resized_crop))

    def _decode(self, files: ImageFiles) -> tuple[Tensor, Tensor]:
        """The images (N, H, W, C), from the cache if possible, and which files could be read, (N,) bool."""
        fingerprint = files.fingerprint()
        cached = self._cache.load(fingerprint)
        if cached is not None:
            return cached, torch.ones(len(files), dtype=torch.bool)
        images, readable = files.read_all(range(len(files)), self.on_error)
        if self._is_first_on_its_machine:
            self._streams.unreadable.update(files.names[int(number)] for number in (~readable).nonzero())
            if readable.all():
                self._cache.store(fingerprint, images)
        return images, readable

    @property
    def _is_first_on_its_machine(self) -> bool:
        """Whether this process writes the cache and reports unreadable files for all processes of its machine."""
        return self.trainer is None or self.trainer.local_rank == 0

    def prepare_data(self) -> None:
        super().prepare_data()
        # One process decodes everything, and the others read its cache. Errors are ignored here: `setup` raises them in
        # all processes.
        if self._processes == 1 or self._splits or self.trainer is None:
            return
        with contextlib.suppress(InputError):
            for part in _PARTS_OF_STAGE.get(self.trainer.state.fn or "", ()):
                if part != "val" or self.has_validation_set:
                    files, _ = self._list(part)
                    if files.nbytes <= self._cache.limit and self._decodes(files):
                        self._decode(files)

    def pixels_to_measure(self, split: Split) -> tuple[Tensor, Tensor]:
        if isinstance(split.images, Tensor):
            return super().pixels_to_measure(split)
        step = max(len(split) // _MEASURED, 1)
        images, readable = split.images.read_all(split.indices[::step].tolist(), self.on_error)
        return images, readable.nonzero().flatten()

    @cached_property
    def _size_of_training_images(self) -> tuple[int, int]:
        return size_of(self._layout.first_training_image(self.class_names[0]))
