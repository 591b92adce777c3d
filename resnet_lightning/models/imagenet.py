"""The ImageNet networks of He et al. 2015, Table 1, and later ones based on them, with torchvision's state-dict keys.

Each takes the options of ``create_model`` and ``ResNet``. By default it maps (B, 3, H, W) to logits (B, 1000).
"""

from functools import partial
from typing import Any

from .blocks import BasicBlock, Bottleneck
from .registry import register_model
from .resnet import ResNet


@register_model("He et al. 2015, Table 1", image_size=224)
def resnet18(**options: Any) -> ResNet:
    """ResNet-18 (He et al. 2015, Table 1): 11,689,512 parameters."""
    return ResNet(BasicBlock, (2, 2, 2, 2), **options)


@register_model("He et al. 2015, Table 1", image_size=224)
def resnet34(**options: Any) -> ResNet:
    """ResNet-34 (He et al. 2015, Table 1): 21,797,672 parameters."""
    return ResNet(BasicBlock, (3, 4, 6, 3), **options)


@register_model("He et al. 2015, Table 1", image_size=224)
def resnet50(**options: Any) -> ResNet:
    """ResNet-50 (He et al. 2015, Table 1): 25,557,032 parameters."""
    return ResNet(Bottleneck, (3, 4, 6, 3), **options)


@register_model("He et al. 2015, Table 1", image_size=224)
def resnet101(**options: Any) -> ResNet:
    """ResNet-101 (He et al. 2015, Table 1): 44,549,160 parameters."""
    return ResNet(Bottleneck, (3, 4, 23, 3), **options)


@register_model("He et al. 2015, Table 1", image_size=224)
def resnet152(**options: Any) -> ResNet:
    """ResNet-152 (He et al. 2015, Table 1): 60,192,808 parameters."""
    return ResNet(Bottleneck, (3, 8, 36, 3), **options)


@register_model("Xie et al. 2017, Table 1", image_size=224)
def resnext50_32x4d(**options: Any) -> ResNet:
    """ResNeXt-50, 32 groups of 4 channels (Xie et al. 2017, Table 1): 25,028,904 parameters."""
    return ResNet(partial(Bottleneck, groups=32, width_per_group=4), (3, 4, 6, 3), **options)


@register_model("torchvision", image_size=224)
def resnext101_32x8d(**options: Any) -> ResNet:
    """ResNeXt-101, 32 groups of 8 channels (torchvision, after Xie et al. 2017): 88,791,336 parameters."""
    return ResNet(partial(Bottleneck, groups=32, width_per_group=8), (3, 4, 23, 3), **options)


@register_model("Xie et al. 2017", image_size=224)
def resnext101_64x4d(**options: Any) -> ResNet:
    """ResNeXt-101, 64 groups of 4 channels (Xie et al. 2017): 83,455,272 parameters."""
    return ResNet(partial(Bottleneck, groups=64, width_per_group=4), (3, 4, 23, 3), **options)


@register_model("Zagoruyko et al. 2016", image_size=224)
def wide_resnet50_2(**options: Any) -> ResNet:
    """ResNet-50 with twice the width inside its bottlenecks (Zagoruyko & Komodakis 2016): 68,883,240 parameters."""
    return ResNet(partial(Bottleneck, width_per_group=128), (3, 4, 6, 3), **options)


@register_model("torchvision", image_size=224)
def wide_resnet101_2(**options: Any) -> ResNet:
    """ResNet-101 with twice the width inside its bottlenecks (torchvision): 126,886,696 parameters."""
    return ResNet(partial(Bottleneck, width_per_group=128), (3, 4, 23, 3), **options)


@register_model("He et al. 2015, Table 2", image_size=224)
def plain18(**options: Any) -> ResNet:
    """ResNet-18 without its shortcuts (He et al. 2015, section 3.3): 11,515,688 parameters."""
    return ResNet(BasicBlock, (2, 2, 2, 2), shortcut="none", **options)


@register_model("He et al. 2015, Table 2", image_size=224)
def plain34(**options: Any) -> ResNet:
    """ResNet-34 without its shortcuts (He et al. 2015, section 3.3): 21,623,848 parameters."""
    return ResNet(BasicBlock, (3, 4, 6, 3), shortcut="none", **options)
