"""Checkpoint files: reading them safely, and saying how their weights differ from a net's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU, with ``weights_only=True``: a file that carries code is refused.

    Raises:
        InputError: where the file is missing, is not a checkpoint, is damaged or carries code.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no checkpoint {str(path)!r}")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is not its own
        raise InputError(f"{str(path)!r} is not a checkpoint, is damaged or carries code") from error
    if not isinstance(checkpoint, dict):
        raise InputError(f"{str(path)!r} is not a checkpoint: it holds a {type(checkpoint).__name__}")
    return checkpoint


def check_state_dict(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], source: str) -> None:
    """Makes sure that weights fit a net before they are loaded.

    Args:
        expected: the net's state dict.
        found: the weights.
        source: where they come from, for the message.

    Raises:
        InputError: naming the keys that are missing, unexpected or of another shape.
    """
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"the weights in {source} are not a mapping of names to tensors")
    differences = {
        "missing": [key for key in expected if key not in found],
        "unexpected": [key for key in found if key not in expected],
        "of another shape": [
            f"{key} {tuple(found[key].shape)} instead of {tuple(expected[key].shape)}"
            for key in expected
            if key in found and found[key].shape != expected[key].shape
        ],
    }
    if any(differences.values()):
        listed = "; ".join(f"{_some(keys)} {kind}" for kind, keys in differences.items() if keys)
        raise InputError(f"the weights in {source} do not fit this net: {listed}")


def _some(keys: list[str], limit: int = 3) -> str:
    return ", ".join(keys[:limit]) + (f" and {len(keys) - limit} more" if len(keys) > limit else "")
