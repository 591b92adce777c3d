"""Splits a data set into training, validation and test images, with the same share of each class in each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import InputError, did_you_mean
from .grouping import part_of_groups
from .loading.files import ImageFiles


@dataclass(frozen=True)
class Split:
    """Some images of a data set.

    Args:
        images: the whole data set, (N, H, W, C) uint8 or as files.
        targets: (N,) int64, the label of each; with several labels for an image (N, K) float32, 1 for each of them.
        indices: (n,) int64, which of them belong to this split.
    """

    images: Tensor | ImageFiles
    targets: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    def only(self, marked: Tensor) -> "Split":
        """Returns the images of this split where ``marked`` (N,) bool is true."""
        return replace(self, indices=self.indices[marked[self.indices]])


@dataclass(frozen=True)
class Holdout:
    """Which training images are held out for validation, and how many of the others are trained on.

    Args:
        val_split: the share of the training set that is held out.
        num_folds: for cross-validation: hold out one of this many equal parts instead; 0 for none.
        fold: which part, counted from 0.
        train_fraction: the share of the remaining images, of each class, that is trained on.
        seed: the seed of the random choice.

    Raises:
        InputError: for a number out of range.
    """

    val_split: float
    num_folds: int
    fold: int
    train_fraction: float
    seed: int

    def __post_init__(self) -> None:
        if not 0 <= self.val_split < 1:
            raise InputError(f"data.val_split is {self.val_split}; give a share from 0 up to, but not including, 1")
        if self.num_folds < 0 or self.num_folds == 1:
            raise InputError(f"data.num_folds is {self.num_folds}; give at least 2, or 0 for no cross-validation")
        if not 0 <= self.fold < max(self.num_folds, 1):
            folds = f"there are the folds 0 to {self.num_folds - 1}" if self.num_folds else "it needs data.num_folds"
            raise InputError(f"data.fold is {self.fold}; {folds}")
        if not 0 < self.train_fraction <= 1:
            raise InputError(f"data.train_fraction is {self.train_fraction}; give a share larger than 0 and up to 1")

    @property
    def holds_out(self) -> bool:
        """Whether any image is held out."""
        return bool(self.val_split or self.num_folds)

    def split(self, whole: Split, has_validation_set: bool, groups: Tensor | None = None) -> tuple[Split, Split]:
        """Splits a training set into images to train on and images to validate on.

        Args:
            whole: all images of the training set.
            has_validation_set: the data set has its own validation images, so none are held out.
            groups: (N,) int64, which images belong together; they are held out together. None if all are independent.

        Raises:
            InputError: if folds were requested but are not possible, or if there are too few groups.
        """
        labels = whole.targets
        if groups is None and labels.ndim == 2:  # in equal shares of each label, which a random choice has not
            groups = torch.arange(len(labels))
        if self.num_folds:
            if has_validation_set:
                raise InputError("data.num_folds needs a data set without its own validation images; this one has some")
            if self.num_folds > len(whole):
                raise InputError(f"data.num_folds is {self.num_folds}, but there are only {len(whole)} training images")
            for_validation = self._one_fold(labels, groups)
        elif self.val_split and not has_validation_set:
            for_validation = self._held_out(labels, groups)
        else:
            for_validation = torch.zeros(len(whole), dtype=torch.bool)
        for_training = ~for_validation
        if self.train_fraction < 1:
            stratified = labels if labels.ndim == 1 else torch.zeros(len(labels), dtype=torch.int64)
            for_training = fraction(stratified, for_training, self.train_fraction, self.seed)
        return whole.only(for_training), whole.only(for_validation)

    def _one_fold(self, labels: Tensor, groups: Tensor | None) -> Tensor:
        if groups is None:
            return one_fold(labels, self.num_folds, self.fold, self.seed)
        shares = [1 / self.num_folds] * self.num_folds
        return part_of_groups(labels, groups, shares, self.seed) == self.fold

    def _held_out(self, labels: Tensor, groups: Tensor | None) -> Tensor:
        if groups is None:
            return held_out(labels, self.val_split, self.seed)
        return part_of_groups(labels, groups, (1 - self.val_split, self.val_split), self.seed) == 1


@dataclass(frozen=True)
class Classes:
    """The classes of a data set, and those of them that are kept.

    Args:
        all_names: the names of all classes, by their label in the data set.
        names: the names of the kept classes, by their new label.
    """

    all_names: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def choose(cls, all_names: tuple[str, ...], chosen: Sequence[str | int] | None) -> "Classes":
        """Keeps the chosen classes, numbered from 0 in this order; None keeps all.

        Raises:
            InputError: for an unknown class, one that is named twice, or fewer than two.
        """
        if chosen is None:
            return cls(all_names, all_names)
        names = tuple(str(name) for name in chosen)
        for name in names:
            if name not in all_names:
                raise InputError(f"unknown class {name!r} in data.classes; {did_you_mean(name, all_names)}")
        if len(names) < 2 or len(set(names)) < len(names):
            raise InputError(f"data.classes is {list(names)}; name at least two classes, each once")
        return cls(all_names, names)

    def select(self, part: str, images: Tensor | ImageFiles, labels: Tensor) -> Split:
        """Takes the images of the kept classes out of a part of the data set.

        Args:
            part: what the part is called, for error messages.
            images: pixels (N, H, W, C) uint8; or files, of the kept classes only.
            labels: (N,) int64, numbered as in ``all_names``.

        Raises:
            InputError: if images and labels do not belong together, or no image is left.
        """
        if len(labels) != len(images):
            raise InputError(
                f"there are {len(images)} {part} images but {len(labels)} labels; they do not belong together"
            )
        if labels.ndim == 2:
            columns = [self.all_names.index(name) for name in self.names]
            return Split(images, labels[:, columns].float(), torch.arange(len(labels)))
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.all_names):
            raise InputError(
                f"the {part} images have labels from {int(labels.min())} to {int(labels.max())}, "
                f"but there are {len(self.all_names)} classes, numbered from 0 in the order of class_names"
            )
        if self.names != self.all_names:
            new_label = torch.full((len(self.all_names),), -1)
            new_label[[self.all_names.index(name) for name in self.names]] = torch.arange(len(self.names))
            labels = new_label[labels]
            if not isinstance(images, ImageFiles):
                images = images[labels >= 0]
            labels = labels[labels >= 0]
        if not len(labels):
            raise InputError(f"there are no {part} images of the classes {', '.join(self.names)}")
        return Split(images, labels, torch.arange(len(labels)))


def classes_in_words(names: Sequence[str]) -> str:
    """Returns the number of classes and their names, such as ``"3 classes (cat, dog, fox)"``; of many, a few."""
    shown = ", ".join(names)
    if len(names) > 12 or len(shown) > 80:
        first = [name if len(name) <= 20 else f"{name[:17]}..." for name in (*names[:3], names[-1])]
        shown = ", ".join([*first[:3], *(["..."] if len(names) > 4 else []), *(first[3:] if len(names) > 3 else [])])
    return f"{len(names)} class{'es' if len(names) > 1 else ''} ({shown})"


def every_fifth(labels: Tensor) -> Tensor:
    """Marks every fifth image of each class, in the given order: labels (N,) -> bool (N,).

    The rule needs no seed: everyone has the same test set.
    """
    labels = labels.long()
    by_class = torch.argsort(labels, stable=True)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    held_out[by_class[_place_in_class(labels[by_class]) % 5 == 4]] = True
    return held_out


def held_out(labels: Tensor, share: float, seed: int) -> Tensor:
    """Marks a random share of each class: labels (N,) -> bool (N,).

    Of a class of two or more images, at least one is marked and at least one is not.
    """
    order = _shuffled_by_class(labels, seed)
    size = labels.bincount()[labels[order]]
    count = (share * size).round().clamp(min=1).minimum(size - 1)
    return _marked(order, _place_in_class(labels[order]) < count, len(labels))


def one_fold(labels: Tensor, num_folds: int, fold: int, seed: int) -> Tensor:
    """Marks one of ``num_folds`` equal parts, with the same share of each class: labels (N,) -> bool (N,)."""
    order = _shuffled_by_class(labels, seed)
    return _marked(order, torch.arange(len(order)) % num_folds == fold, len(labels))


def fraction(labels: Tensor, among: Tensor, share: float, seed: int) -> Tensor:
    """Marks a random share of each class, at least one image, among the images that ``among`` (N,) bool marks.

    Returns bool (N,). For the same seed, the images of a smaller share are among those of a larger one.
    """
    order = _shuffled_by_class(labels, seed)
    order = order[among[order]]
    size = labels[among].bincount()[labels[order]]
    chosen = _place_in_class(labels[order]) < (share * size).round().clamp(min=1)
    return _marked(order, chosen, len(labels))


def _shuffled_by_class(labels: Tensor, seed: int) -> Tensor:
    """The numbers of all images, sorted by class, in random order within each class."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return shuffled[torch.argsort(labels[shuffled], stable=True)]


def _place_in_class(ascending: Tensor) -> Tensor:
    """The number of each image within its class, counted from 0. The labels must be sorted."""
    counts = ascending.bincount()
    return torch.arange(len(ascending)) - (counts.cumsum(0) - counts)[ascending]


def _marked(order: Tensor, chosen: Tensor, size: int) -> Tensor:
    marked = torch.zeros(size, dtype=torch.bool)
    marked[order[chosen]] = True
    return marked
