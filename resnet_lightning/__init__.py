"""Residual networks, image data modules, and a Lightning template that trains one on the other.

``import resnet_lightning`` imports torch but not Lightning. The names that need Lightning are imported on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .signals import end_at_signals, is_the_program
from .threads import wait_briefly

if is_the_program():  # before torch, which takes seconds to import and reads environment variables
    end_at_signals()
    wait_briefly()

from .errors import InputError
from .models import *  # noqa: F403
from .models import __all__ as _model_names

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

__all__ = ["InputError", *_model_names, *_LAZY]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
