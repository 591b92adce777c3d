"""What carries x past the residual branch.

A shortcut is made by a function ``(in_planes, out_planes, stride, norm_layer) -> nn.Module`` and maps
(B, in_planes, H, W) to (B, out_planes, H / stride, W / stride). He et al. 2015, section 3.3, compares three choices
for the few blocks whose shape changes: A, zero padding; B, projection there; C, projection everywhere.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from .layers import NormLayer, conv

ShortcutLayer = Callable[[int, int, int, NormLayer], nn.Module]


class ZeroPad(nn.Module):
    """Option A of He et al. 2015: every ``stride``-th pixel, and zeros for the channels that are new. No parameters."""

    def __init__(self, new_planes: int, stride: int) -> None:
        super().__init__()
        self.new_planes = new_planes
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.new_planes))

    def extra_repr(self) -> str:
        return f"new_planes={self.new_planes}, stride={self.stride}"


def zero_pad(in_planes: int, out_planes: int, stride: int, norm_layer: NormLayer) -> nn.Module:
    """Option A: the identity, zero-padded where the shape changes. The CIFAR nets of the paper use it everywhere."""
    if stride == 1 and in_planes == out_planes:
        return nn.Identity()
    return ZeroPad(out_planes - in_planes, stride)


def projection(in_planes: int, out_planes: int, stride: int, norm_layer: NormLayer) -> nn.Module:
    """Option B: the identity, and a 1x1 convolution with a norm where the shape changes."""
    if stride == 1 and in_planes == out_planes:
        return nn.Identity()
    return nn.Sequential(conv(in_planes, out_planes, kernel_size=1, stride=stride), norm_layer(out_planes))
