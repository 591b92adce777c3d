"""Folders of class folders: finds the images of each part, and explains what is wrong with other layouts."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...errors import InputError
from ..loading.decode import EXTENSIONS
from ..loading.files import list_images, walk_images
from ..splits import every_fifth


class FolderLayout:
    """One of the layouts that ``ImageFolderDataModule`` lists.

    Args:
        root: the folder that holds the part folders or the class folders.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def has_validation_set(self) -> bool:
        """Whether there is a validation folder in addition to a test folder."""
        return self._has("val") and self._has("test")

    def find_classes(self) -> tuple[str, ...]:
        """The names of the folders that hold the training images, in alphabetical order.

        Raises:
            InputError: if there are fewer than two, or if another part has other class folders.
        """
        folder = self._folder("train")
        classes = _class_folders(folder)
        if folder == self.root and {"val", "test"} & set(classes):
            raise InputError(f"{str(self.root)!r} has images for validation or testing but no folder 'train'")
        if not classes:
            raise InputError(f"there are no class folders in {str(folder)!r}; {_hint(folder)}")
        if len(classes) == 1:
            raise InputError(f"there is only one class, {classes[0]!r}, in {str(folder)!r}")
        for part in "val", "test":
            if self._has(part):
                folder = self.root / part
                found = _class_folders(folder)
                if not found:
                    raise InputError(f"there are no class folders in {str(folder)!r}; {_hint(folder)}")
                if strange := set(found) - set(classes):
                    raise InputError(
                        f"{str(folder)!r} has a class that the training images lack: {sorted(strange)[0]!r}"
                    )
        return tuple(classes)

    def list_part(self, part: str, classes: Sequence[str], labels: Sequence[int]) -> tuple[list[str], Tensor]:
        """Lists the images of some classes.

        Args:
            part: ``"train"``, ``"val"`` or ``"test"``.
            classes: the class folders.
            labels: of each class.

        Returns:
            The files, class after class, and the label of each (N,) int64.

        Raises:
            InputError: if a folder is missing or holds no images.
        """
        names: list[str] = []
        targets: list[int] = []
        folder = self._folder(part)
        for name, label in zip(classes, labels, strict=True):
            if (folder / name).is_dir() or part == "train":
                found = list_images(folder / name)
                names += found
                targets += [label] * len(found)
        label_of = torch.tensor(targets, dtype=torch.int64)
        if self._has("test") or self._has("val"):
            return names, label_of
        marked = every_fifth(label_of) if part == "test" else ~every_fifth(label_of)
        return [name for name, kept in zip(names, marked.tolist(), strict=True) if kept], label_of[marked]

    def first_training_image(self, name: str) -> str:
        """The first training image of a class.

        Raises:
            InputError: if there is none.
        """
        folder = str(self._folder("train") / name)
        for file in walk_images(folder):
            return file
        raise InputError(f"there is no image in {folder!r}")

    def _has(self, part: str) -> bool:
        return (self.root / part).is_dir()

    def _folder(self, part: str) -> Path:
        """The folder of a part's images, or the folder whose images the part is taken from."""
        if not self.root.is_dir():
            raise InputError(f"there is no folder {str(self.root)!r}; give the images' folder with --data.root")
        if self._has(part):
            return self.root / part
        if part == "test" and self._has("val"):
            return self.root / "val"
        return self.root / "train" if self._has("train") else self.root


def _class_folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _hint(folder: Path) -> str:
    """How to fix a folder without class folders; depends on what the folder holds."""
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    archives = [name for name in names if name.endswith((".tar", ".tgz", ".tar.gz", ".zip"))]
    if archives:
        return f"unpack {archives[0]!r} and others like it, each class into a folder of its name"
    images = [name for name in names if name.lower().endswith(EXTENSIONS)]
    if images:
        return (
            f"its images, such as {images[0]!r}, lie in it directly; sort them into folders of the classes' names "
            "(ImageNet's val is distributed like this, with the labels in a separate file)"
        )
    return "the images of each class belong in a folder of the class's name"
