"""Residual networks, image data modules, and a Lightning template that trains one on the other.

``import resnet_lightning`` imports torch but not Lightning. The names that need Lightning are imported on first use.
In the program, the networks are too, so that commands without torch, such as ``lightning models``, answer at once.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .signals import end_at_signals, is_the_program
from .threads import wait_briefly

if is_the_program():  # before torch, which takes seconds to import and reads environment variables
    end_at_signals()
    wait_briefly()

from .errors import InputError

if TYPE_CHECKING or not is_the_program():
    from .models import *  # noqa: F403

if TYPE_CHECKING:
    from .cli.from_config import from_config as from_config
    from .data import *  # noqa: F403
    from .inference.hub import from_pretrained as from_pretrained
    from .training.classifier import ImageClassifier as ImageClassifier

__version__ = "0.1.0"

_LAZY = {
    "ImageClassifier": "training",
    "ImageDataModule": "data",
    "DigitsDataModule": "data",
    "MNISTDataModule": "data",
    "FashionMNISTDataModule": "data",
    "KMNISTDataModule": "data",
    "CIFAR10DataModule": "data",
    "CIFAR100DataModule": "data",
    "ImageFolderDataModule": "data",
    "TableDataModule": "data",
    "Augmentation": "data",
    "from_config": "cli.from_config",
    "from_pretrained": "inference.hub",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    if not name.startswith("__") or name == "__all__":
        models = importlib.import_module(".models", __name__)
        if name == "__all__":
            return ["InputError", *models.__all__, *_LAZY]
        if name in models.__all__:
            return getattr(models, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})
