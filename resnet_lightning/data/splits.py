"""Which images are for what: rules that choose the same share of every class."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .loading.files import ImageFiles


@dataclass(frozen=True)
class Split:
    """Some images of a data set.

    Args:
        images: the whole data set, (N, H, W, C) uint8 or as files.
        targets: (N,) int64, the label of each.
        indices: (n,) int64, which of them belong to this split.
    """

    images: Tensor | ImageFiles
    targets: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)


def every_fifth(labels: Tensor) -> Tensor:
    """Marks every fifth image of each class, in the given order: labels (N,) -> bool (N,).

    The rule needs no seed, so that the test set is the same for everyone, and every class keeps its share.
    """
    labels = labels.long()
    by_class = torch.argsort(labels, stable=True)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    held_out[by_class[_place_in_class(labels[by_class]) % 5 == 4]] = True
    return held_out


def held_out(labels: Tensor, share: float, seed: int) -> Tensor:
    """Marks a share of each class at random: (N,) -> bool (N,).

    Of a class that has two images or more, at least one is marked and at least one is not.
    """
    order = _shuffled_by_class(labels, seed)
    size = labels.bincount()[labels[order]]
    count = (share * size).round().clamp(min=1).minimum(size - 1)
    return _marked(order, _place_in_class(labels[order]) < count, len(labels))


def one_fold(labels: Tensor, num_folds: int, fold: int, seed: int) -> Tensor:
    """Marks one of ``num_folds`` parts of equal size, with the same share of each class: (N,) -> bool (N,)."""
    order = _shuffled_by_class(labels, seed)
    return _marked(order, torch.arange(len(order)) % num_folds == fold, len(labels))


def fraction(labels: Tensor, among: Tensor, share: float, seed: int) -> Tensor:
    """Marks a share of each class of the images that ``among`` (N,) marks, at least one of each: (N,) -> bool (N,).

    A smaller share is a part of a larger one.
    """
    order = _shuffled_by_class(labels, seed)
    order = order[among[order]]
    size = labels[among].bincount()[labels[order]]
    chosen = _place_in_class(labels[order]) < (share * size).round().clamp(min=1)
    return _marked(order, chosen, len(labels))


def _shuffled_by_class(labels: Tensor, seed: int) -> Tensor:
    """The numbers of all images, class after class, and at random within each."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return shuffled[torch.argsort(labels[shuffled], stable=True)]


def _place_in_class(ascending: Tensor) -> Tensor:
    """Counts the images of each class from 0; the labels come in ascending order."""
    counts = ascending.bincount()
    return torch.arange(len(ascending)) - (counts.cumsum(0) - counts)[ascending]


def _marked(order: Tensor, chosen: Tensor, size: int) -> Tensor:
    marked = torch.zeros(size, dtype=torch.bool)
    marked[order[chosen]] = True
    return marked
