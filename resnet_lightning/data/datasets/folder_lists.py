"""Class folders, with files that list which images belong together and in which split each is."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ...errors import InputError, did_you_mean
from ..grouping import check_undivided, part_of_groups
from .folder_layout import FolderLayout
from .split_names import splits_by_value
from .table_file import read_table

_TEST_SHARE = 0.2


@dataclass(frozen=True)
class _Images:
    """All images, class after class in each part: file, class, part and group of each."""

    names: list[str]
    classes: list[str]
    parts: list[str]
    groups: Tensor | None


class FolderLists:
    """The layout of class folders of which files state the groups, the splits or both.

    Args:
        folders: finds the classes and their images.
        group_file: a table with the columns ``file`` and ``group``, or with two columns in this order; None for none.
        split_file: likewise, of the columns ``file`` and ``split``.

    Without folders of splits and a file of them, a fifth of the images, in whole groups, is for testing.

    Raises:
        InputError: if a file cannot be read, does not list every image, or contradicts the folders, itself or the other
            file.
    """

    def __init__(self, folders: FolderLayout, group_file: Path | None, split_file: Path | None) -> None:
        self.folders = folders
        self._group_file = group_file
        self._split_file = split_file

    @property
    def has_validation_set(self) -> bool:
        """Whether there are validation images in addition to test images."""
        return "val" in self._images.parts

    def find_classes(self) -> tuple[str, ...]:
        """Returns the names of the folders that hold the training images, in alphabetical order.

        Raises:
            InputError: as ``FolderLayout``, and if a class has no training image.
        """
        classes = self.folders.find_classes()
        trained = {name for name, part in zip(self._images.classes, self._images.parts, strict=True) if part == "train"}
        if missing := [name for name in classes if name not in trained]:
            raise InputError(f"no training image has the class {missing[0]!r}; {self._files} put all into other splits")
        return classes

    def folder_of(self, part: str) -> Path:
        """Returns the folder of a part's images, or the folder whose images the part is taken from."""
        return self.folders.folder_of(part)

    def first_training_image(self, name: str) -> str:
        """Returns the first training image of a class."""
        return self.list_part("train", [name], [0])[0][0]

    def list_part(self, part: str, classes: Sequence[str], labels: Sequence[int]) -> tuple[list[str], Tensor]:
        """Lists the images of some classes; see ``FolderLayout.list_part``."""
        rows = self._rows(part, classes)
        label_of = dict(zip(classes, labels, strict=True))
        targets = [label_of[self._images.classes[row]] for row in rows]
        return [self._images.names[row] for row in rows], torch.tensor(targets, dtype=torch.int64)

    def groups_of(self, part: str, classes: Sequence[str]) -> Tensor | None:
        """Returns the group of each image that ``list_part`` lists, (N,) int64; None without a file of groups."""
        groups = self._images.groups
        return None if groups is None else groups[self._rows(part, classes)]

    def _rows(self, part: str, classes: Sequence[str]) -> list[int]:
        if part == "val" and not self.has_validation_set:
            part = "train"
        chosen: dict[str, list[int]] = {name: [] for name in classes}
        for row, (name, of_row) in enumerate(zip(self._images.classes, self._images.parts, strict=True)):
            if of_row == part and name in chosen:
                chosen[name].append(row)
        return [row for rows in chosen.values() for row in rows]

    @property
    def _files(self) -> str:
        return " and ".join(repr(str(file)) for file in (self._group_file, self._split_file) if file)

    @cached_property
    def _images(self) -> _Images:
        folders, classes = self.folders, self.folders.find_classes()
        if self._split_file and folders.has_test_folder:
            raise InputError(
                f"data.split_file is {str(self._split_file)!r}, but {str(folders.root)!r} has folders of splits; leave "
                "the file out, or give the folder of the class folders as data.root"
            )
        parts = ["train"]
        if folders.has_test_folder:
            parts += ["val", "test"] if folders.has_validation_set else ["test"]
        names: list[str] = []
        labels: list[int] = []
        of_folder: list[str] = []
        for part in parts:
            found, targets = folders.list_folder(part, classes, range(len(classes)))
            names, labels, of_folder = names + found, labels + targets.tolist(), of_folder + [part] * len(found)
        groups = None if self._group_file is None else self._values("group", self._group_file, names)
        numbers = {} if groups is None else {group: number for number, group in enumerate(dict.fromkeys(groups))}
        group_of = None if groups is None else torch.tensor([numbers[group] for group in groups])
        if self._split_file:
            of_folder = self._split_of(self._split_file, names)
        elif group_of is not None and not folders.has_test_folder:
            shares = 1 - _TEST_SHARE, _TEST_SHARE
            tested = part_of_groups(torch.tensor(labels), group_of, shares, seed=0)
            of_folder = ["test" if part else "train" for part in tested.tolist()]
        if groups is not None and self._group_file:
            check_undivided(self._group_file, groups, of_folder)
        return _Images(names, [classes[label] for label in labels], of_folder, group_of)

    def _split_of(self, file: Path, names: Sequence[str]) -> list[str]:
        """The part of each image; without one for testing, every image of the part ``val`` is."""
        values = self._values("split", file, names)
        part_of = {value: part for part, value in splits_by_value(file, "split", values).items()}
        if "test" not in part_of.values():
            raise InputError(
                f"no image in {str(self.folders.root)!r} has the split 'test' in {str(file)!r}; mark some images"
            )
        return [part_of[value] for value in values]

    def _values(self, column: str, file: Path, names: Sequence[str]) -> list[str]:
        """What a file states about each image in one of its columns."""
        stated = _read_list(file, column)
        root = self.folders.root
        keys = [os.path.normpath(os.path.relpath(name, root)) for name in names]
        if missing := [key for key in keys if key not in stated]:
            more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
            listed = f"it lists {next(iter(stated))!r}" if stated else "it is empty"
            raise InputError(
                f"data.{column}_file {str(file)!r} lacks the image {missing[0]!r}{more}; {listed}, and its paths are "
                f"relative to {str(root)!r}"
            )
        return [stated[key] for key in keys]


def _read_list(file: Path, column: str) -> dict[str, str]:
    """Returns the values of a column by the path of the image."""
    table = read_table(file)
    used = {name: name for name in ("file", column)}
    if len(table) == 2 and not used.keys() & table.keys():
        used = dict(zip(used, table, strict=True))
    for name in used.values():
        if name not in table:
            raise InputError(f"data.{column}_file {str(file)!r} has no column {name!r}; {did_you_mean(name, table)}")
    stated: dict[str, str] = {}
    for line, (path, value) in enumerate(zip(table[used["file"]], table[used[column]], strict=True), start=2):
        if not path or not value:
            lacking = used[column] if path else used["file"]
            raise InputError(f"line {line} of {str(file)!r} has no {lacking!r}; fill it in or remove the line")
        if stated.setdefault(os.path.normpath(path), value) != value:
            raise InputError(f"{str(file)!r} lists {path!r} twice, with different values of {used[column]!r}")
    return stated
