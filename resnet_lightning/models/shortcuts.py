"""The shortcuts of residual blocks.

Each function ``(in_planes, out_planes, stride, norm_layer) -> nn.Module`` makes the shortcut of a block. It maps
(B, in_planes, H, W) to (B, out_planes, H / stride, W / stride), and the block adds the result to its residual branch.
A ``Junction`` is a shortcut that combines the two in another way.

He et al. 2015, section 4.1, compares three options: A, zero padding where the shape changes; B, a projection where the
shape changes; C, a projection in every block. He et al. 2016, Table 1, adds scaling, gates, convolutions or dropout to
every shortcut. Here they are applied to a shortcut of option A; only the convolutions replace it.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from .layers import NormLayer, conv

ShortcutLayer = Callable[..., nn.Module]
"""Makes a shortcut from ``(in_planes, out_planes, stride, norm_layer)``."""


class Junction(nn.Module):
    """A shortcut that is called with x and the residual branch, and returns their combination."""


# Identity shortcuts, zero-padded or projected where the shape changes.


class ZeroPad(nn.Module):
    """Subsamples by ``stride`` and appends channels of zeros (He et al. 2015, option A). It has no parameters.

    Attributes:
        sources: None, or for each output channel the input channel that it copies, where ``in_planes`` stands for zeros
            (out_planes,). It is set when channels are pruned; see ``models.pruning``.
    """

    sources: Tensor | None

    def __init__(self, in_planes: int, out_planes: int, stride: int) -> None:
        super().__init__()
        self.in_planes = in_planes
        self.out_planes = out_planes
        self.stride = stride
        self.register_buffer("sources", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        if self.sources is None:
            return F.pad(x, (0, 0, 0, 0, 0, self.out_planes - self.in_planes))
        return F.pad(x, (0, 0, 0, 0, 0, 1)).index_select(1, self.sources.to(x.device))

    def extra_repr(self) -> str:
        return f"{self.in_planes}, {self.out_planes}, stride={self.stride}"


def zero_pad(in_planes: int, out_planes: int, stride: int, norm_layer: NormLayer) -> nn.Module:
    """Option A: the identity, zero-padded where the shape changes. All CIFAR networks of the paper use it.

    Raises:
        InputError: if there are fewer output than input channels.
    """
    if out_planes < in_planes:
        raise InputError(f"the shortcut zero_pad can only add channels, but the block maps {in_planes} to {out_planes}")
    if stride == 1 and in_planes == out_planes:
        return nn.Identity()
    return ZeroPad(in_planes, out_planes, stride)


def projection(in_planes: int, out_planes: int, stride: int, norm_layer: NormLayer) -> nn.Module:
    """Option B: a 1x1 convolution with a norm where the shape changes, else the identity."""
    if stride == 1 and in_planes == out_planes:
        return nn.Identity()
    return projection_everywhere(in_planes, out_planes, stride, norm_layer)


def projection_everywhere(in_planes: int, out_planes: int, stride: int, norm_layer: NormLayer) -> nn.Module:
    """Option C: a 1x1 convolution with a norm in every block."""
    return nn.Sequential(conv(in_planes, out_planes, kernel_size=1, stride=stride), norm_layer(out_planes))


def convolution(in_planes: int, out_planes: int, stride: int, norm_layer: NormLayer) -> nn.Module:
    """A 1x1 convolution without a norm where the shape changes, else the identity.

    For pre-activation networks, where the input is already normalized.
    """
    if stride == 1 and in_planes == out_planes:
        return nn.Identity()
    return convolution_everywhere(in_planes, out_planes, stride, norm_layer)


def convolution_everywhere(in_planes: int, out_planes: int, stride: int, norm_layer: NormLayer) -> nn.Module:
    """A 1x1 convolution without a norm in every block; ``projection_everywhere`` adds a norm.

    He et al. 2016, Table 1: 1x1 convolution shortcut.
    """
    return conv(in_planes, out_planes, kernel_size=1, stride=stride)


class NoShortcut(Junction):
    """Returns the residual branch alone, as in the plain networks of He et al. 2015."""

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return residual


def none(in_planes: int, out_planes: int, stride: int, norm_layer: NormLayer) -> nn.Module:
    """No shortcut, for plain networks."""
    return NoShortcut()


# The modified shortcuts of He et al. 2016, section 3.


class ConstantScaling(Junction):
    """``scale * x + residual_scale * residual`` (He et al. 2016, section 3.1)."""

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
    """Multiplies each path by a constant (He et al. 2016, Table 1: 0.5 and 1, or 0.5 and 0.5)."""
    return ConstantScaling(zero_pad(in_planes, out_planes, stride, norm_layer), scale, residual_scale)


def make_gate(in_planes: int, out_planes: int, stride: int, bias: float) -> nn.Sequential:
    """Makes the gate g(x) = sigmoid(W x + b) with a 1x1 convolution W; its values lie between 0 and 1."""
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
    """Weights the two paths by a gate and its complement (He et al. 2016, Table 1).

    ``bias`` is the initial bias of the gate; with -6 the block is almost the identity.
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
    """Gates the shortcut only (He et al. 2016, Table 1: shortcut-only gating); ``bias`` is the gate's initial bias."""
    carry = zero_pad(in_planes, out_planes, stride, norm_layer)
    return ShortcutGating(carry, make_gate(in_planes, out_planes, stride, bias))


def dropout(in_planes: int, out_planes: int, stride: int, norm_layer: NormLayer, *, p: float = 0.5) -> nn.Module:
    """Applies dropout to the shortcut (He et al. 2016, Table 1)."""
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
