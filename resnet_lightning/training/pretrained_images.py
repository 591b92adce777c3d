"""The images that pretrained weights were trained on: other images are prepared in the same way."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoint_file import read_checkpoint
from ..data import ImageSpec
from ..errors import InputError
from ..models.shipped_weights import find_shipped
from ..models.torchvision_weights import WeightsEnum, is_of_torchvision, weights_of_file, weights_of_torchvision


@dataclass(frozen=True)
class WeightImages:
    """The images of pretrained weights.

    Args:
        mean: of each channel, for pixels in [0, 1].
        std: likewise.
        image_size: the side of the images in pixels; None if they are not square.
        shorter_side: the length to which a file's shorter side is scaled before its centre is cropped.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int | None
    shorter_side: int


def images_of_weights(pretrained: Any, model: str = "") -> WeightImages | None:
    """Returns the images of weights as they are given in ``pretrained``; None if the weights do not state them.

    Args:
        pretrained: the name of weights of torchvision or of this package; or a file: of torchvision, under the name
            that it is published under, a checkpoint of this package, or its safetensors.
        model: the name of the model, which a name such as ``"digits"`` belongs to.

    Raises:
        InputError: if there is no such file, or torchvision has no such weights.
    """
    if not isinstance(pretrained, str | Path):
        return None
    if (shipped := find_shipped(pretrained, model)) is not None:
        spec = ImageSpec.from_dict(shipped.card["images"])
        return _of_spec(spec.mean, spec.std, spec.image_size, spec.shorter_side)
    return _images_of(str(Path(pretrained).expanduser()))


def _images_of(name: str) -> WeightImages | None:
    """Returns the images of weights of torchvision, by their name, or of the weights in a file."""
    if is_of_torchvision(name):
        return _of_torchvision(weights_of_torchvision(name))
    if (weights := weights_of_file(name)) is not None:
        return _of_torchvision(weights)
    if name.endswith(".safetensors"):
        return _of_safetensors(name)
    run = read_checkpoint(name).get("run")
    try:
        spec = ImageSpec.from_dict(run["data"]) if isinstance(run, dict) else None
    except (InputError, KeyError):  # of a data module of one's own
        return None
    return None if spec is None else _of_spec(spec.mean, spec.std, spec.image_size, spec.shorter_side)


def _of_torchvision(weights: WeightsEnum) -> WeightImages | None:
    preset = weights.transforms()
    size, shorter_side = getattr(preset, "crop_size", None), getattr(preset, "resize_size", None)
    if not size or not shorter_side:
        return None  # not for classification
    return WeightImages(tuple(preset.mean), tuple(preset.std), size[0], max(shorter_side[0], size[0]))


def _of_safetensors(name: str) -> WeightImages | None:
    """Reads the metadata that ``lightning export --format safetensors`` writes."""
    try:
        from safetensors import safe_open
    except ImportError:
        return None  # reading the weights reports it
    try:
        with safe_open(name, "pt") as file:
            image = json.loads((file.metadata() or {})["image"])
        return _of_spec(image["mean"], image["std"], image["image_size"], image["shorter_side"])
    except Exception:  # another file, or damaged; reading the weights reports it
        return None


def _of_spec(mean: Any, std: Any, image_size: Any, shorter_side: int) -> WeightImages:
    height, width = image_size
    return WeightImages(tuple(mean), tuple(std), height if height == width else None, shorter_side)
