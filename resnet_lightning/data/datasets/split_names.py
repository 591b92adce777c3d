"""Recognizes the folders of a data set's splits by their usual names, such as ``train``, ``Testing`` or ``val_set``."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ...errors import InputError

_WORDS = {
    "train": ("train", "training", "trainval", "trn"),
    "val": ("val", "valid", "validation", "validating", "dev", "devel", "development"),
    "test": ("test", "testing", "tests", "tst"),
    "eval": ("eval", "evaluation"),
}
_PART_OF_WORD = {word: part for part, words in _WORDS.items() for word in words}
_FILLERS = {"set", "sets", "data", "dataset", "images", "image", "imgs", "img", "photos", "pictures", "split", "folder"}
_JOINED = re.compile(rf"({'|'.join(sorted(_PART_OF_WORD, key=len, reverse=True))})(set|data|images|imgs)")
_CALLED = {"train": "training", "val": "validation", "test": "test"}


class SplitName(NamedTuple):
    """What a folder's name states.

    Args:
        part: ``"train"``, ``"val"``, ``"test"`` or ``"eval"``.
        rest: the other words of the name, such as ``"seg"`` of ``seg_train``; empty for a usual name of a split.
    """

    part: str
    rest: str


def split_name(folder: str) -> SplitName | None:
    """Returns the split that a folder's name states, in upper or lower case; None for any other name."""
    words = re.findall(r"[^\W\d_]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", folder).lower())
    parts, rest = set(), []
    for word in words:
        joined = _JOINED.fullmatch(word)
        if part := _PART_OF_WORD.get(joined[1] if joined else word):
            parts.add(part)
        elif word not in _FILLERS:
            rest.append(word)
    if parts == {"train", "val"}:  # `train_val`: the union of both, as in Pascal VOC
        parts = {"train"}
    return SplitName(parts.pop(), " ".join(rest)) if len(parts) == 1 else None


def find_splits(root: Path, folders: Iterable[str]) -> dict[str, str]:
    """Returns the folders of the splits among the folders in ``root``, by part; empty if there is none.

    Names such as ``seg_train`` and ``seg_test`` are splits if they agree in all other words.

    Raises:
        InputError: if two folders are the same split, or if names look like splits but do not agree.
    """
    named = {folder: found for folder in folders if (found := split_name(folder))}
    chosen = {folder: name.part for folder, name in named.items() if not name.rest}
    if not chosen:
        for rest in {name.rest for name in named.values()}:
            group = {folder: name.part for folder, name in named.items() if name.rest == rest}
            if "train" in group.values() and len(set(group.values())) > 1:
                chosen |= group
    # One that is called `eval` holds validation images beside a test set; otherwise it is the test set.
    of_eval = "val" if "test" in chosen.values() and "val" not in chosen.values() else "test"
    splits: dict[str, str] = {}
    for folder, stated in chosen.items():
        part = of_eval if stated == "eval" else stated
        if part in splits:
            raise InputError(
                f"{splits[part]!r} and {folder!r} in {str(root)!r} are both names of the {_CALLED[part]} images; "
                "keep one of them"
            )
        splits[part] = folder
    return splits


def splits_by_value(path: Path, column: str, values: Iterable[str]) -> dict[str, str]:
    """Returns the values of a table's column that name the splits, by part. Without a test set, ``val`` is it.

    Args:
        path: the table, for messages.
        column: the name of the column, likewise.
        values: of the column.

    Raises:
        InputError: if a value is no split, or none is the training images.
    """
    distinct = dict.fromkeys(values)
    splits = find_splits(path, distinct)
    if "train" not in splits:
        raise InputError(
            f"no image in {str(path)!r} has the split 'train'; {column!r} has the values "
            f"{', '.join(map(repr, list(distinct)[:5]))}"
        )
    if others := distinct.keys() - splits.values():
        raise InputError(
            f"the split {min(others)!r} in {str(path)!r} is unknown; give train, val and test in the column {column!r}"
        )
    if "test" not in splits and "val" in splits:
        splits["test"] = splits.pop("val")  # as in folders
    return splits
