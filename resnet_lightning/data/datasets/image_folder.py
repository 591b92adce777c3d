"""Folders of images, one for each class."""

import contextlib
import os
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ...errors import InputError
from ..augmentation import Augmentation
from ..loading.cache import DecodedCache, usual_cache_folder
from ..loading.decode import EXTENSIONS, size_of
from ..loading.files import FileNames, ImageFiles, list_images, walk_images
from ..loading.memory import fits, in_words
from ..module import ImageDataModule
from ..splits import Split, every_fifth

_PARTS_OF = {"fit": ("train", "val", "test"), "validate": ("train", "val"), "test": ("test",)}
_MEASURED = 1000  # images whose mean and standard deviation stand for all, where files are read as they are needed


class ImageFolderDataModule(ImageDataModule):
    """A folder of class folders of images, in one of these layouts:

    - ``root/train/<class>/*`` and ``root/test/<class>/*``;
    - the same with ``root/val/<class>/*``, which are then the validation images;
    - ``root/train`` and ``root/val`` alone, as in ImageNet: nothing but the final test sees ``val``;
    - ``root/train/<class>/*`` or ``root/<class>/*`` alone: every fifth image of each class, by name, is for testing.

    Images of every mode become RGB. Those that fit in memory are decoded once, and kept on disk as well, so that the
    next run starts at once; else (``resident: false``) worker processes read them as they are needed. Images of
    several sizes need ``image_size``. See ``ImageDataModule`` for the other arguments.

    Args:
        root: the folder.
        image_size: the side of the images that the net sees, cut out of the middle; None where all files have one size.
        shorter_side: scale each file's shorter side to this before; ``image_size`` by default, ImageNet's usual choice
            is 256 for 224.
        augment: what training batches go through.
        num_workers: processes that read files as they are needed; one for each core by default, at most 16.
        on_error: what to do with an image that cannot be read: ``raise``, or ``skip`` it and count at the end.
        cache_folder: where decoded images are kept; ``~/.cache/resnet_lightning`` by default.
        cache_gb: how large that folder may become; 0 keeps nothing.

    Raises:
        InputError: where a folder is missing or empty, has a single class or an image that cannot be read, or where
            test images have a class that training images lack.
    """

    can_stream: ClassVar[bool] = True

    def __init__(
        self,
        root: str | os.PathLike[str] = "data",
        *,
        image_size: int | None = None,
        shorter_side: int | None = None,
        augment: Augmentation = Augmentation(flip=True),
        num_workers: int | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        cache_folder: str | os.PathLike[str] | None = None,
        cache_gb: float = 20.0,
        **options: Any,
    ) -> None:
        if image_size is not None and image_size < 1:
            raise InputError(f"data.image_size is {image_size}; give the side in pixels")
        if shorter_side is not None and shorter_side < (image_size or shorter_side + 1):
            raise InputError(f"data.shorter_side is {shorter_side}; it needs an image_size, which is not larger")
        if num_workers is not None and num_workers < 0:
            raise InputError(f"data.num_workers is {num_workers}; give 0 (none) or more processes")
        if on_error not in ("raise", "skip"):
            raise InputError(f"data.on_error is {on_error!r}; give 'raise' or 'skip'")
        if not 0 <= cache_gb < float("inf"):
            raise InputError(f"data.cache_gb is {cache_gb}; give a size in gigabytes, 0 for no cache")
        self._size = image_size
        self._shorter_side = shorter_side or image_size or 0
        self.num_workers = num_workers
        self.on_error = on_error
        self._names: dict[str, FileNames] = {}
        self._cache = DecodedCache(Path(cache_folder or usual_cache_folder()), int(cache_gb * 1e9))
        super().__init__(root, augment=augment, **options)

    @property
    def image_size(self) -> int | None:  # type: ignore[override]
        """The side that was given, or else that of the training images where they are square."""
        if self._size is None:
            height, width = self._size_of_training_images
            return height if height == width else None
        return self._size

    def sizes(self) -> tuple[int | None, int]:
        return (self._size, self._shorter_side) if self._size else super().sizes()

    def find_classes(self) -> tuple[str, ...]:
        folder = self._folder("train")
        classes = _class_folders(folder)
        if folder == self.root and {"val", "test"} & set(classes):
            raise InputError(f"{str(self.root)!r} has images for validation or testing but no folder 'train'")
        if not classes:
            raise InputError(f"there are no class folders in {str(folder)!r}; {_what_is_there(folder)}")
        if len(classes) == 1:
            raise InputError(f"there is only one class, {classes[0]!r}, in {str(folder)!r}")
        for part in "val", "test":
            if self._has(part):
                folder = self.root / part
                found = _class_folders(folder)
                if not found:
                    raise InputError(f"there are no class folders in {str(folder)!r}; {_what_is_there(folder)}")
                if strange := set(found) - set(classes):
                    raise InputError(
                        f"{str(folder)!r} has a class that the training images lack: {sorted(strange)[0]!r}"
                    )
        return tuple(classes)

    @property
    def has_validation_set(self) -> bool:
        return self._has("val") and self._has("test")

    def read(self, part: str) -> tuple[Any, Any]:
        files, labels = self._list(part)
        self._names[part] = files.names
        if len(files) and not self._size:
            height, width = self._size_of_training_images
            if files.shape[:2] != (height, width):
                raise InputError(
                    f"the {part} images are {files.shape[1]}x{files.shape[0]}, but those for training are "
                    f"{width}x{height}; give one size with --data.image_size"
                )
        if not self._lies_in_memory(files):
            return files, labels
        images, self._readable[part] = self._decode(files)
        return images, labels

    def name_of(self, part: str, index: int) -> str:
        return os.path.relpath(self._names[part][index], self.root)

    def _list(self, part: str) -> tuple[ImageFiles, Tensor]:
        names: list[str] = []
        labels: list[int] = []
        folder = self._folder(part)
        for name in self.class_names:
            if (folder / name).is_dir() or part == "train":
                found = list_images(folder / name)
                names += found
                labels += [self.all_classes.index(name)] * len(found)
        targets = torch.tensor(labels, dtype=torch.int64)
        if not self._has("test") and not self._has("val"):
            chosen = every_fifth(targets) if part == "test" else ~every_fifth(targets)
            names = [name for name, kept in zip(names, chosen.tolist(), strict=True) if kept]
            targets = targets[chosen]
        return ImageFiles(FileNames(names), self._size, self._shorter_side, self.in_chans), targets

    def _lies_in_memory(self, files: ImageFiles) -> bool:
        if self.resident != "auto":
            return self.resident is not False
        if self.augment.resized_crop:  # from the whole file: what fits in memory is not to decide what a crop shows
            return False
        if fits(torch.device("cpu"), files.nbytes * self._processes):
            return True
        self._say(f"{in_words(files.nbytes)} of images are read as they are needed: too large for the memory")
        return False

    def _decode(self, files: ImageFiles) -> tuple[Tensor, Tensor]:
        """The images (N, H, W, C), from the cache if they are there, and which of the files could be read."""
        fingerprint = files.fingerprint()
        cached = self._cache.load(fingerprint)
        if cached is not None:
            return cached, torch.ones(len(files), dtype=torch.bool)
        images, readable = files.read_all(range(len(files)), self.on_error)
        if self._speaks:
            self._streams.unreadable.update(files.names[int(number)] for number in (~readable).nonzero())
            if readable.all():
                self._cache.store(fingerprint, images)
        return images, readable

    @property
    def _speaks(self) -> bool:
        """Whether this process writes and reports what all processes of its machine see alike."""
        return self.trainer is None or self.trainer.local_rank == 0

    def prepare_data(self) -> None:
        super().prepare_data()
        # Several processes would each decode everything: one does, and the others find it in the cache. What is wrong
        # with the files is said in `setup`, by all processes alike.
        if self._processes == 1 or self._splits or self.trainer is None:
            return
        with contextlib.suppress(InputError):
            for part in _PARTS_OF.get(self.trainer.state.fn or "", ()):
                if part != "val" or self.has_validation_set:
                    files, _ = self._list(part)
                    if files.nbytes <= self._cache.limit and self._lies_in_memory(files):
                        self._decode(files)

    def pixels_to_measure(self, split: Split) -> tuple[Tensor, Tensor]:
        if isinstance(split.images, Tensor):
            return super().pixels_to_measure(split)
        step = max(len(split) // _MEASURED, 1)
        images, readable = split.images.read_all(split.indices[::step].tolist(), self.on_error)
        return images, readable.nonzero().flatten()

    @cached_property
    def _size_of_training_images(self) -> tuple[int, int]:
        for file in walk_images(str(self._folder("train") / self.class_names[0])):
            return size_of(file)
        raise InputError(f"there is no image in {str(self._folder('train') / self.class_names[0])!r}")

    def _has(self, part: str) -> bool:
        return (self.root / part).is_dir()

    def _folder(self, part: str) -> Path:
        """Where the images of a part are, or those that they are held out of."""
        if not self.root.is_dir():
            raise InputError(f"there is no folder {str(self.root)!r}; give the images' place with --data.root")
        if self._has(part):
            return self.root / part
        if part == "test" and self._has("val"):
            return self.root / "val"
        return self.root / "train" if self._has("train") else self.root


def _class_folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _what_is_there(folder: Path) -> str:
    """What a folder has instead of class folders, and what to do about it."""
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    archives = [name for name in names if name.endswith((".tar", ".tgz", ".tar.gz", ".zip"))]
    if archives:
        return f"unpack {archives[0]!r} and others like it, each class into a folder of its name"
    images = [name for name in names if name.lower().endswith(EXTENSIONS)]
    if images:
        return (
            f"its images, such as {images[0]!r}, lie in it directly; sort them into folders of the classes' names "
            "(ImageNet's val comes so, with the labels in a file beside it)"
        )
    return "the images of each class belong in a folder of the class's name"
