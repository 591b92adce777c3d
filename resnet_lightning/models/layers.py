"""Convolutions, norms, activations and stochastic depth, and how options select them by name."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from torch import Tensor, nn

from ..build import build
from ..errors import InputError, did_you_mean

NormLayer = Callable[[int], nn.Module]
"""Makes the norm for a number of channels; ``nn.BatchNorm2d`` is one."""

ActLayer = Callable[[], nn.Module]
"""Makes an activation; ``nn.SiLU`` is one."""

Layer = TypeVar("Layer", bound=Callable[..., Any])


def conv(
    in_planes: int, out_planes: int, kernel_size: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Conv2d:
    """Makes a padded convolution without bias: (B, C, H, W) -> (B, C', H / stride, W / stride).

    The norm after it has a bias. The weights are initialized as in He et al. 2015, *Delving Deep into Rectifiers*,
    section 2.2 (backward form: ``fan_out``), which preserves the variance of the gradient through a ReLU.
    """
    padding = dilation * (kernel_size // 2)
    layer = nn.Conv2d(in_planes, out_planes, kernel_size, stride, padding, dilation, groups, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def group_norm(planes: int, num_groups: int = 32) -> nn.GroupNorm:
    """Makes a group norm (Wu & He 2018), with fewer groups if a group would otherwise have a single channel.

    Raises:
        InputError: if ``num_groups`` is less than 1, or the channels cannot be divided into equal groups.
    """
    if num_groups < 1:
        raise InputError(f"num_groups is {num_groups}; a group norm has at least 1")
    groups = min(num_groups, max(1, planes // 2))
    if planes % groups:
        raise InputError(f"{planes} channels cannot be divided into {groups} equal groups of a group norm")
    return nn.GroupNorm(groups, planes)


def no_norm(planes: int) -> nn.Module:
    """Makes nothing in place of a norm, for networks without normalization."""
    return nn.Identity()


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016, section 3): in training, sets a residual branch to zero for random images.

    Maps (B, C, H, W) to the same shape. The remaining images are scaled by 1 / (1 - rate), so that the mean stays the
    same. The paper drops the branch for a whole batch; this module decides for each image.
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
    """Changes an activation so that it does not overwrite its input, and returns it."""
    for module in activation.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    return activation


NORM_LAYERS: dict[str, NormLayer] = {"batch": nn.BatchNorm2d, "group": group_norm, "none": no_norm}

ACT_LAYERS: dict[str, ActLayer] = {
    "relu": partial(nn.ReLU, inplace=True),
    "leaky_relu": partial(nn.LeakyReLU, inplace=True),
    "elu": partial(nn.ELU, inplace=True),
    "celu": partial(nn.CELU, inplace=True),
    "silu": partial(nn.SiLU, inplace=True),
    "gelu": nn.GELU,
}


def resolve(option: str, value: str | Mapping[str, Any] | Layer, known: Mapping[str, Layer]) -> Layer:
    """Returns the function for the value of an option such as ``norm_layer``.

    Args:
        option: the name of the option, for error messages.
        value: a name; ``{name: {argument: value}}``, for a name with arguments in a config; or the function itself.
        known: the functions by their names.

    Raises:
        InputError: if the name is unknown or the value has another form. The returned function raises it if an argument
            does not exist.
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
        raise InputError(f"{option} {value!r} has the arguments {arguments!r}; give {{argument: value}}")

    def make(*args: Any, **options: Any) -> Any:
        return build(f"{option} {value!r}", known[value], *args, **{**options, **arguments})

    return make  # type: ignore[return-value]
