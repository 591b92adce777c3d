"""The trained weights that come with the package: small networks, each with a card.

They lie in ``shipped/``: ``resnet20.digits.safetensors`` has the weights of ``create_model("resnet20",
pretrained="digits")`` in half precision, and ``resnet20.digits.json`` its card: the command, the data with source and
license, the accuracy on test images, and how images are prepared. ``.github/ship_weights.py`` writes both.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError

_FOLDER = files(__package__) / "shipped"
# What trains the weights that many look for and that do not come with the package.
_COMMANDS = {"cifar10": "cifar10_resnet20", "cifar100": "cifar100_resnet56", "imagenet": "imagenet_resnet50"}
_DTYPES = {"F16": torch.float16, "F32": torch.float32, "I64": torch.int64}


@dataclass(frozen=True)
class ShippedWeights:
    """Weights that come with the package.

    Args:
        model: the name of the model, such as ``"resnet20"``.
        name: the name of the weights, such as ``"digits"``.
    """

    model: str
    name: str

    def __str__(self) -> str:
        return f"{self.model}.{self.name}"

    @cached_property
    def card(self) -> dict[str, Any]:
        """The content of the card."""
        content: dict[str, Any] = json.loads((_FOLDER / f"{self}.json").read_text(encoding="utf-8"))
        return content

    @property
    def options(self) -> dict[str, Any]:
        """The options of ``create_model`` that the weights were trained with."""
        return {"num_classes": len(self.class_names), "in_chans": self.in_chans}

    @property
    def class_names(self) -> list[str]:
        names: list[str] = self.card["images"]["class_names"]
        return names

    @property
    def in_chans(self) -> int:
        return int(self.card["images"]["in_chans"])

    @property
    def accuracy(self) -> float:
        """The share of the test images that are classified correctly."""
        return float(self.card["test"]["accuracy"])

    def check_channels(self, in_chans: int) -> None:
        """Checks that a network takes images of as many channels; weights for RGB images adapt to every number.

        Raises:
            InputError: if not.
        """
        if self.in_chans not in (3, in_chans):
            raise InputError(
                f"the weights {self} are for images of {self.in_chans} channel, but in_chans is {in_chans}; give "
                f"in_chans={self.in_chans}, and images of that kind"
            )

    def read(self) -> dict[str, Tensor]:
        """Returns the weights.

        Raises:
            InputError: if the file does not match its card.
        """
        content = (_FOLDER / f"{self}.safetensors").read_bytes()
        if hashlib.sha256(content).hexdigest() != self.card["sha256"]:
            raise InputError(f"the weights {self} are damaged: the file does not match its card; install again")
        return read_safetensors(content)

    def describe(self, described: Mapping[str, Any]) -> dict[str, Any]:
        """Returns timm's description of a network with the images that these weights were trained on."""
        images = self.card["images"]
        if described["input_size"][0] != self.in_chans:
            return dict(described)
        own = {
            "input_size": (self.in_chans, *images["image_size"]),
            "mean": tuple(images["mean"]),
            "std": tuple(images["std"]),
            "tag": self.name,
        }
        if described.get("num_classes") == len(self.class_names):
            own["label_names"] = list(self.class_names)
        return {**described, **own}


def shipped_weights(model: str | None = None) -> list[ShippedWeights]:
    """Returns the weights that come with the package: all, or those of one model."""
    names = sorted(Path(file.name).stem for file in _FOLDER.iterdir() if file.name.endswith(".json"))
    found = [ShippedWeights(*name.split(".")) for name in names]
    return [weights for weights in found if model in (None, weights.model)]


def find_shipped(pretrained: Any, model: str = "") -> ShippedWeights | None:
    """Returns the weights of a name: ``"digits"`` for a known model, or ``"resnet20.digits"``; None for anything else.

    A file of that name counts more.

    Raises:
        InputError: if a known model is given, and the name can only be that of weights and is unknown.
    """
    if isinstance(pretrained, ShippedWeights):
        return pretrained
    if pretrained is True and (known := shipped_weights(model)):
        raise InputError(f"pretrained is True; name one of the weights of {model}: {_listed(known)}")
    if not isinstance(pretrained, str) or Path(pretrained).expanduser().exists():
        return None
    found = {str(weights): weights for weights in shipped_weights()}
    full_name = pretrained if "." in pretrained else f"{model}.{pretrained}"
    if full_name in found:
        return found[full_name]
    is_of_a_model = any(pretrained.startswith(f"{weights.model}.") for weights in found.values())
    is_name = re.fullmatch(r"[\w-]+", pretrained) is not None and model != ""
    if not is_name and not (is_of_a_model and re.fullmatch(r"[\w-]+\.[a-z\d_-]+", pretrained)):
        return None
    own = shipped_weights(model)
    others = f"there are {_listed(own)}" if own else f"there are {', '.join(found)}, and those of torchvision and files"
    config = _COMMANDS.get(pretrained.lower().rpartition(".")[2])
    hint = f"; `lightning fit --config {config}` trains them, and pretrained takes its best.ckpt" if config else ""
    raise InputError(f"no weights {pretrained!r} of {model or 'this network'} come with the package; {others}{hint}")


def _listed(weights: list[ShippedWeights]) -> str:
    return ", ".join(repr(each.name) for each in weights)


def read_safetensors(content: bytes) -> dict[str, Tensor]:
    """Returns the tensors of a file in the format of safetensors, which needs no library.

    The format is the length of a header in 8 bytes, the header in JSON with the type, the shape and the place of each
    tensor, and the numbers.

    Raises:
        InputError: if the content has another form.
    """
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        header: dict[str, Any] = json.loads(content[8:start])
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in header.items():
            dtype, shape = _DTYPES[entry["dtype"]], entry["shape"]
            begin, end = entry["data_offsets"]
            if not 0 <= begin <= end <= len(content) - start or end - begin != math.prod(shape) * dtype.itemsize:
                raise ValueError(name)
            numbers = bytearray(content[start + begin : start + end])
            flat = torch.frombuffer(numbers, dtype=dtype) if numbers else torch.empty(0, dtype=dtype)
            tensors[name] = flat.reshape(shape)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError("the weights are no safetensors, or damaged") from error
    return tensors
