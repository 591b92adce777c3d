"""The rule that holds out a test set, for data that comes without one."""

import torch
from torch import Tensor


def every_fifth(labels: Tensor) -> Tensor:
    """Marks every fifth image of each class, in the given order: labels (N,) -> bool (N,).

    The rule needs no seed, so that the test set is the same for everyone, and every class keeps its share.
    """
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        held_out[torch.nonzero(labels == label).flatten()[4::5]] = True
    return held_out
