"""The layers that every residual net is made of, and how an option names one."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from torch import Tensor, nn

from ..build import build
from ..errors import InputError, did_you_mean

NormLayer = Callable[[int], nn.Module]
"""Makes the norm of a feature map with that many channels; ``nn.BatchNorm2d`` is one."""

ActLayer = Callable[[], nn.Module]
"""Makes an activation; ``nn.SiLU`` is one."""

Layer = TypeVar("Layer", bound=Callable[..., Any])


def conv(
    in_planes: int, out_planes: int, kernel_size: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Conv2d:
    """A convolution that keeps (B, C, H, W) -> (B, C', H / stride, W / stride).

    It has no bias, because norms have one. Its weights are drawn as in He et al. 2015,
    *Delving Deep into Rectifiers*, section 2.2 (backward form: ``fan_out``), which keeps the size of the gradient
    through a ReLU.
    """
    padding = dilation * (kernel_size // 2)
    layer = nn.Conv2d(in_planes, out_planes, kernel_size, stride, padding, dilation, groups, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def group_norm(planes: int, num_groups: int = 32) -> nn.GroupNorm:
    """Group normalisation (Wu & He 2018) in 32 groups, fewer where a group would have a single channel.

    Raises:
        InputError: where the groups do not divide the channels.
    """
    if num_groups < 1:
        raise InputError(f"num_groups is {num_groups}; a group norm has at least 1")
    groups = min(num_groups, max(1, planes // 2))
    if planes % groups:
        raise InputError(f"a group norm of {groups} groups does not divide {planes} channels")
    return nn.GroupNorm(groups, planes)


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016, section 3): in training, leaves a residual branch out for a random image.

    Maps (B, C, H, W) to itself, with the images that stay scaled by 1 / (1 - rate), so that nothing changes on
    average. The paper draws once a batch, this once an image.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(1 - self.rate)
        return x * (kept / (1 - self.rate))

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def out_of_place(activation: nn.Module) -> nn.Module:
    """The same activation, in a form that leaves its input as it is."""
    for module in activation.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    return activation


NORM_LAYERS: dict[str, NormLayer] = {"batch": nn.BatchNorm2d, "group": group_norm}

ACT_LAYERS: dict[str, ActLayer] = {
    "relu": partial(nn.ReLU, inplace=True),
    "leaky_relu": partial(nn.LeakyReLU, inplace=True),
    "elu": partial(nn.ELU, inplace=True),
    "celu": partial(nn.CELU, inplace=True),
    "silu": partial(nn.SiLU, inplace=True),
    "gelu": nn.GELU,
}


def named(option: str, value: str | Mapping[str, Any] | Layer, known: Mapping[str, Layer]) -> Layer:
    """What an option such as ``norm_layer`` stands for.

    Args:
        option: its name, for the message.
        value: a name; ``{name: arguments}``, as a config writes a name with arguments; or the function itself.
        known: the functions by their names.

    Raises:
        InputError: for a name or an argument that does not exist.
    """
    if isinstance(value, nn.Module):
        raise InputError(f"{option} is a module, a {type(value).__name__}; give its class or a function that makes one")
    if callable(value):
        return value
    arguments: Any = None
    if isinstance(value, Mapping) and len(value) == 1:
        value, arguments = next(iter(value.items()))
    if not isinstance(value, str):
        raise InputError(f"{option} is {value!r}; give a name, {{name: {{argument: value}}}} or a function")
    if value not in known:
        raise InputError(f"unknown {option} {value!r}; {did_you_mean(value, known)}")
    if not arguments:
        return known[value]
    if not isinstance(arguments, Mapping):
        raise InputError(f"{option} {value!r} has {arguments!r} where {{argument: value}} belongs")

    def make(*args: Any, **options: Any) -> Any:
        return build(f"{option} {value!r}", known[value], *args, **{**options, **arguments})

    return make  # type: ignore[return-value]
