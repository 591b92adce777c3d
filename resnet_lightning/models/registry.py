"""The table of named models."""

import fnmatch
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from ..build import build
from ..errors import InputError, did_you_mean

_MODELS: dict[str, Callable[..., nn.Module]] = {}

Factory = TypeVar("Factory", bound=Callable[..., nn.Module])


def register_model(factory: Factory) -> Factory:
    """Decorator: lists a function that returns a module under the function's own name."""
    _MODELS[factory.__name__] = factory
    return factory


def list_models(pattern: str = "*") -> list[str]:
    """The names that ``create_model`` knows and that match a shell pattern such as ``"resnet1*"``, by depth."""
    return sorted(fnmatch.filter(_MODELS, pattern), key=lambda name: (len(name), name))


def create_model(name: str, /, **options: Any) -> nn.Module:
    """Builds a model by its name: ``create_model("resnet20", num_classes=10, in_chans=1)``.

    Args:
        name: one of ``list_models()``.
        options: keyword arguments of that model's function; see ``ResNet``.

    Raises:
        InputError: for an unknown name or option, naming the nearest known ones.
    """
    factory = _MODELS.get(name)
    if factory is None:
        raise InputError(f"unknown model {name!r}; {did_you_mean(name, _MODELS)}")
    return build(f"model {name!r}", factory, **options)
