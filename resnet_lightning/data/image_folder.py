"""Folders of images, one for each class."""

import os
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from .augment import Augmentation
from .decode import decode_images, list_images, size_of
from .module import ImageDataModule
from .splits import every_fifth


class ImageFolderDataModule(ImageDataModule):
    """A folder of class folders of images, in one of these layouts:

    - ``root/train/<class>/*`` and ``root/test/<class>/*``;
    - the same with ``root/val/<class>/*``, which are then the validation images;
    - ``root/train`` and ``root/val`` alone, as in ImageNet: nothing but the final test sees ``val``;
    - ``root/train/<class>/*`` or ``root/<class>/*`` alone: every fifth image of each class, by name, is for testing.

    Images become RGB; they are decoded once, into memory. See ``ImageDataModule`` for the other arguments.

    Args:
        root: the folder.
        image_size: scale the shorter side to this and cut the middle out; None where all images have one size.
        augment: what training batches go through.

    Raises:
        InputError: where a folder is missing or empty, has a single class or an image that cannot be read, or where
            test images have a class that training images lack.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] = "data",
        *,
        image_size: int | None = None,
        augment: Augmentation = Augmentation(flip=True),
        **options: Any,
    ) -> None:
        if image_size is not None and image_size < 1:
            raise InputError(f"data.image_size is {image_size}; give the side in pixels")
        self._size = image_size
        super().__init__(root, augment=augment, **options)

    @property
    def image_size(self) -> int | None:  # type: ignore[override]
        """The side that was given, or else that of the training images where they are square."""
        if self._size is None:
            height, width = self._size_of_training_images()
            return height if height == width else None
        return self._size

    def find_classes(self) -> tuple[str, ...]:
        classes = _class_folders(self._folder("train"))
        if self._folder("train") == self.root and {"val", "test"} & set(classes):
            raise InputError(f"{str(self.root)!r} has images for validation or testing but no folder 'train'")
        if not classes:
            raise InputError(
                f"there are no class folders in {str(self._folder('train'))!r}; "
                "the images of each class belong in a folder of the class's name"
            )
        if len(classes) == 1:
            raise InputError(f"there is only one class, {classes[0]!r}, in {str(self._folder('train'))!r}")
        for part in "val", "test":
            strange = set(_class_folders(self._folder(part))) - set(classes)
            if self._has(part) and strange:
                folder = str(self.root / part)
                raise InputError(f"{folder!r} has a class that the training images lack: {sorted(strange)[0]!r}")
        return tuple(classes)

    @property
    def has_validation_set(self) -> bool:
        return self._has("val") and self._has("test")

    def read(self, part: str) -> tuple[Any, Any]:
        files, labels = [], []
        folder = self._folder(part)
        for name in self.class_names:
            if (folder / name).is_dir() or part == "train":
                found = list_images(folder / name)
                files += found
                labels += [self.all_classes.index(name)] * len(found)
        if not self._has("test") and not self._has("val"):
            held_out = every_fifth(torch.tensor(labels))
            chosen = held_out if part == "test" else ~held_out
            files = [file for file, kept in zip(files, chosen.tolist(), strict=True) if kept]
            labels = [label for label, kept in zip(labels, chosen.tolist(), strict=True) if kept]
        images = decode_images(files, self._size, self.in_chans)
        size = self._size_of_training_images()
        if files and not self._size and images.shape[1:3] != size:
            raise InputError(
                f"the {part} images are {images.shape[2]}x{images.shape[1]}, but those for training are "
                f"{size[1]}x{size[0]}; give one size with --data.image_size"
            )
        return images, torch.tensor(labels)

    def _size_of_training_images(self) -> tuple[int, int]:
        return size_of(list_images(self._folder("train") / self.class_names[0])[0])

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
