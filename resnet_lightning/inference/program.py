"""A trained net with all that happens to an image before and after it, in operations that every exporter knows."""

import copy

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from .loaded import LoadedModel


class Deployable(nn.Module):
    """A net with all that happens to an image before and after it: (B, H, W, C) uint8 to (B, num_classes) float32.

    The pixels are those of the files, grey (C = 1) or RGB (C = 3); the output is the probability of each class. The
    shorter side is scaled as ``data.decode.scale_and_cut`` does it, to at most one grey level in few of a million
    pixels, by operations that every exporter knows.

    Args:
        net: images (B, C, size, size), normalised, to logits (B, num_classes).
        mean: of each channel, for pixels in [0, 1].
        std: likewise.
        shorter_side: what the shorter side is scaled to.
        size: the side of the square that is cut out of the middle; None takes images as they are.
    """

    shift: Tensor
    factor: Tensor

    def __init__(self, net: nn.Module, mean: Tensor, std: Tensor, shorter_side: int, size: int | None) -> None:
        super().__init__()
        self.net = net
        self.shorter_side = shorter_side
        self.size = size
        mean, std = (255 * values.double()[:, None, None] for values in (mean, std))
        self.register_buffer("shift", (-mean / std).float())
        self.register_buffer("factor", (1 / std).float())

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.permute(0, 3, 1, 2).float()
        if self.size is not None:
            pixels = self._scale_and_cut(pixels, self.size)
        return self.net(torch.addcmul(self.shift, pixels, self.factor)).float().softmax(dim=1)

    def _scale_and_cut(self, pixels: Tensor, size: int) -> Tensor:
        # Numbers for each image size stay on the CPU, where there is float64; Python rounds in it, too.
        height, width = (torch.full((), side, dtype=torch.int64) for side in pixels.shape[-2:])
        # Not the number itself by the tensor: torch would multiply with a reciprocal, which is rounded once more.
        scale = torch.full((), self.shorter_side, dtype=torch.float64) / torch.minimum(height, width)
        scaled_height, scaled_width = (
            (side.double() * scale).round().long().clamp(min=self.shorter_side) for side in (height, width)
        )
        rows = _interpolation(height, scaled_height, torch.arange(pixels.shape[-2], device=pixels.device), size)
        columns = _interpolation(width, scaled_width, torch.arange(pixels.shape[-1], device=pixels.device), size)
        return _to_grey_levels(rows @ _to_grey_levels(pixels @ columns.T))


def _to_grey_levels(pixels: Tensor) -> Tensor:
    return (pixels + 0.5).floor().clamp(0, 255)


def _interpolation(side: Tensor, scaled: Tensor, pixels: Tensor, size: int) -> Tensor:
    """The share that each pixel of a side has in each of those cut out of its middle: (size, side) float32.

    Bilinear with antialiasing: a triangle around each new pixel that, where the side shrinks, widens with the scale.
    As in torch, weights are multiples of a power of two, so that nearly all sums of pixels are exact in float32. All
    is whole numbers up to there: positions count in parts of 1 / (2 * scaled) of a pixel.

    Args:
        side: the length of the side, ().
        scaled: what it is scaled to, ().
        pixels: the numbers of its pixels, (side,).
        size: how many pixels are cut out of the middle.
    """
    radius = 2 * torch.maximum(side, scaled)
    chosen = (scaled - size) // 2 + torch.arange(size, device=pixels.device)
    distances = ((2 * pixels + 1) * scaled - (2 * chosen[:, None] + 1) * side).abs()
    triangles = (radius - distances).clamp(min=0)
    sums = triangles.sum(1, keepdim=True)
    unit = _unit(side, scaled, radius, pixels)
    return ((2 * triangles * unit + sums) // (2 * sums)).float() / unit


def _unit(side: Tensor, scaled: Tensor, radius: Tensor, pixels: Tensor) -> Tensor:
    """What torch multiplies all weights of a side with: the largest power of two that keeps them within 16 bits, ().

    The largest weight can belong to any of the new pixels. Each one's sum of weights is that of two arithmetic series,
    of the pixels up to its centre and of those behind it.
    """
    # As many as there are old pixels are enough: where a side grows, the first new one has a weight of 1.
    centres = (2 * torch.minimum(pixels, scaled - 1) + 1) * side
    first = (centres - radius + scaled).clamp(min=0) // (2 * scaled)
    middle = (centres + scaled) // (2 * scaled)
    end = torch.minimum((centres + radius + scaled) // (2 * scaled), side)
    before = (middle - first) * (radius - centres) + scaled * (middle * middle - first * first)
    behind = (end - middle) * (radius + centres) - scaled * (end * end - middle * middle)
    sums = before + behind
    peaks = radius - torch.minimum(centres - (2 * middle - 1) * scaled, (2 * middle + 1) * scaled - centres)
    powers = torch.tensor([2**bits for bits in range(23)], device=pixels.device)
    weights = (2 * peaks[:, None] * powers + sums[:, None]) // (2 * sums[:, None])
    return (powers * (weights < 2**15).all(dim=0)).amax(dim=0)


def deployable(trained: LoadedModel) -> Deployable:
    """The net as one module from pixels to probabilities, with each norm that follows a convolution folded into it.

    It is a copy: the trained net stays as it is.
    """
    data = trained.data
    net = _fused(trained.classifier.backbone).float().to(memory_format=torch.contiguous_format)
    size, shorter_side = data.sizes()
    mean, std = data.statistics()
    module = Deployable(net, mean.expand(data.in_chans), std.expand(data.in_chans), shorter_side, size)
    return module.eval().requires_grad_(False)


def _fused(net: nn.Module) -> nn.Module:
    try:
        return fuse(net)  # of a copy
    except Exception as error:  # whatever the code of a net raises that is run with symbols instead of images
        print(f"the net cannot be traced, and keeps its batch norms unfused: {reason_of(error)}")
        return copy.deepcopy(net)


def reason_of(error: BaseException) -> str:
    """The first line of what was wrong in the first place."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
