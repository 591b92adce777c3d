"""Splits images so that those that belong together, such as photos of one patient, stay in one part."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ..errors import InputError


def part_of_groups(labels: Tensor, groups: Tensor, shares: Sequence[float], seed: int) -> Tensor:
    """Assigns whole groups to parts, with about the same share of each class in each part.

    The groups are taken in random order, the largest first. Each goes to the part that lacks its images the most. A
    part that would be empty gets the smallest group.

    Args:
        labels: (N,) int64, the class of each image; or (N, K), 1 for each of its labels.
        groups: (N,) int64, the group of each image.
        shares: the share of the images that each part should have; their sum is 1.
        seed: of the order.

    Returns:
        (N,) int64, the number of the part of each image.

    Raises:
        InputError: if there are too few groups for the parts.
    """
    names, numbers = np.unique(groups.numpy(), return_inverse=True)
    if len(names) < len(shares):
        raise InputError(f"the data set has {len(names)} groups, too few for {len(shares)} parts")
    counts = np.zeros((len(names), columns_of(labels).shape[1]))
    np.add.at(counts, numbers, columns_of(labels).numpy())
    totals = np.maximum(counts.sum(0), 1)
    lacking = np.outer(shares, counts.sum(0))
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).numpy()
    sizes = np.bincount(numbers)
    order = order[np.argsort(-sizes[order], kind="stable")]
    part = np.empty(len(names), np.int64)
    for group in order:
        part[group] = (lacking @ (counts[group] / totals)).argmax()
        lacking[part[group]] -= counts[group]
    for empty in set(range(len(shares))) - set(part.tolist()):  # its share is smaller than every group
        movable = np.flatnonzero(np.bincount(part, minlength=len(shares))[part] > 1)
        part[movable[np.argmin(sizes[movable])]] = empty
    return torch.from_numpy(part[numbers])


def columns_of(labels: Tensor) -> Tensor:
    """Returns a column for each class (N, K), 1 for the images that have it; the last is for images without a label."""
    columns = labels.double() if labels.ndim == 2 else one_hot(labels).double()
    return torch.cat([columns, (columns.sum(1, keepdim=True) == 0).double()], 1)


def check_undivided(path: Path, groups: Iterable[str], splits: Iterable[str]) -> None:
    """Checks that all images of a group are in one split.

    Args:
        path: the file that states the groups, for the message.
        groups: the group of each image.
        splits: the split of each image.

    Raises:
        InputError: if a group is divided.
    """
    split_of: dict[str, str] = {}
    for group, split in zip(groups, splits, strict=True):
        if split_of.setdefault(group, split) != split:
            raise InputError(
                f"the group {group!r} in {str(path)!r} has images in the splits {split_of[group]!r} and {split!r}; "
                "put all of its images into one"
            )
