"""The blocks of a network that experiments delete, swap or reconnect, and how a block is replaced for a while.

A network with residual blocks, ours or torchvision's, has these as its blocks. A network without any, such as VGG, has
its convolutions.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torchvision.models.resnet as torchvision_resnet
from torch import Tensor, nn

from ..errors import InputError, did_you_mean
from ..models.blocks import ResidualBlock
from ..models.shortcuts import Junction, NoShortcut

Change = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Maps the input of the shortcut and the output of the residual branch to those that are added instead."""

_TORCHVISION = torchvision_resnet.BasicBlock, torchvision_resnet.Bottleneck


@dataclass(frozen=True)
class Block:
    """A residual block, or a convolution of a network that has none.

    Args:
        name: its name in the network, such as ``"layer1.0"``.
        module: the block.
        has_shortcut: False for a block of a plain network and for a convolution.
        in_planes: number of input channels.
        out_planes: number of output channels.
        keeps_size: whether the output has the height and width of the input.
    """

    name: str
    module: nn.Module
    has_shortcut: bool
    in_planes: int
    out_planes: int
    keeps_size: bool

    @property
    def keeps_shape(self) -> bool:
        """Whether the output has the shape of the input, as in all blocks of a stage but most often the first."""
        return self.keeps_size and self.in_planes == self.out_planes


def find_blocks(net: nn.Module) -> list[Block]:
    """Returns the blocks of a network in the order in which it runs them.

    Raises:
        InputError: if there are neither residual blocks nor convolutions.
    """
    found = [_residual_block(name, module) for name, module in net.named_modules() if is_residual(module)]
    if not found:
        found = [_convolution(name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d)]
    if not found:
        raise InputError(f"{type(net).__name__} has neither residual blocks nor convolutions")
    return found


def choose_blocks(net: nn.Module, names: Iterable[str]) -> list[Block]:
    """Returns the blocks with these names.

    Raises:
        InputError: if there is no such block.
    """
    known = {block.name: block for block in find_blocks(net)}
    names = list(names)
    for name in names:
        if name not in known:
            raise InputError(f"{type(net).__name__} has no block {name!r}; {did_you_mean(name, known)}")
    return [known[name] for name in names]


@contextmanager
def replaced(net: nn.Module, replacements: Mapping[str, nn.Module]) -> Iterator[None]:
    """Puts other modules in the place of some, by their names, until the end of the ``with`` statement."""
    originals = {name: net.get_submodule(name) for name in replacements}
    try:
        for name, module in replacements.items():
            net.set_submodule(name, module)
        yield
    finally:
        for name, module in originals.items():
            net.set_submodule(name, module)


class Reconnected(nn.Module):
    """A residual block in which something else is added: (B, C, H, W) -> (B, C', H / stride, W / stride).

    Args:
        block: a residual block of ours or of torchvision. Its parameters are shared.
        change: is called with the input of the shortcut and the output of the residual branch, and returns those that
            the block goes on with.
    """

    def __init__(self, block: nn.Module, change: Change) -> None:
        super().__init__()
        self.block = block
        self.change = change
        self.train(block.training)

    def forward(self, x: Tensor) -> Tensor:
        block = self.block
        before, branch, after = _layers(block)
        for layer in before:
            x = layer(x)
        residual = x
        for layer in branch:
            residual = layer(residual)
        x, residual = self.change(x, residual)
        shortcut: Any = block.downsample
        if isinstance(shortcut, Junction):
            x = shortcut(x, residual)
        else:
            x = residual + (x if shortcut is None else shortcut(x))
        for layer in after:
            x = layer(x)
        return x


def is_residual(module: nn.Module) -> bool:
    """Returns whether a module is a residual block that ``Reconnected`` supports."""
    return isinstance(module, (ResidualBlock, *_TORCHVISION))


def _layers(block: nn.Module) -> tuple[list[nn.Module], list[nn.Module], list[nn.Module]]:
    """Returns the layers before the split, of the residual branch, and after the addition."""
    if isinstance(block, ResidualBlock):
        before, branch, after = (
            [block.get_submodule(name) for name in names] for names in (block.before, block.branch, block.after)
        )
        return before, branch + ([block.drop_path] if block.drop_path is not None else []), after
    convs = len(_convs(block))
    names = [f"{kind}{i}" if kind != "relu" else kind for i in range(1, convs + 1) for kind in ("conv", "bn", "relu")]
    return [], [block.get_submodule(name) for name in names[:-1]], [block.get_submodule("relu")]


def _convs(block: nn.Module) -> list[nn.Conv2d]:
    """The convolutions of the residual branch."""
    children = block.named_children()
    return [child for name, child in children if name.startswith("conv") and isinstance(child, nn.Conv2d)]


def _residual_block(name: str, block: nn.Module) -> Block:
    convs = _convs(block)
    keeps_size = all(conv.stride in (1, (1, 1)) for conv in convs)
    has_shortcut = not isinstance(block.downsample, NoShortcut)
    return Block(name, block, has_shortcut, convs[0].in_channels, convs[-1].out_channels, keeps_size)


def _convolution(name: str, conv: nn.Module) -> Block:
    assert isinstance(conv, nn.Conv2d)
    grown = [(size - 1) * dilation for size, dilation in zip(conv.kernel_size, conv.dilation, strict=True)]
    padded = conv.padding == "same" or [2 * int(side) for side in conv.padding] == grown
    return Block(name, conv, False, conv.in_channels, conv.out_channels, padded and set(conv.stride) == {1})
