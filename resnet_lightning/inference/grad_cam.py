"""Shows what a model has learned: Grad-CAM heatmaps of images, and the filters of the first convolution."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageColor
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..runs.figures import images_in_a_grid, save
from ..training.classifier import ImageClassifier
from .loaded import LoadedModel

_MIN_SIDE = 224  # pixels; smaller images are enlarged by a whole number to about this size
_HEAT = "#e4572e"
_OPACITY = 0.75  # of the color where the heat is 1


@dataclass(frozen=True)
class Explanation:
    """A model's prediction for an image, with its heatmap.

    Args:
        probabilities: the probability of each class (num_classes,).
        pixels: the model's input before normalization (C, H, W) uint8.
        heat: the heatmap (H, W), from 0 to 1: how strongly each pixel supports the most likely class.
        next_heat: the same for the second most likely class; None if there is none.
        class_names: the names of the classes; they are numbered without it.
    """

    probabilities: Tensor
    pixels: Tensor
    heat: Tensor
    next_heat: Tensor | None = None
    class_names: Sequence[str] = ()

    def overlay(self, heat: Tensor | None = None) -> NDArray[np.uint8]:
        """Returns the image in pale grey, colored by the heat (H', W', 3) of a class; enlarged if it is small.

        Args:
            heat: the heatmap; by default that of the most likely class.
        """
        grey = Image.fromarray(self.photo()).convert("L")
        pale = np.asarray(grey, np.float64)[..., None] * 0.7 + 0.3 * 255
        shown = self.heat if heat is None else heat
        opacity = F.interpolate(shown[None, None], grey.size[::-1], mode="bilinear")[0, 0, :, :, None].double().numpy()
        opacity = _OPACITY * opacity
        # Multiplied by the image, so that its edges stay visible under the color.
        tint = pale / 255 * np.array(ImageColor.getrgb(_HEAT))
        return ((1 - opacity) * pale + opacity * tint).round().astype(np.uint8)

    def photo(self) -> NDArray[np.uint8]:
        """Returns the image (H', W', 3), enlarged if it is small."""
        factor = max(_MIN_SIDE // max(self.heat.shape), 1)
        return self.pixels.expand(3, -1, -1).permute(1, 2, 0).numpy().repeat(factor, 0).repeat(factor, 1)

    def picture(self) -> Image.Image:
        """Returns the image beside the evidence for the most likely class and for the next one."""
        values, labels = self.probabilities.topk(min(2, len(self.probabilities)))
        names = [self._name(label) for label in labels.tolist()]
        shares = [f"{value:.1%}" for value in values.tolist()]
        images, captions = [self.photo(), self.overlay()], ["image", f"{names[0]}\n{shares[0]}"]
        if self.next_heat is not None:
            images.append(self.overlay(self.next_heat))
            captions.append(f"next: {names[1]}\n{shares[1]}")
        return images_in_a_grid(images, captions, columns=3, largest=None)

    def _name(self, label: int) -> str:
        return self.class_names[label] if label < len(self.class_names) else str(label)


def explain(trained: LoadedModel, files: Sequence[str | Path]) -> list[Explanation]:
    """Explains the two most likely classes of each image by Grad-CAM (Selvaraju et al. 2017, section 3).

    The heatmaps are computed from the model's last feature maps. Each is scaled to its own maximum.

    Raises:
        InputError: if a file cannot be read, or the model has no feature maps.
    """
    return [explain_pixels(trained, pixels) for pixels in trained.read(files)]


def explain_pixels(trained: LoadedModel, pixels: Tensor) -> Explanation:
    """Explains one image (C, H, W) uint8, as ``LoadedModel.read`` returns it; see ``explain``."""
    images = trained.data.normalize(pixels[None]).requires_grad_()  # so that frozen stages have gradients too
    with torch.enable_grad():
        logits, maps = _logits_and_feature_maps(trained.classifier, images)
        highest = logits[0].topk(min(2, logits.shape[1])).values
        gradients = [torch.autograd.grad(logit, maps, retain_graph=True)[0] for logit in highest]
    heats = [_heat(maps, gradient, pixels.shape[1:]) for gradient in gradients]
    probabilities = trained.classifier.to_probabilities(logits.detach())[0]
    return Explanation(probabilities, pixels, heats[0], heats[1] if len(heats) > 1 else None, trained.data.class_names)


def _heat(maps: Tensor, gradient: Tensor, size: Sequence[int]) -> Tensor:
    """Returns the heatmap (H, W) of feature maps (1, C, H', W') and the gradient of a logit in them."""
    heat = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
    heat = F.interpolate(heat.detach(), size, mode="bilinear")[0, 0]
    return heat / heat.max().clamp(min=1e-12)


def _logits_and_feature_maps(model: ImageClassifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the images' own logits, and the last output (B, C, H, W) of a submodule with more than one pixel."""
    last: list[Tensor] = []

    def keep_output(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            last[:] = [output]

    hooks = [module.register_forward_hook(keep_output) for module in model.modules()]
    try:
        logits = model.one_view(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not last:
        raise InputError("this model has no feature maps of more than one pixel, which Grad-CAM needs")
    return logits, last[0]


def save_overlays(explanations: Sequence[Explanation], files: Sequence[str | Path], folder: Path) -> list[Path]:
    """Writes the picture of each explanation as a PNG, and returns the paths.

    Each is named after its image file. If several files have the same name, a number is added to the later ones.
    """
    written: list[Path] = []
    for explanation, file in zip(explanations, files, strict=True):
        written.append(save_overlay(explanation, file, folder, written))
    return written


def save_overlay(explanation: Explanation, file: str | Path, folder: Path, taken: Container[Path] = ()) -> Path:
    """Writes the picture of an explanation as a PNG that is named after its image file, and returns the path.

    A number is added to the name as long as the path is in ``taken``.
    """
    path, number = folder / f"{Path(file).stem}_gradcam.png", 2
    while path in taken:
        path, number = folder / f"{Path(file).stem}_gradcam_{number}.png", number + 1
    return save(explanation.picture(), path)


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
