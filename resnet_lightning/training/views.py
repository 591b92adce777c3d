"""Test-time views: the logits of an image are the mean over several views of it."""

from collections.abc import Callable
from typing import Any, Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError, did_you_mean

ViewName = Literal["mirror", "mirror_and_shift"]


def check_views(views: Any) -> None:
    """Checks the option ``model.test_views``.

    Raises:
        InputError: if there are no views of this name.
    """
    if views is not None and views not in get_args(ViewName):
        raise InputError(f"model.test_views is {views!r}; {did_you_mean(str(views), get_args(ViewName))}")


def mean_logits(net: Callable[[Tensor], Tensor], images: Tensor, views: ViewName) -> Tensor:
    """Returns the mean logits (B, num_classes) over views of normalized images (B, C, H, W).

    ``mirror`` takes the image and its mirror image (two views). ``mirror_and_shift`` also takes both, shifted by one
    pixel to the upper left and to the lower right (six views); the shifted ones count half. Jordan 2024, *94% on
    CIFAR-10 in 3.29 Seconds on a Single GPU*, section 3.5.

    Args:
        net: maps images to logits.
        images: of at least 2x2 pixels.
        views: which views.
    """
    if views == "mirror":
        return _with_mirror(net, images)
    height, width = images.shape[-2:]
    padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
    upper, lower = padded[..., :height, :width], padded[..., 2:, 2:]
    return (2 * _with_mirror(net, images) + _with_mirror(net, upper) + _with_mirror(net, lower)) / 4


def _with_mirror(net: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    logits: Tensor = net(images) + net(images.flip(-1))
    return logits / 2


class MeanOverViews(nn.Module):
    """A network that returns the mean logits over views: (B, C, H, W) -> (B, num_classes); see ``mean_logits``."""

    def __init__(self, net: nn.Module, views: ViewName) -> None:
        super().__init__()
        self.net = net
        self.views: ViewName = views

    def forward(self, images: Tensor) -> Tensor:
        return mean_logits(self.net, images, self.views)
