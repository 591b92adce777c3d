"""The layers before the first stage, by the names that torchvision gives them."""

from collections.abc import Callable

from torch import nn

from .layers import NormLayer, conv

Stem = Callable[[int, int, NormLayer], dict[str, nn.Module]]
"""``(in_chans, planes, norm_layer)`` to the stem's modules, in the order in which they run."""


def imagenet_stem(in_chans: int, planes: int, norm_layer: NormLayer) -> dict[str, nn.Module]:
    """7x7 convolution and 3x3 max pool, each of stride 2: (B, in_chans, H, W) -> (B, planes, H / 4, W / 4).

    He et al. 2015, Table 1.
    """
    return {
        "conv1": conv(in_chans, planes, kernel_size=7, stride=2),
        "bn1": norm_layer(planes),
        "relu": nn.ReLU(inplace=True),
        "maxpool": nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    }


def cifar_stem(in_chans: int, planes: int, norm_layer: NormLayer) -> dict[str, nn.Module]:
    """3x3 convolution and no pool, for images too small to shrink: (B, in_chans, H, W) -> (B, planes, H, W).

    He et al. 2015, section 4.2.
    """
    return {
        "conv1": conv(in_chans, planes, kernel_size=3),
        "bn1": norm_layer(planes),
        "relu": nn.ReLU(inplace=True),
        "maxpool": nn.Identity(),
    }


STEMS: dict[str, Stem] = {"imagenet": imagenet_stem, "cifar": cifar_stem}
