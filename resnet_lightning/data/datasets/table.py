"""Images whose labels are in a table."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..augmentation import Augmentation
from .image_folder import ImageFolderDataModule
from .image_table import ImageTable


class TableDataModule(ImageFolderDataModule):
    """Images that a table lists, one in each line: its file, its label and, if you like, its split and its group.

    Without a split column, every fifth image of each class is a test image. Validation images are held out of the
    training images if the table lists none. Images of a group, such as those of one patient, are never divided among
    training, validation and test; without a split column, a fifth of the images, in whole groups, is for testing.

    With ``label_separator`` or ``label_columns``, an image may have several labels, or none. The network then predicts
    the probability of each label by itself, see ``ImageClassifier``. Each split has about the same share of it.

    Images are read as those of ``ImageFolderDataModule``; see there for the other arguments.

    Args:
        table: a CSV file, separated by commas, semicolons or tabs, or a Parquet file.
        root: the folder that the files' paths are relative to; that of the table by default.
        file_column: the column of the paths.
        label_column: the column of the classes.
        label_separator: what separates several labels in that column, such as ``;``.
        label_columns: for several labels, columns of 0 and 1 instead, one for each label.
        split_column: the column of the splits, with names such as ``train``, ``val`` and ``test``.
        group_column: the column that states which images belong together.
        augment: the augmentation of training batches.

    Raises:
        InputError: if the table cannot be read, lacks a column or a value, lists a file that does not exist or one
            twice, or divides a group among splits; and as ``ImageFolderDataModule``.
    """

    def __init__(
        self,
        table: str | os.PathLike[str],
        *,
        root: str | os.PathLike[str] | None = None,
        file_column: str = "file",
        label_column: str = "label",
        label_separator: str | None = None,
        label_columns: list[str] | None = None,
        split_column: str | None = None,
        group_column: str | None = None,
        augment: Augmentation = Augmentation(flip=True),
        **options: Any,
    ) -> None:
        for name in "group", "split":
            if options.get(f"{name}_file") is not None:
                raise InputError(
                    f"data.{name}_file is for folders of classes; give the table's column as data.{name}_column"
                )
        path = Path(os.path.expanduser(table))
        folder = path.parent if root is None else Path(os.path.expanduser(root))
        self._table = ImageTable(
            path,
            folder,
            file_column=file_column,
            label_column=label_column,
            label_separator=label_separator,
            label_columns=label_columns,
            split_column=split_column,
            group_column=group_column,
        )
        super().__init__(folder, augment=augment, **options)

    @property
    def multilabel(self) -> bool:  # type: ignore[override]  # as the table has it
        return self._table.multilabel

    def make_layout(self, root: Path) -> ImageTable:
        return self._table

    def folders(self) -> Sequence[Path]:
        return [self._table.path]
