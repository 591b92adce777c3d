"""The paths that gradients take through a residual network, and which lengths contribute.

Veit et al. 2016, *Residual Networks Behave Like Ensembles of Relatively Shallow Networks*, section 4 and Figure 6: n
blocks make 2^n paths, of which each goes through the residual branch of some blocks and the shortcut of the others. The
length of a path is the number of branches on it, and n choose k paths have length k. The gradient along a path shrinks
with its length, so that the paths that contribute are much shorter than the typical one of n / 2.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, combinations_with_replacement

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError, check_int
from .evaluation import Batches, device_of, evaluating, on_device
from .residual_blocks import Block, Reconnected, choose_blocks, find_blocks, replaced


def blocks_with_branches(net: nn.Module) -> list[Block]:
    """Returns the blocks that have a residual branch and a shortcut.

    Raises:
        InputError: if there are none.
    """
    blocks = [block for block in find_blocks(net) if block.has_shortcut]
    if not blocks:
        raise InputError(f"{type(net).__name__} has no blocks with a shortcut, and so a single path")
    return blocks


@contextmanager
def one_path(net: nn.Module, branches: Collection[str]) -> Iterator[None]:
    """Lets gradients take a single path, until the end of the ``with`` statement; the forward pass stays the same.

    Args:
        net: a residual network.
        branches: the names of the blocks whose residual branch the path takes; in the others, it takes the shortcut.

    Raises:
        InputError: if there is no such block.
    """
    chosen = {block.name for block in choose_blocks(net, branches)}
    changes = {
        block.name: Reconnected(block.module, _through_branch if block.name in chosen else _through_shortcut)
        for block in blocks_with_branches(net)
    }
    with replaced(net, changes):
        yield


def path_gradient_norm(net: nn.Module, images: Tensor, labels: Tensor, branches: Collection[str]) -> float:
    """Returns the norm of the gradient of the cross-entropy at an image along one path, averaged over images.

    The network is evaluated in evaluation mode, where the images do not depend on each other.

    Args:
        net: a residual network.
        images: (B, C, H, W), normalized.
        labels: (B,).
        branches: the names of the blocks whose residual branch the path takes.
    """
    device = device_of(net)
    leaf = images.detach().to(device).requires_grad_()
    with evaluating(net), torch.enable_grad(), one_path(net, branches):
        loss = F.cross_entropy(net(leaf), labels.to(device), reduction="sum")
        (gradient,) = torch.autograd.grad(loss, leaf)
    return gradient.flatten(1).norm(dim=1).mean().item()


def path_norms_by_length(
    net: nn.Module, batches: Batches, lengths: Sequence[int], draws: int, seed: int = 0
) -> dict[int, float]:
    """Returns the mean norm of the gradient at the image along random paths, by their length.

    Veit et al. 2016, Figure 6b.

    Args:
        net: a residual network.
        batches: normalized images and labels. Each draw uses the next batch.
        lengths: numbers of residual branches on a path.
        draws: number of random paths of each length.
        seed: seed of the draws.

    Raises:
        InputError: if a length is negative or more than the number of blocks.
    """
    names = [block.name for block in blocks_with_branches(net)]
    check_int("draws", draws, at_least=1)
    for length in lengths:
        if not 0 <= length <= len(names):
            raise InputError(f"a path of length {length} does not exist; {type(net).__name__} has {len(names)} blocks")
    generator = torch.Generator().manual_seed(seed)
    batches = on_device(batches, device_of(net))
    norms = {}
    for length in lengths:
        found = []
        for draw in range(draws):
            chosen = torch.randperm(len(names), generator=generator)[:length].tolist()
            images, labels = batches[draw % len(batches)]
            found.append(path_gradient_norm(net, images, labels, [names[i] for i in chosen]))
        norms[length] = sum(found) / draws
    return norms


def path_contributions(norms: Mapping[int, float], blocks: int) -> dict[int, float]:
    """Returns the share of all gradient that comes from the paths of each length (Veit et al. 2016, Figure 6c).

    It is in proportion to the number of paths of that length times the norm of the gradient along one of them.

    Args:
        norms: the norm along a path, by its length; see ``path_norms_by_length``. A length that is missing counts as 0.
        blocks: the number of blocks in the network.
    """
    # As logarithms: of 1,000 blocks, the number of paths exceeds the range of a float.
    logs = {k: math.log(math.comb(blocks, k)) + math.log(norm) for k, norm in norms.items() if norm > 0}
    largest = max(logs.values(), default=0.0)
    weights = {k: math.exp(logs[k] - largest) if k in logs else 0.0 for k in norms}
    total = sum(weights.values())
    return {k: weight / total if total else 0.0 for k, weight in weights.items()}


def effective_length(contributions: Mapping[int, float]) -> float:
    """Returns the mean length of the paths, weighted by their contribution."""
    return sum(length * share for length, share in contributions.items())


def effective_range(contributions: Mapping[int, float], share: float = 0.95) -> tuple[int, int]:
    """Returns the shortest range of lengths, first and last, whose paths contribute at least this share.

    Raises:
        InputError: if all of them together contribute less.
    """
    lengths = sorted(contributions)
    up_to = [0.0, *accumulate(contributions[k] for k in lengths)]
    ranges = [
        (lengths[j] - lengths[i], lengths[i], lengths[j])
        for i, j in combinations_with_replacement(range(len(lengths)), 2)
        if up_to[j + 1] - up_to[i] >= share - 1e-9  # the sums are rounded
    ]
    if not ranges:
        raise InputError(f"no range of lengths contributes {share:g} of the gradient")
    _, first, last = min(ranges)
    return first, last


def _through_branch(x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
    return x.detach(), residual


def _through_shortcut(x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
    return x, residual.detach()
