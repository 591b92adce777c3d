"""timm's description of a network: the images that it is meant for, and the names of its first and last layer."""

from typing import Any, NamedTuple

from torch import nn

from .resnet import ResNet


class PixelStatistics(NamedTuple):
    """Mean and standard deviation of each color channel, for pixels in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = PixelStatistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR10 = PixelStatistics((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))

# An ImageNet image is resized so that this share of it is cropped; small images are used whole.
_CROP = 0.875
_SMALL = 64


def pretrained_cfg(net: ResNet, *, architecture: str, image_size: int, statistics: PixelStatistics) -> dict[str, Any]:
    """Describes a network with the keys that timm and libraries based on it read.

    Args:
        net: the network.
        architecture: its name.
        image_size: height and width of the images that it was published for.
        statistics: the mean and standard deviation of their pixels. For other than three channels, all channels get
            the average over the colors.
    """
    channels = net.in_chans
    mean, std = (
        values if channels == 3 else (round(sum(values) / 3, 4),) * channels
        for values in (statistics.mean, statistics.std)
    )
    pooled = -(-image_size // net.reduction)
    described = {
        "architecture": architecture,
        "input_size": (channels, image_size, image_size),
        "pool_size": (pooled, pooled),
        "mean": mean,
        "std": std,
        "crop_pct": 1.0 if image_size <= _SMALL else _CROP,
        "interpolation": "bilinear",
        "fixed_input_size": False,
        "first_conv": next((name for name, module in net.named_modules() if isinstance(module, nn.Conv2d)), None),
    }
    if net.out_indices is None:
        described |= {"num_classes": net.num_classes, "classifier": "fc"}
    return described
