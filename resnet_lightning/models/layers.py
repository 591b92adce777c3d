"""The two layers that every residual net is made of: its convolution and its norm."""

from collections.abc import Callable

from torch import nn

NormLayer = Callable[[int], nn.Module]
"""Makes the norm of a feature map with that many channels; ``nn.BatchNorm2d`` is one."""


def conv(in_planes: int, out_planes: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps (B, C, H, W) -> (B, C', H / stride, W / stride).

    It has no bias, because a norm that subtracts the mean follows. Its weights are drawn as in He et al. 2015,
    *Delving Deep into Rectifiers*, section 2.2 (backward form: ``fan_out``), which keeps the size of the gradient
    through a ReLU.
    """
    layer = nn.Conv2d(in_planes, out_planes, kernel_size, stride, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def group_norm(planes: int) -> nn.GroupNorm:
    """Group normalisation (Wu & He 2018, section 4.1) in 32 groups, fewer where a group would have a single channel."""
    return nn.GroupNorm(min(32, max(1, planes // 2)), planes)


NORM_LAYERS: dict[str, NormLayer] = {"batch": nn.BatchNorm2d, "group": group_norm}
