"""The data sets of the studies: the options that select them, and how they differ from those of the papers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError, did_you_mean

_CROPS_AND_FLIPS = "{crop: 4, flip: true}"


@dataclass(frozen=True)
class StudyData:
    """A data set.

    Args:
        label: its name in tables.
        settings: the keys and values of ``lightning fit`` that select it.
        chance: the test error in percent of a network that always predicts the same class.
        note: how it differs from the data of the papers, in whole sentences; empty if it does not.
    """

    label: str
    settings: Mapping[str, str]
    chance: float
    note: str = ""


def _digits(root: Path) -> StudyData:
    settings = {"data": "DigitsDataModule", "data.augment": "{crop: 1, rotate: 10}"}
    note = "The data are 1,797 digits of 8x8 pixels, of which 355 are test images."
    return StudyData("digits", settings, 90.0, note)


def _mnist(root: Path) -> StudyData:
    settings = {"data": "MNISTDataModule", "data.root": str(root), "data.augment": "{}"}
    return StudyData("MNIST", settings, 88.65)


def _cifar10(root: Path) -> StudyData:
    """Takes CIFAR-10 itself or, if only that is there, a copy in image files."""
    folder = root / "cifar10-jpeg"
    if folder.is_dir() and not (root / "cifar-10-batches-py").is_dir():
        settings = {"data": "ImageFolderDataModule", "data.root": str(folder), "data.augment": _CROPS_AND_FLIPS}
        note = "The images are a copy of CIFAR-10 in JPEG files, which is lossy."
        return StudyData("CIFAR-10 (JPEG)", settings, 90.0, note)
    settings = {"data": "CIFAR10DataModule", "data.root": str(root), "data.augment": _CROPS_AND_FLIPS}
    return StudyData("CIFAR-10", settings, 90.0)


def _cifar100(root: Path) -> StudyData:
    settings = {"data": "CIFAR100DataModule", "data.root": str(root), "data.augment": _CROPS_AND_FLIPS}
    return StudyData("CIFAR-100", settings, 99.0)


DATA_SETS: dict[str, Callable[[Path], StudyData]] = {
    "digits": _digits,
    "mnist": _mnist,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
}


def study_data(name: str, root: Path) -> StudyData:
    """Returns a data set by its name.

    Args:
        name: one of ``DATA_SETS``.
        root: the folder of the data sets. CIFAR-10 is looked for in ``cifar-10-batches-py``, then as image files in
            ``cifar10-jpeg``, and downloaded if neither is there.

    Raises:
        InputError: if there is no such data set.
    """
    if name not in DATA_SETS:
        raise InputError(f"unknown data set {name!r}; {did_you_mean(name, DATA_SETS)}")
    return DATA_SETS[name](root)
