"""The weights of torchvision: found by their names, downloaded, and what images they were trained on."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from ..errors import InputError, did_you_mean

# `ResNet18_Weights.IMAGENET1K_V1`, and `resnet18.IMAGENET1K_V1` as `torchvision.models.get_model_weights` has it.
_NAME = re.compile(r"(?:torchvision\.models\.)?(\w+)\.([A-Z][A-Z0-9_]*)")


class WeightsEnum(Protocol):
    """A member of a weights enum of torchvision, such as ``ResNet50_Weights.DEFAULT``."""

    @property
    def url(self) -> str: ...

    @property
    def transforms(self) -> Any: ...

    def get_state_dict(self, *args: Any, **kwargs: Any) -> Mapping[str, Any]: ...


def is_of_torchvision(name: str) -> bool:
    """Whether a name is that of weights of torchvision, such as ``"ResNet18_Weights.IMAGENET1K_V1"``, and no file."""
    return _NAME.fullmatch(name) is not None and not Path(name).is_file()


def weights_of_torchvision(name: str) -> WeightsEnum:
    """Returns the weights of a name: ``"ResNet18_Weights.IMAGENET1K_V1"`` or ``"resnet18.IMAGENET1K_V1"``.

    Raises:
        InputError: if torchvision is missing or has no such weights, naming the nearest ones.
    """
    try:
        from torchvision import models
    except ImportError as error:
        raise InputError(f"the weights {name!r} need torchvision: pip install torchvision") from error
    found = _NAME.fullmatch(name)
    assert found is not None
    enums = {enum.__name__: enum for enum in map(models.get_model_weights, models.list_models())}
    by_model = {model: models.get_model_weights(model) for model in models.list_models() if "/" not in model}
    known = enums if found[1].endswith("_Weights") else by_model
    if found[1] not in known:
        similar = did_you_mean(found[1], known)
        hint = similar if similar.startswith("did you mean") else "such as ResNet18_Weights.IMAGENET1K_V1"
        raise InputError(f"torchvision has no weights {name!r}; {hint}")
    members = known[found[1]].__members__
    if found[2] not in members:
        raise InputError(f"torchvision has no weights {name!r}; {did_you_mean(found[2], members)}")
    weights: WeightsEnum = members[found[2]]
    return weights


def weights_of_file(name: str) -> WeightsEnum | None:
    """Returns the weights that torchvision publishes under a file's name, such as ``resnet18-f37072fd.pth``."""
    if not re.fullmatch(r"[\w.-]+-[0-9a-f]{8}\.pth", os.path.basename(name)):
        return None
    try:
        from torchvision import models
    except ImportError:
        return None
    members = (weights for model in models.list_models() for weights in models.get_model_weights(model))
    return next((weights for weights in members if os.path.basename(weights.url) == os.path.basename(name)), None)


def download(weights: WeightsEnum) -> Mapping[str, Any]:
    """Returns the state dict of weights, from torch.hub's cache folder or the network.

    Raises:
        InputError: if they cannot be downloaded, naming the file to bring, or if the file is damaged.
    """
    try:
        return weights.get_state_dict(progress=False, check_hash=True, weights_only=True, map_location="cpu")
    except OSError as error:  # no network, a full disk
        reason = getattr(error, "reason", error)
        reason = getattr(reason, "strerror", None) or reason
        raise InputError(
            f"{weights} cannot be downloaded: {reason}; put {weights.url} into {_cache_folder()}, or give the file as "
            "pretrained"
        ) from error
    except Exception as error:  # torch raises many types of exception for damaged files
        raise InputError(
            f"the download of {weights} in torch.hub's cache is damaged or carries code; remove {_cache_folder()}/"
            f"{os.path.basename(weights.url)}"
        ) from error


def _cache_folder() -> str:
    """Returns torch.hub's folder of weights, short enough for a message."""
    folder, home = os.path.join(torch.hub.get_dir(), "checkpoints"), os.path.expanduser("~")
    return folder.replace(home, "~", 1) if folder.startswith(f"{home}{os.sep}") else folder
