"""A model with its preprocessing and softmax, in operations that every exporter supports."""

import copy

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from ..training.views import MeanOverViews
from .loaded import LoadedModel


class Deployable(nn.Module):
    """Maps the pixels of images (B, H, W, C) uint8 to the probability of each class (B, num_classes) float32.

    If an image may have several labels, it also returns which of them are predicted (B, num_classes) bool: those whose
    probability reaches its threshold.

    It scales, crops and normalizes the images, applies the network and computes the softmax. The pixels are those of
    the image files, grey (C = 1) or RGB (C = 3).

    Images are scaled as by ``data.loading.decode.scale_and_cut``, but with operations that every exporter supports. A
    few pixels of a million differ by one grey level.

    Args:
        net: maps normalized images (B, C, size, size) to logits (B, num_classes).
        mean: the mean of each channel, for pixels in [0, 1].
        std: the standard deviation of each channel, likewise.
        shorter_side: the length that the shorter side is scaled to.
        size: the side of the square that is cut out of the middle. If None, images are not scaled or cut.
        thresholds: that of each label (num_classes,); None for one label for each image.
        temperature: what the logits are divided by; None if the model is not calibrated.
    """

    shift: Tensor
    factor: Tensor
    thresholds: Tensor | None

    def __init__(
        self,
        net: nn.Module,
        mean: Tensor,
        std: Tensor,
        shorter_side: int,
        size: int | None,
        thresholds: Tensor | None = None,
        temperature: float | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("thresholds", thresholds)
        self.shorter_side = shorter_side
        self.size = size
        self.temperature = temperature
        mean, std = (255 * values.double()[:, None, None] for values in (mean, std))
        self.register_buffer("shift", (-mean / std).float())
        self.register_buffer("factor", (1 / std).float())

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        pixels = images.permute(0, 3, 1, 2).float()
        if self.size is not None:
            pixels = self._scale_and_cut(pixels, self.size)
        logits = self.net(torch.addcmul(self.shift, pixels, self.factor)).float()
        if self.thresholds is None:
            return (logits if self.temperature is None else logits / self.temperature).softmax(dim=1)
        probabilities = logits.sigmoid()
        return probabilities, probabilities >= self.thresholds

    def _scale_and_cut(self, pixels: Tensor, size: int) -> Tensor:
        # Sizes are computed on the CPU: `scale_and_cut` rounds in float64, which not every accelerator has.
        height, width = (torch.full((), side, dtype=torch.int64) for side in pixels.shape[-2:])
        # Both are tensors: torch divides a Python number by a tensor as number * reciprocal, which is rounded twice.
        scale = torch.full((), self.shorter_side, dtype=torch.float64) / torch.minimum(height, width)
        scaled_height, scaled_width = (
            (side.double() * scale).round().long().clamp(min=self.shorter_side) for side in (height, width)
        )
        rows = _resize_weights(height, scaled_height, torch.arange(pixels.shape[-2], device=pixels.device), size)
        columns = _resize_weights(width, scaled_width, torch.arange(pixels.shape[-1], device=pixels.device), size)
        return _round_pixels(rows @ _round_pixels(pixels @ columns.T))


def _round_pixels(pixels: Tensor) -> Tensor:
    return (pixels + 0.5).floor().clamp(0, 255)


def _resize_weights(side: Tensor, scaled: Tensor, pixels: Tensor, size: int) -> Tensor:
    """Returns the weight of each old pixel in each new pixel along one side of an image, (size, side) float32.

    The interpolation is bilinear with antialiasing: the filter is a triangle around each new pixel, which is widened
    by the scale when the image shrinks. As in torch, weights are rounded to multiples of a power of two, so that nearly
    all sums of pixels are exact in float32. Everything before that rounding is computed in integers: the unit of
    positions is 1 / (2 * scaled) of an old pixel.

    Args:
        side: the length of the side, ().
        scaled: the length that the side is scaled to, ().
        pixels: the indices of the old pixels, (side,).
        size: the number of new pixels, which are cut out of the middle of the scaled side.
    """
    radius = 2 * torch.maximum(side, scaled)
    new_pixels = (scaled - size) // 2 + torch.arange(size, device=pixels.device)
    distances = ((2 * pixels + 1) * scaled - (2 * new_pixels[:, None] + 1) * side).abs()
    triangles = (radius - distances).clamp(min=0)
    sums = triangles.sum(1, keepdim=True)
    factor = _weight_factor(side, scaled, radius, pixels)
    return ((2 * triangles * factor + sums) // (2 * sums)).float() / factor


def _weight_factor(side: Tensor, scaled: Tensor, radius: Tensor, pixels: Tensor) -> Tensor:
    """Returns the factor by which torch multiplies the weights of a side before it rounds them, ().

    It is the largest power of two for which every weight fits into a signed 16-bit integer. Any new pixel may have the
    largest weight. The sum of a new pixel's weights is computed as two arithmetic series: the old pixels up to its
    centre, and those after it.
    """
    # As many new pixels as old ones are enough: if the side grows, the first new pixel has the largest weight, 1.
    centres = (2 * torch.minimum(pixels, scaled - 1) + 1) * side
    first = (centres - radius + scaled).clamp(min=0) // (2 * scaled)
    middle = (centres + scaled) // (2 * scaled)
    end = torch.minimum((centres + radius + scaled) // (2 * scaled), side)
    before = (middle - first) * (radius - centres) + scaled * (middle * middle - first * first)
    after = (end - middle) * (radius + centres) - scaled * (end * end - middle * middle)
    sums = before + after
    peaks = radius - torch.minimum(centres - (2 * middle - 1) * scaled, (2 * middle + 1) * scaled - centres)
    powers = torch.tensor([2**bits for bits in range(23)], device=pixels.device)
    weights = (2 * peaks[:, None] * powers + sums[:, None]) // (2 * sums[:, None])
    return (powers * (weights < 2**15).all(dim=0)).amax(dim=0)


def deployable(trained: LoadedModel) -> Deployable:
    """Returns a copy of a model as one module from pixels to probabilities.

    Each batch norm that follows a convolution is fused into it.
    """
    data = trained.data
    net = _fuse_norms(trained.classifier.backbone).float().to(memory_format=torch.contiguous_format)
    if trained.classifier.test_views is not None:
        net = MeanOverViews(net, trained.classifier.test_views)
    size, shorter_side = data.sizes()
    mean, std = data.statistics()
    thresholds = trained.classifier.thresholds if trained.classifier.multilabel else None
    calibration = trained.classifier.calibration
    module = Deployable(
        net,
        mean.expand(data.in_chans),
        std.expand(data.in_chans),
        shorter_side,
        size,
        thresholds,
        None if calibration is None else calibration.temperature,
    )
    return module.eval().requires_grad_(False)


def _fuse_norms(net: nn.Module) -> nn.Module:
    try:
        return fuse(net)  # it copies the network
    except Exception as error:  # a network that is traced with symbols instead of images can raise anything
        print(f"the model cannot be traced, so its batch norms are not fused: {reason_of(error)}")
        return copy.deepcopy(net)


def reason_of(error: BaseException) -> str:
    """Returns the first line of the message of an exception's root cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
