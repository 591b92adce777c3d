"""Folders of class folders: finds the images of each part, and explains what is wrong with other layouts."""

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ...errors import InputError
from ..loading.decode import EXTENSIONS
from ..loading.files import is_folder, is_hidden, list_images, log_left_out, walk_images
from ..splits import every_fifth
from .split_names import find_splits, split_name

_log = logging.getLogger(__name__)

_LOOKED_AT = 10  # class folders that are searched for folders of splits


class FolderLayout:
    """One of the layouts that ``ImageFolderDataModule`` lists.

    Args:
        root: the folder that holds the part folders or the class folders.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._reported: set[Path] = set()

    @property
    def has_validation_set(self) -> bool:
        """Whether there is a validation folder in addition to a test folder."""
        return {"val", "test"} <= self._splits.keys()

    def find_classes(self) -> tuple[str, ...]:
        """The names of the folders that hold the training images, in alphabetical order.

        Raises:
            InputError: if there are fewer than two, if another part has other class folders, or if it is not clear
                which folders are splits and which are classes.
        """
        folder = self.folder_of("train")
        if folder == self.root and self._splits:
            raise InputError(f"{str(self.root)!r} has images for validation or testing but no folder 'train'")
        classes = _folders_in(folder)
        if not classes:
            raise InputError(f"there are no class folders in {str(folder)!r}; {_hint(folder)}")
        if len(classes) == 1:
            raise InputError(f"there is only one class, {classes[0]!r}, in {str(folder)!r}")
        self._check_nesting(folder, classes)
        for part in "val", "test":
            if part in self._splits:
                folder = self.root / self._splits[part]
                found = _folders_in(folder)
                if not found:
                    raise InputError(f"there are no class folders in {str(folder)!r}; {_hint(folder)}")
                if strange := sorted(set(found) - set(classes)):
                    alike = [name for name in classes if _compared(name) == _compared(strange[0])]
                    hint = f"; it has {alike[0]!a}, and this is {strange[0]!a}: rename one of them" if alike else ""
                    raise InputError(f"{str(folder)!r} has a class that the training images lack: {strange[0]!r}{hint}")
        return tuple(classes)

    def list_part(self, part: str, classes: Sequence[str], labels: Sequence[int]) -> tuple[list[str], Tensor]:
        """Lists the images of some classes. Files that are left out are counted in one line of the log.

        Args:
            part: ``"train"``, ``"val"`` or ``"test"``.
            classes: the class folders.
            labels: of each class.

        Returns:
            The files, class after class, and the label of each (N,) int64.

        Raises:
            InputError: if a folder is missing or holds no images.
        """
        names, label_of = self.list_folder(part, classes, labels)
        if self.has_test_folder:
            return names, label_of
        marked = every_fifth(label_of) if part == "test" else ~every_fifth(label_of)
        return [name for name, kept in zip(names, marked.tolist(), strict=True) if kept], label_of[marked]

    def groups_of(self, part: str, classes: Sequence[str]) -> None:
        """Returns None: folders do not state which images belong together. See ``FolderLists``."""

    @property
    def has_test_folder(self) -> bool:
        """Whether test images have a folder of their own; otherwise they are taken from the training images."""
        return not self._splits.keys().isdisjoint(("val", "test"))

    def list_folder(self, part: str, classes: Sequence[str], labels: Sequence[int]) -> tuple[list[str], Tensor]:
        """Lists all images of some classes in ``folder_of(part)``, as ``list_part`` does."""
        names: list[str] = []
        targets: list[int] = []
        folder = self.folder_of(part)
        left_out = Counter({"in no class folder": sum(map(_is_image, _files_in(folder)))})
        for name, label in zip(classes, labels, strict=True):
            if (folder / name).is_dir() or part == "train":
                found = list_images(folder / name, left_out)
                names += found
                targets += [label] * len(found)
        if folder not in self._reported:
            log_left_out(folder, left_out)
        self._reported.add(folder)
        label_of = torch.tensor(targets, dtype=torch.int64)
        return names, label_of

    def first_training_image(self, name: str) -> str:
        """The first training image of a class.

        Raises:
            InputError: if there is none.
        """
        folder = str(self.folder_of("train") / name)
        for file in walk_images(folder):
            return file
        raise InputError(f"there is no image in {folder!r}")

    def folder_of(self, part: str) -> Path:
        """The folder of a part's images, or the folder whose images the part is taken from.

        Raises:
            InputError: if the root does not exist, or if it is not clear which folders are splits.
        """
        if part == "val" and not self.has_validation_set:
            part = "train"
        if part in self._splits:
            return self.root / self._splits[part]
        if part == "test" and "val" in self._splits:
            return self.root / self._splits["val"]
        return self.root / self._splits.get("train", "")

    @cached_property
    def _splits(self) -> dict[str, str]:
        """The names of the folders ``train``, ``val`` and ``test`` in the root, as far as there are any."""
        if not self.root.is_dir():
            raise InputError(f"there is no folder {str(self.root)!r}; give the images' folder with --data.root")
        folders = _folders_in(self.root)
        splits = find_splits(self.root, folders)
        if splits:
            self._check_others(splits, set(folders) - set(splits.values()))
        else:
            self._check_unusual(folders)
        if "val" in splits and "test" not in splits:
            _log.info(
                "%s has no test folder: its folder %r is the test set, and validation images are held out of the "
                "training images (data.val_split)",
                self.root,
                splits["val"],
            )
        return splits

    def _check_others(self, splits: dict[str, str], others: Iterable[str]) -> None:
        """Refuses folders beside those of the splits that may be classes or splits, and logs those that are ignored."""
        ignored = []
        for name in sorted(others):
            folder = self.root / name
            if not _has_images(folder):
                continue
            if split_name(name) or any(map(_is_image, _files_in(folder))):
                raise InputError(
                    f"{name!r} lies beside {next(iter(splits.values()))!r} in {str(self.root)!r}, so that it is not "
                    "clear which of them are splits and which are classes; move all class folders into the folders "
                    "'train' and 'test', and other images elsewhere"
                )
            ignored.append(name)
        if ignored:
            _log.warning("left out of %s: the folders %s beside the splits", self.root, ", ".join(map(repr, ignored)))

    def _check_unusual(self, folders: Iterable[str]) -> None:
        """Refuses folders that are named after different splits but would be taken for classes."""
        named = [name for name in folders if split_name(name) and not any(map(_is_image, _files_in(self.root / name)))]
        parts = {found.part for name in named if (found := split_name(name))}
        if len(parts) > 1:
            raise InputError(
                f"{' and '.join(map(repr, named))} in {str(self.root)!r} look like splits, not like classes; "
                "name them 'train' and 'test'"
            )

    def _check_nesting(self, folder: Path, classes: Sequence[str]) -> None:
        """Refuses splits inside of classes, and a split among the classes of another."""
        for name in classes[:_LOOKED_AT]:
            inner = [inner for inner in _folders_in(folder / name) if (found := split_name(inner)) and not found.rest]
            if len({found.part for inner_name in inner if (found := split_name(inner_name))}) > 1:
                raise InputError(
                    f"the splits {' and '.join(map(repr, inner))} lie inside the class folder "
                    f"{str(folder / name)!r}; put the class folders into the folders of the splits instead"
                )
        for name in classes:
            if split_name(name) and set(_folders_in(folder / name)) & (set(classes) - {name}):
                raise InputError(
                    f"{str(folder / name)!r} holds folders of the same names as the classes beside it, so that it is "
                    f"not clear whether it is a class or a split; move a split to {str(self.root)!r}"
                )


def _compared(name: str) -> str:
    """A name without what a reader does not see: case, and how accents are encoded."""
    return unicodedata.normalize("NFC", name).casefold().strip()


def _folders_in(folder: Path) -> list[str]:
    """The names of the folders in a folder, without hidden ones and those of the system."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not is_hidden(entry.name) and is_folder(entry))


def _files_in(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if not is_hidden(entry.name) and not is_folder(entry)]


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def _has_images(folder: Path) -> bool:
    return next(walk_images(str(folder)), None) is not None


def _hint(folder: Path) -> str:
    """How to fix a folder without class folders; depends on what the folder holds."""
    names = sorted(entry.name for entry in folder.iterdir() if not is_hidden(entry.name))
    archives = [name for name in names if name.endswith((".tar", ".tgz", ".tar.gz", ".zip"))]
    if archives:
        return f"unpack {archives[0]!r} and others like it, each class into a folder of its name"
    images = [name for name in names if _is_image(name)]
    if images:
        return (
            f"its images, such as {images[0]!r}, lie in it directly; sort them into folders of the classes' names "
            "(ImageNet's val is distributed like this, with the labels in a separate file)"
        )
    return "the images of each class belong in a folder of the class's name"
