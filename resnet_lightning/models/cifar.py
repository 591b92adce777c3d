"""The CIFAR nets of He et al. 2015, section 4.2: three stages of 16, 32 and 64 planes and no projection anywhere.

Each takes the keyword arguments of ``ResNet``, and by default maps (B, 3, H, W) to 10 logits.
"""

from typing import Any

from .blocks import BasicBlock
from .registry import register_model
from .resnet import ResNet
from .shortcuts import ShortcutLayer, zero_pad
from .stems import Stem


def cifar_resnet(
    depth: int,
    *,
    num_classes: int = 10,
    stem: str | Stem = "cifar",
    shortcut: ShortcutLayer = zero_pad,
    **options: Any,
) -> ResNet:
    """The net of ``depth`` = 6n + 2 weighted layers: a stem, three stages of n two-layer blocks, and the head."""
    n = (depth - 2) // 6
    return ResNet(BasicBlock, (n, n, n), (16, 32, 64), num_classes=num_classes, stem=stem, shortcut=shortcut, **options)


@register_model
def resnet20(**options: Any) -> ResNet:
    """ResNet-20: 269,722 parameters."""
    return cifar_resnet(20, **options)


@register_model
def resnet32(**options: Any) -> ResNet:
    """ResNet-32: 464,154 parameters."""
    return cifar_resnet(32, **options)


@register_model
def resnet44(**options: Any) -> ResNet:
    """ResNet-44: 658,586 parameters."""
    return cifar_resnet(44, **options)


@register_model
def resnet56(**options: Any) -> ResNet:
    """ResNet-56: 853,018 parameters."""
    return cifar_resnet(56, **options)


@register_model
def resnet110(**options: Any) -> ResNet:
    """ResNet-110: 1,727,962 parameters."""
    return cifar_resnet(110, **options)


@register_model
def resnet1202(**options: Any) -> ResNet:
    """ResNet-1202: 19,421,274 parameters."""
    return cifar_resnet(1202, **options)
