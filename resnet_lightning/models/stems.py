"""The layers before the first stage, with torchvision's names."""

from collections.abc import Callable

from torch import nn

from .layers import ActLayer, NormLayer, conv

Stem = Callable[[int, int, NormLayer, ActLayer], dict[str, nn.Module]]
"""Makes the modules ``conv1 bn1 relu maxpool`` from ``(in_chans, planes, norm_layer, act_layer)``."""


def imagenet_stem(in_chans: int, planes: int, norm_layer: NormLayer, act_layer: ActLayer) -> dict[str, nn.Module]:
    """7x7 convolution and 3x3 max pool, both with stride 2: (B, in_chans, H, W) -> (B, planes, H / 4, W / 4).

    He et al. 2015, Table 1.
    """
    return {
        "conv1": conv(in_chans, planes, kernel_size=7, stride=2),
        "bn1": norm_layer(planes),
        "relu": act_layer(),
        "maxpool": nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    }


def deep_stem(in_chans: int, planes: int, norm_layer: NormLayer, act_layer: ActLayer) -> dict[str, nn.Module]:
    """Like ``imagenet_stem``, but with three 3x3 convolutions instead of a 7x7 one; the first two have half the planes.

    He et al. 2018, *Bag of Tricks for Image Classification*, section 4.2: ResNet-C.
    """
    half = planes // 2
    convolutions = nn.Sequential(
        conv(in_chans, half, kernel_size=3, stride=2),
        norm_layer(half),
        act_layer(),
        conv(half, half, kernel_size=3),
        norm_layer(half),
        act_layer(),
        conv(half, planes, kernel_size=3),
    )
    return {
        "conv1": convolutions,
        "bn1": norm_layer(planes),
        "relu": act_layer(),
        "maxpool": nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    }


def cifar_stem(in_chans: int, planes: int, norm_layer: NormLayer, act_layer: ActLayer) -> dict[str, nn.Module]:
    """3x3 convolution without a pool, for small images: (B, in_chans, H, W) -> (B, planes, H, W).

    He et al. 2015, section 4.2.
    """
    return {
        "conv1": conv(in_chans, planes, kernel_size=3),
        "bn1": norm_layer(planes),
        "relu": act_layer(),
        "maxpool": nn.Identity(),
    }


STEMS: dict[str, Stem] = {"imagenet": imagenet_stem, "deep": deep_stem, "cifar": cifar_stem}
