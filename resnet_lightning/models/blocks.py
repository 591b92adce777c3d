"""The residual blocks of He et al. 2015, with the orders of convolution, norm and activation of He et al. 2016."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from ..errors import InputError
from .layers import ACT_LAYERS, ActLayer, DropPath, NormLayer, conv, out_of_place
from .shortcuts import Junction, NoShortcut, ShortcutLayer, projection


@dataclass(frozen=True)
class Order:
    """The order of the layers in a residual block (He et al. 2016, Figure 4).

    Each field is a sequence of the words "conv", "norm" and "act", separated by spaces.

    Args:
        layer: each convolution of the residual branch but the last, with its norm and activation.
        last: the last convolution, likewise.
        after: the layers after the addition.
    """

    layer: str
    last: str
    after: str

    @property
    def before_conv(self) -> list[str]:
        """The layers before the first convolution of a block. A network repeats them after its last block."""
        return self.layer.partition("conv")[0].split()


ORDERS = {
    "original": Order("conv norm act", "conv norm", after="act"),
    "norm_after_addition": Order("conv norm act", "conv", after="norm act"),
    "act_before_addition": Order("conv norm act", "conv norm act", after=""),
    "act_only_pre_activation": Order("act conv norm", "act conv norm", after=""),
    "full_pre_activation": Order("norm act conv", "norm act conv", after=""),
}
"""The orders of He et al. 2016, Table 2."""

PreActivation = Literal["branch", "both", "none"]


class ResidualBlock(nn.Module):
    """A chain of convolutions and a shortcut around them: (B, C, H, W) -> (B, C', H / stride, W / stride).

    With two convolutions in the original order it computes
    ``relu(bn2(conv2(relu(bn1(conv1(x))))) + downsample(x))``.

    Args:
        convs: the convolutions of the residual branch; they are stored as ``conv1``, ``conv2`` and so on.
        shortcut: the module on the shortcut; it is stored as ``downsample``, as in torchvision.
        norm_layer: makes the norms ``bn1``, ``bn2`` and so on.
        act_layer: makes the activation ``relu``.
        order: the order of the layers, one of ``ORDERS``.
        pre_activation: where the layers before the first convolution are applied, if the order has any: ``"branch"``,
            to the residual branch only; ``"both"``, also to the shortcut, as in the first block of a stage;
            ``"none"``, nowhere, if x is already activated (He et al. 2016, appendix, and the authors' code).
        dropout: the fraction of values dropped before the last convolution (Zagoruyko & Komodakis 2016, section 2.4).
        drop_path: the probability that training drops the residual branch; see ``DropPath``.

    Raises:
        InputError: if ``drop_path`` is given for a block without a shortcut.
    """

    def __init__(
        self,
        convs: Sequence[nn.Conv2d],
        shortcut: nn.Module,
        *,
        norm_layer: NormLayer = nn.BatchNorm2d,
        act_layer: ActLayer = ACT_LAYERS["relu"],
        order: Order = ORDERS["original"],
        pre_activation: PreActivation = "branch",
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if drop_path and isinstance(shortcut, NoShortcut):
            raise InputError("drop_path needs blocks with a shortcut; without one, a dropped block would return zeros")
        n = len(convs)
        name = {"conv": "conv{}", "norm": "bn{}", "act": "relu"}
        words = [(word, i) for i in range(1, n + 1) for word in (order.last if i == n else order.layer).split()]
        branch = [name[word].format(i) for word, i in words]
        leading = len(order.before_conv)
        # The names of the modules in the order in which they run; modules can then be replaced later. With two
        # convolutions and full pre-activation, `branch` is bn1 relu conv1 bn2 relu conv2, the others are empty.
        self.before = branch[:leading] if pre_activation == "both" else []
        self.branch = branch if pre_activation == "branch" else branch[leading:]
        self.after = [name[word].format(n) for word in order.after.split()]

        norm_first = "norm" in order.before_conv
        for i, layer in enumerate(convs, start=1):
            self.add_module(f"conv{i}", layer)
            if f"bn{i}" in (*self.before, *self.branch, *self.after):
                self.add_module(f"bn{i}", norm_layer(layer.in_channels if norm_first else layer.out_channels))
        # An activation before the first convolution may get x itself, which the shortcut also needs.
        self.relu = out_of_place(act_layer()) if order.before_conv else act_layer()
        if dropout:
            self.branch.insert(self.branch.index(f"conv{n}"), "dropout")
            self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path) if drop_path else None
        self.downsample = shortcut
        self.out_planes = convs[-1].out_channels
        # An activation needs its unchanged output for the gradient; a norm or a convolution does not.
        self.adds_in_place = self.branch[-1] != "relu"

    def forward(self, x: Tensor) -> Tensor:
        x = self._run(self.before, x)
        residual = self._run(self.branch, x)
        if self.drop_path is not None:
            residual = self.drop_path(residual)
        if isinstance(self.downsample, Junction):
            x = self.downsample(x, residual)
        elif self.adds_in_place:
            x = residual.add_(self.downsample(x))
        else:
            x = residual + self.downsample(x)
        return self._run(self.after, x)

    def _run(self, names: list[str], x: Tensor) -> Tensor:
        for name in names:
            x = getattr(self, name)(x)
        return x

    def zero_init_residual(self) -> None:
        """Sets the weights of the last norm or convolution to zero, so that the residual branch returns zero at first.

        Goyal et al. 2017, section 5.1; He et al. 2018, *Bag of Tricks*, section 3.1.

        Raises:
            InputError: if the block has no shortcut, or if the last layer of the branch has no weights.
        """
        last = getattr(self, self.branch[-1])
        if isinstance(self.downsample, NoShortcut):
            raise InputError("zero_init_residual needs blocks with a shortcut; without one, a block would return zeros")
        if getattr(last, "weight", None) is None:
            raise InputError(
                f"zero_init_residual needs a residual branch that ends in a norm with weights or a convolution, "
                f"not in {type(last).__name__}"
            )
        nn.init.zeros_(last.weight)


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions and a shortcut (He et al. 2015, Figure 5, left).

    Maps (B, in_planes, H, W) to (B, planes, H / stride, W / stride). The first convolution has the stride.

    Args:
        in_planes: number of input channels.
        planes: number of output channels of both convolutions.
        stride: 2 in a block that halves the feature map, else 1.
        dilation: dilation of the convolutions.
        first_dilation: dilation of the first convolution if it differs, as in the block where dilation replaces the
            stride.
        shortcut: makes the shortcut; see ``models.shortcuts``.
        norm_layer: makes the norms.
        options: the other arguments of ``ResidualBlock``.
    """

    expansion = 1  # output channels / planes

    def __init__(
        self,
        in_planes: int,
        planes: int,
        stride: int = 1,
        *,
        dilation: int = 1,
        first_dilation: int | None = None,
        shortcut: ShortcutLayer = projection,
        norm_layer: NormLayer = nn.BatchNorm2d,
        **options: Any,
    ) -> None:
        convs = [
            conv(in_planes, planes, kernel_size=3, stride=stride, dilation=first_dilation or dilation),
            conv(planes, planes, kernel_size=3, dilation=dilation),
        ]
        super().__init__(convs, shortcut(in_planes, planes, stride, norm_layer), norm_layer=norm_layer, **options)


class Bottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (He et al. 2015, Figure 5, right).

    Maps (B, in_planes, H, W) to (B, 4 * planes, H / stride, W / stride). The 3x3 convolution has the stride, as in
    torchvision and most later reproductions ("v1.5"). In the paper, the first 1x1 convolution has the stride, and so
    ignores three quarters of the pixels.

    Args:
        in_planes: number of input channels.
        planes: a quarter of the number of output channels.
        stride: 2 in a block that halves the feature map, else 1.
        dilation: dilation of the 3x3 convolution.
        first_dilation: dilation of the 3x3 convolution in the block where dilation replaces the stride, if it differs.
        groups: groups of the 3x3 convolution (Xie et al. 2017, *Aggregated Residual Transformations*: cardinality).
        width_per_group: channels of each group at 64 planes; they grow in proportion to the planes.
        shortcut: makes the shortcut; see ``models.shortcuts``.
        norm_layer: makes the norms.
        options: the other arguments of ``ResidualBlock``.

    Raises:
        InputError: if the 3x3 convolution would have no channels.
    """

    expansion = 4  # output channels / planes

    def __init__(
        self,
        in_planes: int,
        planes: int,
        stride: int = 1,
        *,
        dilation: int = 1,
        first_dilation: int | None = None,
        groups: int = 1,
        width_per_group: int = 64,
        shortcut: ShortcutLayer = projection,
        norm_layer: NormLayer = nn.BatchNorm2d,
        **options: Any,
    ) -> None:
        width = planes * width_per_group // 64 * groups
        if width < 1:
            raise InputError(f"a bottleneck of {planes} planes and width_per_group={width_per_group} has no channels")
        out_planes = planes * self.expansion
        convs = [
            conv(in_planes, width, kernel_size=1),
            conv(width, width, kernel_size=3, stride=stride, dilation=first_dilation or dilation, groups=groups),
            conv(width, out_planes, kernel_size=1),
        ]
        super().__init__(convs, shortcut(in_planes, out_planes, stride, norm_layer), norm_layer=norm_layer, **options)
