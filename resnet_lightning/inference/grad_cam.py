"""What a trained net shows: which part of an image it looks at, and what its first layer looks for."""

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

_SIDE = 224  # what a smaller image is enlarged to about, so that a person sees something


@dataclass(frozen=True)
class Explanation:
    """What a net makes of an image.

    Args:
        probabilities: of each class (num_classes,).
        pixels: the image as the net sees it (C, H, W) uint8.
        heat: how much each pixel speaks for the likeliest class (H, W), from 0 to 1.
    """

    probabilities: Tensor
    pixels: Tensor
    heat: Tensor

    def overlay(self) -> NDArray[np.uint8]:
        """The image under its heat (H', W', 3)."""
        from matplotlib import colormaps

        times = max(_SIDE // max(self.heat.shape), 1)
        image = self.pixels.expand(3, -1, -1).permute(1, 2, 0).numpy().repeat(times, 0).repeat(times, 1)
        height, width, _ = image.shape
        heat = F.interpolate(self.heat[None, None], (height, width), mode="bilinear")[0, 0].numpy()
        colours = colormaps["jet"](heat)[..., :3] * 255
        return (0.55 * image + 0.45 * colours).round().astype(np.uint8)


def explain(trained: LoadedModel, files: Sequence[str | Path]) -> list[Explanation]:
    """Grad-CAM (Selvaraju et al. 2017, section 3) for the likeliest class of each image, on the net's last feature map.

    Raises:
        InputError: where a file cannot be read, or the net has no feature maps.
    """
    return [_explain(trained, pixels) for pixels in trained.read(files)]


def _explain(trained: LoadedModel, pixels: Tensor) -> Explanation:
    images = trained.data.normalize(pixels[None]).requires_grad_()  # frozen stages have no gradient of their own
    with torch.enable_grad():
        logits, maps = _with_last_maps(trained.classifier, images)
        (gradient,) = torch.autograd.grad(logits[0].max(), maps)
    heat = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
    heat = F.interpolate(heat.detach(), pixels.shape[1:], mode="bilinear")[0, 0]
    probabilities = logits.detach().float().softmax(1)[0]
    return Explanation(probabilities, pixels, heat / heat.max().clamp(min=1e-12))


def _with_last_maps(net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the last feature maps (B, C, H, W) of more than one pixel that a module of the net has put out."""
    found: list[Tensor] = []

    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            found[:] = [output]

    hooks = [module.register_forward_hook(look) for module in net.modules()]
    try:
        logits = net(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise InputError("this net has no feature maps of more than one pixel, in which there could be a place")
    return logits, found[0]


def save_overlays(explanations: Sequence[Explanation], files: Sequence[str | Path], folder: Path) -> list[Path]:
    """Writes a PNG for each, named after the image; of images of one name, the later ones with a number."""
    written: list[Path] = []
    for explanation, file in zip(explanations, files, strict=True):
        path, number = folder / f"{Path(file).stem}_gradcam.png", 2
        while path in written:
            path, number = folder / f"{Path(file).stem}_gradcam_{number}.png", number + 1
        with atomic_write(path) as png:
            Image.fromarray(explanation.overlay()).save(png, "PNG")
        written.append(path)
    return written


def first_filters(net: nn.Module) -> NDArray[np.uint8]:
    """The filters of the first convolution (N, H, W, C), each from its least weight, black, to its largest, white.

    Raises:
        InputError: where there is none.
    """
    first = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        raise InputError("this net has no convolution whose filters could be drawn")
    weights = first.weight.detach().float()
    if weights.shape[1] != 3:  # no colour image: each channel for itself
        weights = weights.flatten(0, 1)[:, None]
    low, high = weights.amin((1, 2, 3), keepdim=True), weights.amax((1, 2, 3), keepdim=True)
    return ((weights - low) / (high - low).clamp(min=1e-12) * 255).round().byte().permute(0, 2, 3, 1).numpy()
