"""Reads a table of image files: their labels, splits and groups."""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ...errors import InputError, did_you_mean
from ..grouping import check_undivided, part_of_groups
from ..splits import every_fifth
from .split_names import splits_by_value
from .table_file import read_table

_TEST_SHARE = 0.2
_YES = ("1", "1.0", "true", "yes")
_NO_AND_YES = ("0", "0.0", "false", "no", *_YES)


class ImageTable:
    """The files, labels, splits and groups that a table lists.

    Args:
        path: a CSV file (separated by commas, semicolons or tabs) or a Parquet file, with a line of column names.
        root: the folder that the files' paths are relative to.
        file_column: the column of the paths.
        label_column: the column of the classes.
        label_separator: what separates several labels in that column, which may also be empty; None for one label.
        label_columns: columns of 0 and 1 instead, one for each label.
        split_column: the column of the splits, whose names are recognized as those of folders are; None for none.
        group_column: the column of the groups; None for none.

    Raises:
        InputError: if the table cannot be read, lacks a column or a value, or contradicts itself.
    """

    def __init__(
        self,
        path: Path,
        root: Path,
        *,
        file_column: str = "file",
        label_column: str = "label",
        label_separator: str | None = None,
        label_columns: Sequence[str] | None = None,
        split_column: str | None = None,
        group_column: str | None = None,
    ) -> None:
        self.path = path
        self.root = root
        if label_separator is not None and (label_columns or not label_separator.strip(" ")):
            why = "label_columns are given too" if label_columns else "a separator is a character such as ';'"
            raise InputError(f"data.label_separator is {label_separator!r}, but {why}; leave one of them out")
        columns = {"file": file_column, "label": label_column, "split": split_column, "group": group_column}
        if label_columns:
            del columns["label"]
        self._columns = {name: column for name, column in columns.items() if column is not None}
        self._separator = label_separator
        self._label_columns = tuple(label_columns or ())

    @property
    def multilabel(self) -> bool:
        """Whether an image may have several labels."""
        return bool(self._separator or self._label_columns)

    @cached_property
    def _rows(self) -> dict[str, list[str]]:
        """The columns that are used, as texts, each with a value for every image."""
        table = read_table(self.path)
        used = {}
        for name, column in self._columns.items():
            if column not in table:
                raise InputError(
                    f"data.{name}_column is {column!r}, which {str(self.path)!r} lacks; {did_you_mean(column, table)}"
                )
            used[name] = table[column]
            if "" in used[name] and not (name == "label" and self._separator):
                line = used[name].index("") + 2
                raise InputError(f"line {line} of {str(self.path)!r} has no {column!r}; fill it in or remove the line")
        for column in self._label_columns:
            if column not in table:
                raise InputError(
                    f"data.label_columns has {column!r}, which {str(self.path)!r} lacks; {did_you_mean(column, table)}"
                )
            for line, value in enumerate(table[column], start=2):
                if value.lower() not in _NO_AND_YES:
                    raise InputError(
                        f"line {line} of {str(self.path)!r} has {value!r} as {column!r}; data.label_columns hold 0 or 1"
                    )
            used[f"label {column}"] = table[column]
        if not used["file"]:
            raise InputError(f"{str(self.path)!r} lists no image")
        self._check_files(used)
        return used

    def _check_files(self, rows: Mapping[str, Sequence[str]]) -> None:
        """Checks that every file exists and is listed once."""
        seen: dict[str, int] = {}
        missing = []
        for line, name in enumerate(rows["file"], start=2):
            path = str(self.root / name)
            if path in seen:
                raise InputError(
                    f"lines {seen[path]} and {line} of {str(self.path)!r} list the same file, {name!r}; remove one"
                )
            seen[path] = line
            if not os.path.exists(path):
                missing.append(path)
        if missing:
            more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
            beside = self.path.parent
            is_beside = all((beside / name).exists() for name in rows["file"])
            folder = f"--data.root {str(beside)!r}, where all are" if is_beside else "another folder with --data.root"
            raise InputError(
                f"{str(self.path)!r} lists {missing[0]!r}{more}, which is not there; paths are relative to "
                f"{str(self.root)!r}, give {folder}"
            )

    def find_classes(self) -> tuple[str, ...]:
        """The classes of the training images, sorted; by value if all are whole numbers.

        Raises:
            InputError: if there are fewer than two, or if another split has others.
        """
        training = self._numbers("train")
        if self.multilabel:
            return self._find_labels(training)
        labels = self._rows["label"]
        names = {labels[number] for number in training}
        if len(names) < 2:
            raise InputError(f"the training images in {str(self.path)!r} have only one class, {next(iter(names))!r}")
        if others := set(labels) - names:
            raise InputError(f"{str(self.path)!r} has a class that no training image has: {min(others)!r}")
        is_number = all(name.isdecimal() for name in names)
        return tuple(sorted(names, key=int if is_number else None))

    def _find_labels(self, training: Sequence[int]) -> tuple[str, ...]:
        """Several labels for each image: columns keep their order."""
        found = {name for number in training for name in self._labels_of_rows[number]}
        others = {name for names in self._labels_of_rows for name in names} - found
        if never := [name for name in self._label_columns if name not in found]:
            raise InputError(f"no training image in {str(self.path)!r} has the label {never[0]!r}; leave it out")
        if others:
            raise InputError(f"{str(self.path)!r} has a label that no training image has: {min(others)!r}")
        if len(found) < 2:
            labels = ", ".join(map(repr, sorted(found))) or "none"
            raise InputError(f"the training images in {str(self.path)!r} have fewer than two labels: {labels}")
        is_number = all(name.isdecimal() for name in found)
        return self._label_columns or tuple(sorted(found, key=int if is_number else None))

    @property
    def has_validation_set(self) -> bool:
        """Whether the table has validation images in addition to test images."""
        return {"val", "test"} <= self._splits.keys()

    def folder_of(self, part: str) -> Path:
        """Returns the folder that the paths are relative to."""
        return self.root

    def first_training_image(self, name: str) -> str:
        """Returns the first training image of a class."""
        if self.multilabel:
            return self._file(self._numbers("train")[0])
        labels = self._rows["label"]
        number = next(number for number in self._numbers("train") if labels[number] == name)
        return self._file(number)

    def list_part(self, part: str, classes: Sequence[str], labels: Sequence[int]) -> tuple[list[str], Tensor]:
        """Lists the images of some classes, class after class.

        Args:
            part: ``"train"``, ``"val"`` or ``"test"``.
            classes: the names of the classes.
            labels: of each class.

        Returns:
            The files, and the label of each (N,) int64; with several labels for each image, all images of the part, and
            the labels of all classes (N, K) float32.
        """
        if self.multilabel:
            rows = self._numbers(part)
            return [self._file(number) for number in rows], self._columns_of_labels[rows]
        numbers = self._listed(part, classes)
        label_of = dict(zip(classes, labels, strict=True))
        targets = [label_of[self._rows["label"][number]] for number in numbers]
        return [self._file(number) for number in numbers], torch.tensor(targets, dtype=torch.int64)

    def groups_of(self, part: str, classes: Sequence[str]) -> Tensor | None:
        """Returns the group of each image that ``list_part`` lists, (N,) int64; None if there is no such column."""
        if "group" not in self._columns:
            return None
        return self._groups[self._numbers(part) if self.multilabel else self._listed(part, classes)]

    def _listed(self, part: str, classes: Sequence[str]) -> list[int]:
        by_class: dict[str, list[int]] = {name: [] for name in classes}
        for number in self._numbers(part):
            if (name := self._rows["label"][number]) in by_class:
                by_class[name].append(number)
        return [number for numbers in by_class.values() for number in numbers]

    @cached_property
    def _labels_of_rows(self) -> list[list[str]]:
        """The labels of every row, if there may be several."""
        if self._separator:
            cells = (label.split(self._separator) for label in self._rows["label"])
            return [[part.strip() for part in cell if part.strip()] for cell in cells]
        marks = {column: self._rows[f"label {column}"] for column in self._label_columns}
        rows = range(len(self._rows["file"]))
        return [[column for column, marked in marks.items() if marked[number].lower() in _YES] for number in rows]

    @cached_property
    def _columns_of_labels(self) -> Tensor:
        """The labels of every row, (N, K) float32."""
        place = {name: column for column, name in enumerate(self.find_classes())}
        columns = torch.zeros(len(self._labels_of_rows), len(place))
        for number, names in enumerate(self._labels_of_rows):
            columns[number, [place[name] for name in names]] = 1
        return columns

    def _file(self, number: int) -> str:
        return str(self.root / self._rows["file"][number])

    @cached_property
    def _groups(self) -> Tensor:
        names: dict[str, int] = {}
        return torch.tensor([names.setdefault(name, len(names)) for name in self._rows["group"]])

    @cached_property
    def _splits(self) -> dict[str, str]:
        """The values of the split column, by part."""
        if "split" not in self._columns:
            return {}
        splits = splits_by_value(self.path, self._columns["split"], self._rows["split"])
        if "group" in self._columns:
            check_undivided(self.path, self._rows["group"], self._rows["split"])
        return splits

    def _numbers(self, part: str) -> list[int]:
        """The rows of a part. Without a column of splits, every fifth image of each class or group is for testing."""
        if part == "val" and not self.has_validation_set:
            part = "train"
        if "test" in self._splits:
            return [number for number, split in enumerate(self._rows["split"]) if split == self._splits.get(part)]
        is_test = self._is_test.tolist()
        return [number for number, tests in enumerate(is_test) if tests == (part == "test")]

    @cached_property
    def _is_test(self) -> Tensor:
        names: dict[str, int] = {}
        if self.multilabel:
            rows = self._labels_of_rows
            for_each = [[names.setdefault(name, len(names)) for name in row] for row in rows]
            labels = torch.zeros(len(rows), len(names))
            for number, row in enumerate(for_each):
                labels[number, row] = 1
        else:
            labels = torch.tensor([names.setdefault(name, len(names)) for name in self._rows["label"]])
        if "group" not in self._columns and not self.multilabel:
            return every_fifth(labels)
        groups = self._groups if "group" in self._columns else torch.arange(len(labels))
        return part_of_groups(labels, groups, (1 - _TEST_SHARE, _TEST_SHARE), seed=0) == 1
