"""What carries x past the residual branch.

A shortcut is made by a function ``(in_planes, out_planes, stride, norm_layer) -> nn.Module`` and maps
(B, in_planes, H, W) to (B, out_planes, H / stride, W / stride), which the block adds to its residual branch.
A ``Junction`` does the adding itself.

He et al. 2015, section 4.1, compares three shortcuts for the few blocks whose shape changes: A, zero padding; B,
projection there; C, projection everywhere. He et al. 2016, Table 1, puts obstacles on the shortcuts of all blocks; here
they come on top of option A, which changes the shape where it has to change.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from .layers import NormLayer, conv

ShortcutLayer = Callable[..., nn.Module]
"""``(in_planes, out_planes, stride, norm_layer)`` to the shortcut."""


class Junction(nn.Module):
    """A shortcut that decides by itself how the residual branch joins it: maps (x, residual) to the block's sum."""


# Identities, padded or projected where the shape changes.


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
    """Option A: the identity, zero-padded where the shape changes. The CIFAR nets of the paper use it everywhere.

    Raises:
        InputError: where channels would be lost.
    """
    if out_planes < in_planes:
        raise InputError(f"the shortcut zero_pad adds channels, and cannot go from {in_planes} to {out_planes}")
    if stride == 1 and in_planes == out_planes:
        return nn.Identity()
    return ZeroPad(out_planes - in_planes, stride)


def projection(in_planes: int, out_planes: int, stride: int, norm_layer: NormLayer) -> nn.Module:
    """Option B: the identity, and a 1x1 convolution with a norm where the shape changes."""
    if stride == 1 and in_planes == out_planes:
        return nn.Identity()
    return projection_everywhere(in_planes, out_planes, stride, norm_layer)


def projection_everywhere(in_planes: int, out_planes: int, stride: int, norm_layer: NormLayer) -> nn.Module:
    """Option C: a 1x1 convolution with a norm in every block."""
    return nn.Sequential(conv(in_planes, out_planes, kernel_size=1, stride=stride), norm_layer(out_planes))


def convolution(in_planes: int, out_planes: int, stride: int, norm_layer: NormLayer) -> nn.Module:
    """The identity, and a bare 1x1 convolution where the shape changes, as pre-activation nets have it.

    It needs no norm, because the input is already normalised there.
    """
    if stride == 1 and in_planes == out_planes:
        return nn.Identity()
    return convolution_everywhere(in_planes, out_planes, stride, norm_layer)


def convolution_everywhere(in_planes: int, out_planes: int, stride: int, norm_layer: NormLayer) -> nn.Module:
    """A bare 1x1 convolution in every block; with a norm it is ``projection_everywhere``.

    He et al. 2016, Table 1, has a 1x1 convolution on every shortcut.
    """
    return conv(in_planes, out_planes, kernel_size=1, stride=stride)


class NoShortcut(Junction):
    """The plain net of He et al. 2015: nothing goes past the branch."""

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return residual


def none(in_planes: int, out_planes: int, stride: int, norm_layer: NormLayer) -> nn.Module:
    """No shortcut, which makes the net a plain one."""
    return NoShortcut()


# The obstacles of He et al. 2016, section 3.


class ConstantScaling(Junction):
    """``scale * x + residual_scale * residual``, with x as option A carries it (He et al. 2016, section 3.1)."""

    def __init__(self, carry: nn.Module, scale: float, residual_scale: float) -> None:
        super().__init__()
        self.carry = carry
        self.scale = scale
        self.residual_scale = residual_scale

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.scale * self.carry(x) + self.residual_scale * residual

    def extra_repr(self) -> str:
        return f"scale={self.scale}, residual_scale={self.residual_scale}"


def constant_scaling(
    in_planes: int,
    out_planes: int,
    stride: int,
    norm_layer: NormLayer,
    *,
    scale: float = 0.5,
    residual_scale: float = 1.0,
) -> nn.Module:
    """Both paths times a constant (He et al. 2016, Table 1: 0.5 and 1, or 0.5 and 0.5)."""
    return ConstantScaling(zero_pad(in_planes, out_planes, stride, norm_layer), scale, residual_scale)


def make_gate(in_planes: int, out_planes: int, stride: int, bias: float) -> nn.Sequential:
    """g(x) = sigmoid(W x + b), W a 1x1 convolution: (B, in_planes, H, W) to numbers between 0 and 1."""
    weights = nn.Conv2d(in_planes, out_planes, kernel_size=1, stride=stride)
    nn.init.kaiming_normal_(weights.weight, mode="fan_out")
    nn.init.constant_(weights.bias, bias)  # type: ignore[arg-type]
    return nn.Sequential(weights, nn.Sigmoid())


class ExclusiveGating(Junction):
    """``(1 - g(x)) * x + g(x) * residual``, as in highway networks (He et al. 2016, section 3.1)."""

    def __init__(self, carry: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.carry = carry
        self.gate = gate

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        g = self.gate(x)
        return (1 - g) * self.carry(x) + g * residual


def exclusive_gating(
    in_planes: int, out_planes: int, stride: int, norm_layer: NormLayer, *, bias: float = -6.0
) -> nn.Module:
    """A gate that opens one path as far as it closes the other (He et al. 2016, Table 1).

    The gate is a 1x1 convolution whose bias starts at ``bias``: at -6 almost everything takes the shortcut.
    """
    carry = zero_pad(in_planes, out_planes, stride, norm_layer)
    return ExclusiveGating(carry, make_gate(in_planes, out_planes, stride, bias))


class ShortcutGating(nn.Module):
    """``(1 - g(x)) * x`` (He et al. 2016, section 3.1)."""

    def __init__(self, carry: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.carry = carry
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        return (1 - self.gate(x)) * self.carry(x)


def shortcut_gating(
    in_planes: int, out_planes: int, stride: int, norm_layer: NormLayer, *, bias: float = -6.0
) -> nn.Module:
    """A gate on the shortcut alone, with the bias that it starts at (He et al. 2016, Table 1: shortcut-only)."""
    carry = zero_pad(in_planes, out_planes, stride, norm_layer)
    return ShortcutGating(carry, make_gate(in_planes, out_planes, stride, bias))


def dropout(in_planes: int, out_planes: int, stride: int, norm_layer: NormLayer, *, p: float = 0.5) -> nn.Module:
    """Dropout on the shortcut (He et al. 2016, Table 1)."""
    return nn.Sequential(zero_pad(in_planes, out_planes, stride, norm_layer), nn.Dropout(p))


SHORTCUTS: dict[str, ShortcutLayer] = {
    make.__name__: make
    for make in (
        zero_pad,
        projection,
        projection_everywhere,
        convolution,
        convolution_everywhere,
        none,
        constant_scaling,
        exclusive_gating,
        shortcut_gating,
        dropout,
    )
}
