"""Shows what a model has learned: Grad-CAM heatmaps of images, and the filters of the first convolution."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ..atomic_write import atomic_write
from ..errors import InputError
from .loaded import LoadedModel

_MIN_SIDE = 224  # pixels; the overlays of smaller images are enlarged to about this size


@dataclass(frozen=True)
class Explanation:
    """A model's prediction for an image, with its heatmap.

    Args:
        probabilities: the probability of each class (num_classes,).
        pixels: the model's input before normalization (C, H, W) uint8.
        heat: the heatmap (H, W), from 0 to 1: how strongly each pixel supports the most likely class.
    """

    probabilities: Tensor
    pixels: Tensor
    heat: Tensor

    def overlay(self) -> NDArray[np.uint8]:
        """Returns the image blended with its heatmap (H', W', 3), enlarged if it is small."""
        from matplotlib import colormaps

        factor = max(_MIN_SIDE // max(self.heat.shape), 1)
        image = self.pixels.expand(3, -1, -1).permute(1, 2, 0).numpy().repeat(factor, 0).repeat(factor, 1)
        height, width, _ = image.shape
        heat = F.interpolate(self.heat[None, None], (height, width), mode="bilinear")[0, 0].numpy()
        colors = colormaps["jet"](heat)[..., :3] * 255
        return (0.55 * image + 0.45 * colors).round().astype(np.uint8)


def explain(trained: LoadedModel, files: Sequence[str | Path]) -> list[Explanation]:
    """Explains the most likely class of each image by Grad-CAM (Selvaraju et al. 2017, section 3).

    The heatmap is computed from the model's last feature maps.

    Raises:
        InputError: if a file cannot be read, or the model has no feature maps.
    """
    return [_explain(trained, pixels) for pixels in trained.read(files)]


def _explain(trained: LoadedModel, pixels: Tensor) -> Explanation:
    images = trained.data.normalize(pixels[None]).requires_grad_()  # so that frozen stages have gradients too
    with torch.enable_grad():
        logits, maps = _logits_and_feature_maps(trained.classifier, images)
        (gradient,) = torch.autograd.grad(logits[0].max(), maps)
    heat = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
    heat = F.interpolate(heat.detach(), pixels.shape[1:], mode="bilinear")[0, 0]
    probabilities = trained.classifier.to_probabilities(logits.detach())[0]
    return Explanation(probabilities, pixels, heat / heat.max().clamp(min=1e-12))


def _logits_and_feature_maps(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the logits, and the last output (B, C, H, W) of a submodule with more than one pixel."""
    last: list[Tensor] = []

    def keep_output(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            last[:] = [output]

    hooks = [module.register_forward_hook(keep_output) for module in model.modules()]
    try:
        logits = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not last:
        raise InputError("this model has no feature maps of more than one pixel, which Grad-CAM needs")
    return logits, last[0]


def save_overlays(explanations: Sequence[Explanation], files: Sequence[str | Path], folder: Path) -> list[Path]:
    """Writes the overlay of each explanation as a PNG, and returns the paths.

    Each is named after its image file. If several files have the same name, a number is added to the later ones.
    """
    written: list[Path] = []
    for explanation, file in zip(explanations, files, strict=True):
        path, number = folder / f"{Path(file).stem}_gradcam.png", 2
        while path in written:
            path, number = folder / f"{Path(file).stem}_gradcam_{number}.png", number + 1
        with atomic_write(path) as png:
            Image.fromarray(explanation.overlay()).save(png, "PNG")
        written.append(path)
    return written


def first_filters(model: nn.Module) -> NDArray[np.uint8]:
    """Returns the filters of the first convolution as images (N, H, W, C).

    Each filter is scaled so that its smallest weight is black and its largest is white.

    Raises:
        InputError: if the model has no convolution.
    """
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        raise InputError("this model has no convolution, so there are no filters to draw")
    weights = first.weight.detach().float()
    if weights.shape[1] != 3:  # not RGB: each input channel becomes an image of its own
        weights = weights.flatten(0, 1)[:, None]
    low, high = weights.amin((1, 2, 3), keepdim=True), weights.amax((1, 2, 3), keepdim=True)
    return ((weights - low) / (high - low).clamp(min=1e-12) * 255).round().byte().permute(0, 2, 3, 1).numpy()
