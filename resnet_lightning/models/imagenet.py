"""The ImageNet nets of He et al. 2015, Table 1, with torchvision's state-dict keys.

Each takes the keyword arguments of ``ResNet``, and by default maps (B, 3, H, W) to 1,000 logits.
"""

from typing import Any

from .blocks import BasicBlock, Bottleneck
from .registry import register_model
from .resnet import ResNet


@register_model
def resnet18(**options: Any) -> ResNet:
    """ResNet-18: 11,689,512 parameters."""
    return ResNet(BasicBlock, (2, 2, 2, 2), **options)


@register_model
def resnet34(**options: Any) -> ResNet:
    """ResNet-34: 21,797,672 parameters."""
    return ResNet(BasicBlock, (3, 4, 6, 3), **options)


@register_model
def resnet50(**options: Any) -> ResNet:
    """ResNet-50: 25,557,032 parameters."""
    return ResNet(Bottleneck, (3, 4, 6, 3), **options)


@register_model
def resnet101(**options: Any) -> ResNet:
    """ResNet-101: 44,549,160 parameters."""
    return ResNet(Bottleneck, (3, 4, 23, 3), **options)


@register_model
def resnet152(**options: Any) -> ResNet:
    """ResNet-152: 60,192,808 parameters."""
    return ResNet(Bottleneck, (3, 8, 36, 3), **options)
