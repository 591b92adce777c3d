"""Networks for 32x32 images: those of He et al. 2015, section 4.2, and later ones based on them.

Each takes the options of ``create_model`` and ``ResNet``. By default it maps (B, 3, H, W) to logits (B, 10).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..errors import InputError, check_int
from .blocks import BasicBlock, Bottleneck
from .pretrained_cfg import CIFAR10
from .registry import register_model
from .resnet import ResNet
from .shortcuts import ShortcutLayer
from .stems import Stem


def _blocks(depth: int, layers: int, others: int) -> int:
    """Returns the number n of blocks in each stage of a network of ``depth`` = ``layers`` n + ``others`` weight layers.

    Raises:
        InputError: if there is none: the network would have another depth.
    """
    check_int("depth", depth, at_least=layers + others)
    n, rest = divmod(depth - others, layers)
    if rest:
        nearest = f"{layers * n + others} or {layers * (n + 1) + others}"
        raise InputError(f"depth is {depth}; give {layers}n + {others}, such as {nearest}")
    return n


def cifar_resnet(
    depth: int,
    *,
    num_classes: int = 10,
    stem: str | Mapping[str, Any] | Stem = "cifar",
    shortcut: str | Mapping[str, Any] | ShortcutLayer = "zero_pad",
    **options: Any,
) -> ResNet:
    """Builds the network of ``depth`` = 6n + 2 weight layers: a stem, three stages of n two-layer blocks, and a head.

    He et al. 2015, section 4.2, with shortcuts of option A, which have no parameters.
    """
    n = _blocks(depth, 6, 2)
    return ResNet(BasicBlock, (n, n, n), (16, 32, 64), num_classes=num_classes, stem=stem, shortcut=shortcut, **options)


@register_model("He et al. 2015, Table 6", image_size=32, statistics=CIFAR10)
def resnet20(**options: Any) -> ResNet:
    """ResNet-20 (He et al. 2015, section 4.2): 269,722 parameters."""
    return cifar_resnet(20, **options)


@register_model("He et al. 2015, Table 6", image_size=32, statistics=CIFAR10)
def resnet32(**options: Any) -> ResNet:
    """ResNet-32 (He et al. 2015, section 4.2): 464,154 parameters."""
    return cifar_resnet(32, **options)


@register_model("He et al. 2015, Table 6", image_size=32, statistics=CIFAR10)
def resnet44(**options: Any) -> ResNet:
    """ResNet-44 (He et al. 2015, section 4.2): 658,586 parameters."""
    return cifar_resnet(44, **options)


@register_model("He et al. 2015, Table 6", image_size=32, statistics=CIFAR10)
def resnet56(**options: Any) -> ResNet:
    """ResNet-56 (He et al. 2015, section 4.2): 853,018 parameters."""
    return cifar_resnet(56, **options)


@register_model("He et al. 2015, Table 6", image_size=32, statistics=CIFAR10)
def resnet110(**options: Any) -> ResNet:
    """ResNet-110 (He et al. 2015, section 4.2): 1,727,962 parameters."""
    return cifar_resnet(110, **options)


@register_model("He et al. 2015, Table 6", image_size=32, statistics=CIFAR10)
def resnet1202(**options: Any) -> ResNet:
    """ResNet-1202 (He et al. 2015, section 4.2): 19,421,274 parameters."""
    return cifar_resnet(1202, **options)


@register_model("He et al. 2015, Figure 6", image_size=32, statistics=CIFAR10)
def plain20(**options: Any) -> ResNet:
    """ResNet-20 without its shortcuts (He et al. 2015, section 4.2): 269,722 parameters."""
    return cifar_resnet(20, shortcut="none", **options)


@register_model("He et al. 2015, Figure 6", image_size=32, statistics=CIFAR10)
def plain32(**options: Any) -> ResNet:
    """ResNet-32 without its shortcuts (He et al. 2015, section 4.2): 464,154 parameters."""
    return cifar_resnet(32, shortcut="none", **options)


@register_model("He et al. 2015, Figure 6", image_size=32, statistics=CIFAR10)
def plain44(**options: Any) -> ResNet:
    """ResNet-44 without its shortcuts (He et al. 2015, section 4.2): 658,586 parameters."""
    return cifar_resnet(44, shortcut="none", **options)


@register_model("He et al. 2015, Figure 6", image_size=32, statistics=CIFAR10)
def plain56(**options: Any) -> ResNet:
    """ResNet-56 without its shortcuts (He et al. 2015, section 4.2): 853,018 parameters."""
    return cifar_resnet(56, shortcut="none", **options)


@register_model("He et al. 2015, Figure 6", image_size=32, statistics=CIFAR10)
def plain110(**options: Any) -> ResNet:
    """ResNet-110 without its shortcuts (He et al. 2015, section 4.2): 1,727,962 parameters."""
    return cifar_resnet(110, shortcut="none", **options)


@register_model("He et al. 2016, Table 2", image_size=32, statistics=CIFAR10)
def preact_resnet110(*, order: str = "full_pre_activation", **options: Any) -> ResNet:
    """ResNet-110 with full pre-activation (He et al. 2016, Table 2): 1,727,962 parameters."""
    return cifar_resnet(110, order=order, **options)


def cifar_bottlenecks(
    depth: int,
    *,
    num_classes: int = 10,
    stem: str | Mapping[str, Any] | Stem = "cifar",
    shortcut: str | Mapping[str, Any] | ShortcutLayer = "convolution",
    order: str = "full_pre_activation",
    **options: Any,
) -> ResNet:
    """Builds the network of ``depth`` = 9n + 2 weight layers: a stem, three stages of n bottlenecks, and a head.

    He et al. 2016. Where the shape changes, the shortcut is a convolution, as in the authors' code.
    """
    n = _blocks(depth, 9, 2)
    return ResNet(
        Bottleneck,
        (n, n, n),
        (16, 32, 64),
        num_classes=num_classes,
        stem=stem,
        shortcut=shortcut,
        order=order,
        **options,
    )


@register_model("He et al. 2016, Table 2", image_size=32, statistics=CIFAR10)
def preact_resnet164(**options: Any) -> ResNet:
    """ResNet-164 with full pre-activation (He et al. 2016, Table 2): 1,703,258 parameters."""
    return cifar_bottlenecks(164, **options)


@register_model("He et al. 2016, Table 3", image_size=32, statistics=CIFAR10)
def preact_resnet1001(**options: Any) -> ResNet:
    """ResNet-1001 with full pre-activation (He et al. 2016, Table 3): 10,327,706 parameters."""
    return cifar_bottlenecks(1001, **options)


def wide_resnet(
    depth: int,
    width: int,
    *,
    dropout: float = 0.0,
    num_classes: int = 10,
    stem: str | Mapping[str, Any] | Stem = "cifar",
    shortcut: str | Mapping[str, Any] | ShortcutLayer = "convolution",
    order: str = "full_pre_activation",
    **options: Any,
) -> ResNet:
    """Builds WRN-depth-width: three stages of n = (depth - 4) / 6 pre-activation blocks, widened by ``width``.

    Zagoruyko & Komodakis 2016, *Wide Residual Networks*, section 2. Each block has two convolutions; ``dropout`` is the
    fraction of values dropped between them (section 2.4).
    """
    n = _blocks(depth, 6, 4)
    return ResNet(
        partial(BasicBlock, dropout=dropout),
        (n, n, n),
        (16 * width, 32 * width, 64 * width),
        num_classes=num_classes,
        stem=stem,
        stem_planes=16,
        shortcut=shortcut,
        order=order,
        **options,
    )


@register_model("Zagoruyko et al. 2016", image_size=32, statistics=CIFAR10)
def wide_resnet16_8(*, dropout: float = 0.0, **options: Any) -> ResNet:
    """WRN-16-8 (Zagoruyko & Komodakis 2016): 10,961,370 parameters."""
    return wide_resnet(16, 8, dropout=dropout, **options)


@register_model("Zagoruyko et al. 2016", image_size=32, statistics=CIFAR10)
def wide_resnet28_10(*, dropout: float = 0.0, **options: Any) -> ResNet:
    """WRN-28-10 (Zagoruyko & Komodakis 2016): 36,479,194 parameters."""
    return wide_resnet(28, 10, dropout=dropout, **options)


@register_model("Zagoruyko et al. 2016", image_size=32, statistics=CIFAR10)
def wide_resnet40_4(*, dropout: float = 0.0, **options: Any) -> ResNet:
    """WRN-40-4 (Zagoruyko & Komodakis 2016): 8,949,210 parameters."""
    return wide_resnet(40, 4, dropout=dropout, **options)
