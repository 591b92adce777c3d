"""The sizes of a head or a stem, read from its modules, so that they follow a module that was replaced."""

from collections.abc import Iterable

from torch import nn


def input_size(module: nn.Module, default: int) -> int:
    """Returns the number of input features or channels of the first layer that has some, else the default."""
    return _first_size(module.modules(), ("in_features", "in_channels")) or default


def output_size(head: nn.Module, default: int) -> int:
    """Returns the number of output features of the last layer that has some; 0 for an identity, else the default."""
    if isinstance(head, nn.Identity):
        return 0
    # A layer's own attribute counts before those of its children: an adapter around a layer has the layer's size.
    own = _first_size([head], ("out_features", "out_channels"))
    if own is None:
        own = next(filter(None, (output_size(child, 0) for child in reversed([*head.children()]))), None)
    return own or default


def _first_size(modules: Iterable[nn.Module], names: tuple[str, ...]) -> int | None:
    """Returns the first positive integer among these attributes of the modules."""
    sizes = (getattr(module, name, None) for module in modules for name in names)
    return next((size for size in sizes if isinstance(size, int) and size > 0), None)
