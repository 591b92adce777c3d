"""Lesions of trained networks: blocks that are deleted or swapped, and the error that is left.

Veit et al. 2016, *Residual Networks Behave Like Ensembles of Relatively Shallow Networks*, sections 4.1 to 4.3.

A deleted residual block returns its shortcut: its residual branch becomes zero, and what follows the addition stays. A
deleted block of a plain network, or a deleted convolution of a network without residual blocks such as VGG, returns its
input, which is possible only if it keeps the shape. Blocks can be swapped if they have the same shape and keep it.

Example::

    net = load_model("best.ckpt").classifier.backbone
    lesions = [Lesion(), *single_deletions(net)]
    for lesion, error in zip(lesions, errors_of(net, batches_of(DigitsDataModule()), lesions)):
        print(f"{lesion.deleted}: {error:.1f} %")
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from statistics import mean

import torch
from torch import Tensor, nn

from ..errors import InputError, check_int
from .evaluation import Batches, device_of, evaluating, loss_and_error, on_device
from .residual_blocks import Block, Reconnected, choose_blocks, find_blocks, replaced


@dataclass(frozen=True)
class Lesion:
    """What is changed in a network; nothing by default.

    Args:
        deleted: the names of the blocks that are deleted.
        swapped: pairs of names of blocks that change places, one pair after the other.
    """

    deleted: tuple[str, ...] = ()
    swapped: tuple[tuple[str, str], ...] = ()


@contextmanager
def lesioned(net: nn.Module, lesion: Lesion) -> Iterator[None]:
    """Applies a lesion to a network until the end of the ``with`` statement.

    In the statement, other modules stand in the places of the blocks, and the keys of the state dict differ.

    Raises:
        InputError: if there is no such block, if a deleted one changes the shape and has no shortcut, or if swapped
            ones cannot take each other's place.
    """
    for pair in lesion.swapped:
        _check_swap(*choose_blocks(net, pair))
    places = places_after(net, lesion.swapped)
    moved = {name: net.get_submodule(block) for name, block in places.items() if name != block}
    deletions = {block.name: _without(block) for block in choose_blocks(net, lesion.deleted)}
    if both := deletions.keys() & moved.keys():
        raise InputError(f"the block {min(both)!r} is both deleted and swapped; do one of them")
    with replaced(net, {**moved, **deletions}):
        yield


def errors_of(net: nn.Module, batches: Batches, lesions: Iterable[Lesion]) -> list[float]:
    """Returns the error in percent of a network with each lesion, in evaluation mode. The network stays as it is.

    Args:
        net: a trained network.
        batches: the images to classify; see ``batches_of``.
        lesions: the lesions; ``Lesion()`` is the intact network.
    """
    batches = on_device(batches, device_of(net))
    errors = []
    with evaluating(net):
        for lesion in lesions:
            with lesioned(net, lesion):
                errors.append(loss_and_error(net, batches)[1])
    return errors


def deletable(net: nn.Module) -> list[Block]:
    """Returns the blocks that can be deleted: those that keep the shape or have a shortcut."""
    return [block for block in find_blocks(net) if block.keeps_shape or block.has_shortcut]


def single_deletions(net: nn.Module) -> list[Lesion]:
    """Returns the deletion of each deletable block alone (Veit et al. 2016, section 4.1, Figure 3)."""
    return [Lesion((block.name,)) for block in deletable(net)]


def random_deletions(net: nn.Module, count: int, draws: int, seed: int = 0) -> list[Lesion]:
    """Draws ``count`` deletable blocks to delete at once (Veit et al. 2016, section 4.2, Figure 5a).

    Args:
        net: the network.
        count: number of blocks.
        draws: number of lesions.
        seed: seed of the draws.

    Raises:
        InputError: if there are not so many blocks.
    """
    names = [block.name for block in deletable(net)]
    check_int("count", count, at_least=1)
    if count > len(names):
        raise InputError(f"count is {count}, but only {len(names)} blocks can be deleted")
    generator = torch.Generator().manual_seed(seed)
    chosen = [torch.randperm(len(names), generator=generator)[:count].sort().values.tolist() for _ in range(draws)]
    return [Lesion(tuple(names[i] for i in numbers)) for numbers in chosen]


def random_swaps(net: nn.Module, count: int, draws: int, seed: int = 0) -> list[Lesion]:
    """Draws ``count`` pairs of blocks to swap, one after the other (Veit et al. 2016, section 4.3, Figure 5b).

    Args:
        net: the network.
        count: number of pairs. A block may be in several of them.
        draws: number of lesions.
        seed: seed of the draws.

    Raises:
        InputError: if no two blocks have the same shape and keep it.
    """
    check_int("count", count, at_least=1)
    pairs = [(a.name, b.name) for a, b in combinations(find_blocks(net), 2) if _can_swap(a, b)]
    if not pairs:
        raise InputError("no two blocks can be swapped: none have the same shape and keep it")
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(pairs), (draws, count), generator=generator).tolist()
    return [Lesion(swapped=tuple(pairs[i] for i in numbers)) for numbers in chosen]


def places_after(net: nn.Module, pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Returns which block stands in the place of each block after pairs are swapped one after the other, by name."""
    places = {block.name: block.name for block in find_blocks(net)}
    for first, second in pairs:
        places[first], places[second] = places[second], places[first]
    return places


def kendall_tau(net: nn.Module, lesion: Lesion) -> float:
    """Returns how much of the order of the blocks a lesion keeps: 1 for all of it, -1 for the reverse order.

    It is the share of pairs of blocks in their old order minus that of pairs in the reverse order (Kendall 1938).
    """
    places = places_after(net, lesion.swapped)
    numbers = {name: number for number, name in enumerate(places)}
    order = [numbers[block] for block in places.values()]
    return mean(1 if earlier < later else -1 for earlier, later in combinations(order, 2))


def _delete_branch(x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
    return x, torch.zeros_like(residual)


def _without(block: Block) -> nn.Module:
    """Returns what stands in the place of a deleted block."""
    if block.has_shortcut:
        return Reconnected(block.module, _delete_branch)
    if not block.keeps_shape:
        raise InputError(
            f"the block {block.name!r} changes the shape and has no shortcut, so nothing can stand in its place; "
            "delete one that keeps the shape"
        )
    return nn.Identity()


def _can_swap(first: Block, second: Block) -> bool:
    return first.keeps_shape and second.keeps_shape and first.in_planes == second.in_planes


def _check_swap(first: Block, second: Block) -> None:
    if not _can_swap(first, second):
        raise InputError(
            f"the blocks {first.name!r} and {second.name!r} cannot be swapped; "
            "swap two that have the same number of channels and keep the shape"
        )
