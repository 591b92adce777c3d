"""Pretrained weights: adapts weights to a network and reports what differs."""

import fnmatch
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..checkpoint_file import read_checkpoint
from ..errors import InputError, visible
from .shipped_weights import ShippedWeights, find_shipped
from .torchvision_weights import WeightsEnum, download, is_of_torchvision, weights_of_torchvision

Pretrained = str | Path | Mapping[str, Tensor] | WeightsEnum | ShippedWeights

# Parts of parameter names that wrappers add: DDP and averaged models, torch.compile, checkpointing, FSDP.
_WRAPPERS = {"module", "_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"}

# Counters of averaged models, which are not weights.
_COUNTERS = {"n_averaged"}

# The keys under which checkpoints store their weights: Lightning and timm; torchvision.
_CONTAINERS = ("state_dict", "model")


def check_state_dict(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], source: str, may_differ: Sequence[str] = ()
) -> None:
    """Checks that weights fit a network before they are loaded.

    Args:
        expected: the state dict of the network.
        found: the weights.
        source: the origin of the weights, for the error message.
        may_differ: shell patterns of keys that may be missing or unexpected.

    Raises:
        InputError: if keys are missing, unexpected or of another shape; the message names them.
    """
    _check_types(found, source)
    differences = {
        "missing": [key for key in expected if key not in found and not _matches(key, may_differ)],
        "unexpected": [key for key in found if key not in expected and not _matches(key, may_differ)],
        "of another shape": [
            f"{key} {tuple(found[key].shape)} instead of {tuple(expected[key].shape)}"
            for key in expected
            if key in found and found[key].shape != expected[key].shape
        ],
    }
    if any(differences.values()):
        listed = "; ".join(f"{_first_few(keys)} {kind}" for kind, keys in differences.items() if keys)
        raise InputError(f"the weights in {source} do not fit this net: {listed}")


def load_pretrained(
    net: nn.Module, pretrained: Pretrained, may_differ: str | Sequence[str] = (), head: str = "fc"
) -> None:
    """Loads weights into a network whose head and number of input channels may differ, and prints what was loaded.

    Keys may have the prefixes of this package's classifier, DDP, ``torch.compile``, FSDP and averaged models. A head
    of another size keeps its random initialization. The first convolution of weights for RGB images is adapted to the
    channels of the network: for one channel, its weights are summed over RGB, so that a grayscale image gives the same
    result as its RGB copy did; for N channels, they are repeated and scaled by 3 / N.

    Args:
        net: the network.
        pretrained: the path of a checkpoint (of this package, Lightning, torchvision, timm or safetensors), a weights
            enum of torchvision or its name, ``"ResNet50_Weights.DEFAULT"`` or ``"resnet50.DEFAULT"``, weights of this
            package, ``"resnet20.digits"``, or a state dict.
        may_differ: shell patterns of keys that may be missing from the weights, unexpected or of another shape, such as
            ``"fc.*"`` for weights without a head. These parameters keep their random initialization.
        head: the name of the layer that may have another size.

    Raises:
        InputError: if the weights are not found or cannot be read, or if keys do not fit; the message names them.
    """
    found, source = _find_weights(pretrained)
    _check_types(found, source)
    state = net.state_dict()
    names = {_without_wrappers(key): key for key in state}  # the network may be wrapped too
    expected = {name: state[key] for name, key in names.items()}
    weights, prefix = _without_prefix(
        {_without_wrappers(key): tensor for key, tensor in found.items() if key not in _COUNTERS}, expected, source
    )
    notes = [f"under {prefix!r}"] if prefix else []

    first = next((key for key, tensor in expected.items() if tensor.ndim == 4), None)
    if first in weights and weights[first].ndim == 4 and weights[first].shape[1] == 3 != expected[first].shape[1]:
        channels = expected[first].shape[1]
        weights[first] = _adapt_channels(weights[first], channels)
        notes.append(f"{first} from 3 channels to {channels}")

    def differs(key: str) -> bool:
        return key not in expected or key not in weights or expected[key].shape != weights[key].shape

    # Old files lack the batch counters, which norms do not need.
    allowed = [*as_patterns(may_differ), "*.num_batches_tracked"]
    if any(differs(key) for key in weights if key.startswith(f"{head}.")):
        allowed.append(f"{head}.*")
    unused = [key for key in weights if _matches(key, allowed) and differs(key)]
    weights = {key: tensor for key, tensor in weights.items() if key not in unused}
    try:
        check_state_dict(expected, weights, source, allowed)
    except InputError as error:
        raise InputError(f"{error}; if that is intended, name the keys in may_differ") from None
    net.load_state_dict({names[key]: tensor for key, tensor in weights.items()}, strict=False)

    if unused:
        notes.append(f"not used: {_first_few(unused)}")
    if initialized := [key for key in expected if key not in weights and not key.endswith("num_batches_tracked")]:
        notes.append(f"randomly initialized: {_first_few(initialized)}")
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(visible("; ".join([f"pretrained: {len(weights)} of {len(expected)} tensors from {source}", *notes])))


def _find_weights(pretrained: Pretrained) -> tuple[Mapping[str, Any], str]:
    """Returns the state dict of ``pretrained``, and its name for messages."""
    content: Any
    if (shipped := find_shipped(pretrained)) is not None:
        content, source = shipped.read(), str(shipped)
    elif isinstance(pretrained, Mapping):
        content, source = pretrained, "the state dict"
    elif isinstance(pretrained, (str, Path)):
        name = os.path.expanduser(pretrained)
        if is_of_torchvision(name):
            return _find_weights(weights_of_torchvision(name))
        content, source = read_checkpoint(name), repr(name)
    elif not isinstance(pretrained, ShippedWeights) and hasattr(pretrained, "get_state_dict"):
        content, source = download(pretrained), str(pretrained)
    elif isinstance(pretrained, nn.Module):
        raise InputError(f"pretrained is a module, a {type(pretrained).__name__}; give its state_dict()")
    else:
        raise InputError(
            f"pretrained is {pretrained!r}; give the path of a checkpoint, a state dict, or weights of torchvision "
            "such as 'ResNet50_Weights.DEFAULT'"
        )
    for name in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    return content, source


def _check_types(found: Any, source: str) -> None:
    if not isinstance(found, Mapping) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items()
    ):
        keys = [str(key) for key in found] if isinstance(found, Mapping) else []
        but = f", but have the keys {_first_few(keys)}" if keys else ""
        raise InputError(f"the weights in {source} are not a mapping of names to tensors{but}")


def _without_wrappers(key: str) -> str:
    """Removes the parts that wrappers add: ``backbone._orig_mod.conv1.weight`` to ``backbone.conv1.weight``."""
    return ".".join(part for part in key.split(".") if part not in _WRAPPERS)


def _without_prefix(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str
) -> tuple[dict[str, Tensor], str]:
    """Removes the prefix of a module that contained the network, such as ``backbone.``; also returns the prefix."""
    keys = list(expected)[:20]
    prefixes = ["", *(key.removesuffix(keys[0]) for key in found if key.endswith(f".{keys[0]}"))]
    scores = {prefix: sum(prefix + key in found for key in keys) for prefix in prefixes}
    best = [prefix for prefix, score in scores.items() if score and score == max(scores.values())]
    if len(best) > 1:
        networks = ", ".join(repr(prefix) for prefix in best)
        raise InputError(f"{source} contains several networks, under {networks}; give the state dict of one of them")
    prefix = best[0] if best else ""
    if prefix == "backbone.":  # of this package's classifier, whose loss may have weights too
        found = {key: tensor for key, tensor in found.items() if not key.startswith("loss.")}
    weights = {key.removeprefix(prefix): tensor for key, tensor in found.items()}
    if len(weights) < len(found):
        raise InputError(f"{source} contains some weights twice, with the prefix {prefix!r} and without it")
    return weights, prefix


def as_patterns(may_differ: str | Sequence[str] | None) -> list[str]:
    """Returns the patterns of ``may_differ`` as a list; None stands for no pattern."""
    return [may_differ] if isinstance(may_differ, str) else list(may_differ or ())


def _adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """Adapts the weights of a first convolution from 3 channels (C, 3, H, W) to (C, channels, H, W)."""
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight.repeat(1, -(-channels // 3), 1, 1)[:, :channels] * (3 / channels)


def _matches(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)


def _first_few(keys: list[str], limit: int = 3) -> str:
    return ", ".join(keys[:limit]) + (f" and {len(keys) - limit} more" if len(keys) > limit else "")
