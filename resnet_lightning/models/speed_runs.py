"""Networks that reach an accuracy on CIFAR-10 in little time. They downsample by max pooling.

Each takes the options of ``create_model`` and ``ResNet``. By default it maps (B, 3, H, W) to logits (B, 10).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from ..errors import InputError
from .blocks import BasicBlock
from .layers import ActLayer, NormLayer, conv
from .pretrained_cfg import CIFAR10
from .registry import register_model
from .resnet import ResNet
from .stems import Stem


class PooledConvolution(nn.Module):
    """Convolution, norm, activation and max pooling: (B, in_planes, H, W) -> (B, planes, H / stride, W / stride).

    Args:
        in_planes: number of input channels.
        planes: number of output channels.
        stride: that of the pooling.
        norm_layer: makes the norm.
        act_layer: makes the activation.
        pool_first: pool before the norm and the activation, which then have fewer pixels to compute.
    """

    def __init__(
        self,
        in_planes: int,
        planes: int,
        stride: int,
        norm_layer: NormLayer,
        act_layer: ActLayer,
        pool_first: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = conv(in_planes, planes, kernel_size=3)
        self.bn1 = norm_layer(planes)
        self.relu = act_layer()
        self.maxpool = nn.MaxPool2d(stride, ceil_mode=True)  # rounds sizes up, as a strided convolution does
        self.pool_first = pool_first
        self.out_planes = planes

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        if self.pool_first:
            return self.relu(self.bn1(self.maxpool(x)))
        return self.maxpool(self.relu(self.bn1(x)))


def _pooled_or_residual(
    in_planes: int,
    planes: int,
    stride: int,
    *,
    network: str,
    first_dilation: int,
    dilation: int,
    pool_first: bool = False,
    **options: Any,
) -> Any:
    """Makes the first layer of a stage, a pooled convolution, or another one, a residual block.

    Options of residual blocks, such as the shortcut and the order, do not apply to the pooled convolution.

    Raises:
        InputError: if a pooled convolution is to be dilated.
    """
    if dilation > 1:
        raise InputError(f"{network} downsamples by pooling, which dilation cannot replace; leave output_stride out")
    if stride == 1:
        return BasicBlock(in_planes, planes, dilation=dilation, **options)
    return PooledConvolution(in_planes, planes, stride, options["norm_layer"], options["act_layer"], pool_first)


class ScaledLinear(nn.Linear):
    """A linear layer without bias whose output is multiplied by ``scale``: (B, in_features) -> (B, out_features)."""

    def __init__(self, in_features: int, out_features: int, scale: float = 0.125) -> None:
        super().__init__(in_features, out_features, bias=False)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * super().forward(x)


@register_model("Page 2018", image_size=32, statistics=CIFAR10)
def resnet9(
    *,
    num_classes: int = 10,
    stem: str | Mapping[str, Any] | Stem = "cifar",
    order: str = "act_before_addition",
    global_pool: str = "max",
    **options: Any,
) -> ResNet:
    """ResNet-9 of the CIFAR-10 speed runs (Page 2018, *How to Train Your ResNet*): 6,573,120 parameters."""
    return ResNet(
        partial(_pooled_or_residual, network="resnet9"),
        (2, 1, 2),
        (128, 256, 512),
        strides=(2, 2, 2),
        num_classes=num_classes,
        stem=stem,
        stem_planes=64,
        order=order,
        global_pool=global_pool,
        head=ScaledLinear,
        **options,
    )


@register_model("after Jordan 2024, section 4", image_size=32, statistics=CIFAR10)
def resnet_fast(
    *,
    widths: Sequence[int] = (32, 64, 128),
    stem_planes: int = 16,
    dirac_init: bool = True,
    zero_init_residual: bool = True,
    head_scale: float = 0.125,
    num_classes: int = 10,
    stem: str | Mapping[str, Any] | Stem = "cifar",
    global_pool: str = "max",
    **options: Any,
) -> ResNet:
    """A small residual network for short trainings: 468,368 parameters.

    Jordan 2024, *94% on CIFAR-10 in 3.29 Seconds on a Single GPU*: each stage is a convolution, max pooling, norm and
    activation; all stages but the first then have a residual block of two convolutions, as in section 4. The stem, the
    global max pool and the scaled head are those of ResNet-9 (Page 2018).

    ``widths`` are the channels of the stages, and ``stem_planes`` those of the stem. With ``dirac_init``, the
    convolutions of the stages begin by copying their input channels (section 3.3, *Identity initialization*). With
    ``zero_init_residual``, the residual branches begin at zero. The logits are multiplied by ``head_scale``.
    """
    if not isinstance(widths, list | tuple) or not widths or not all(type(w) is int and w > 0 for w in widths):
        raise InputError(f"widths is {widths!r}; give the channels of each stage, such as [32, 64, 128]")
    if isinstance(head_scale, bool) or not isinstance(head_scale, int | float) or not head_scale > 0:
        raise InputError(f"head_scale is {head_scale!r}; give a number above 0")
    net = ResNet(
        partial(_pooled_or_residual, network="resnet_fast", pool_first=True),
        [1, *[2] * (len(widths) - 1)],
        widths,
        strides=[2] * len(widths),
        num_classes=num_classes,
        stem=stem,
        stem_planes=stem_planes,
        zero_init_residual=zero_init_residual,
        global_pool=global_pool,
        head=partial(ScaledLinear, scale=head_scale),
        **options,
    )
    if dirac_init:
        for name in net.stage_names:
            begin_as_identity(net.get_submodule(name))
    return net


def begin_as_identity(module: nn.Module) -> None:
    """Initializes the first filters of each convolution so that they copy its input channels; the others stay."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight.data[: layer.in_channels])
