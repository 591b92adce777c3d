"""Fills in the size and the normalization of images from the pretrained weights of a config."""

from typing import Any

from jsonargparse import Namespace

from ..build import import_by_path
from ..data import ImageDataModule
from ..training.pretrained_images import images_of_weights


def fill_in_images(config: Namespace) -> str:
    """Sets the options of images that the user has not given to those of the pretrained weights, for images in files.

    These are ``image_size`` with ``shorter_side``, ``mean`` and ``std``. Other data sets have images of a fixed size
    and known statistics.

    Args:
        config: the options of a subcommand, which are changed.

    Returns:
        A line that states what was set; empty if nothing was.

    Raises:
        InputError: if the weights do not exist.
    """
    model = config.model.get("init_args", Namespace()) if "class_path" in config.model else config.model
    pretrained = (model.get("backbone_args") or {}).get("pretrained")
    options: Any = config.data.get("init_args") if config.data is not None else None
    if not pretrained or options is None or not {"image_size", "mean", "std"} <= vars(options).keys():
        return ""
    kind: Any = import_by_path("data module", config.data.class_path)
    if not issubclass(kind, ImageDataModule) or kind.known_statistics is not None:
        return ""
    name = str(model.get("backbone", "")).rpartition(".")[2]
    images = images_of_weights(pretrained, name)
    if images is None:
        return ""
    found: dict[str, Any] = {}
    if options.image_size is None and images.image_size:
        found["image_size"] = images.image_size
        if options.get("shorter_side", ...) is None:
            found["shorter_side"] = images.shorter_side
    if len(images.mean) in (1, kind.in_chans):
        found |= {name: list(getattr(images, name)) for name in ("mean", "std") if getattr(options, name) is None}
    for name, value in found.items():
        options[name] = value
    return f"As for the weights {pretrained}: data.{', data.'.join(found)}" if found else ""
