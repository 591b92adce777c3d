"""The images that a network is measured on, and its loss and error on them."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data import ImageDataModule
from ..errors import check_int

Batches = Iterable[tuple[Tensor, Tensor]]
"""Batches of normalized images (B, C, H, W) and labels (B,); a list, if they are gone through several times."""


def batches_of(
    data: ImageDataModule, split: str = "test", limit: int | None = None, batch_size: int = 256
) -> list[tuple[Tensor, Tensor]]:
    """Returns images of a split as batches, normalized and without augmentation.

    Args:
        data: the data module.
        split: ``"train"``, ``"val"`` or ``"test"``.
        limit: at most so many images, spread evenly over the split; None for all of them.
        batch_size: images in a batch.

    Raises:
        InputError: if the limit is less than 1, or if the data set is missing.
    """
    indices = data.split(split).indices
    if limit is not None:
        check_int("limit", limit, at_least=1)
        count = min(limit, len(indices))
        indices = indices[torch.arange(count) * len(indices) // count]
    raw = data.raw_loader(split)
    return [data.finish(raw.batch(part, None, None)) for part in indices.split(batch_size)]


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Switches a network to evaluation mode without gradients, and each module back to its own mode afterwards."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def loss_and_error(net: Callable[[Tensor], Tensor], batches: Batches) -> tuple[float, float]:
    """Returns the mean cross-entropy and the error in percent of a network, or of any function that returns logits."""
    loss, wrong, count = 0.0, 0, 0
    for images, labels in batches:
        logits = net(images).float()
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        wrong += int((logits.argmax(1) != labels).sum())
        count += len(labels)
    return loss / count, 100 * wrong / count


def device_of(net: nn.Module) -> torch.device:
    """Returns the device of a network's parameters."""
    return next(net.parameters()).device


def on_device(batches: Batches, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Returns the batches on a device."""
    return [(images.to(device), labels.to(device)) for images, labels in batches]
