"""Turns the values in a checkpoint into those that can be read back safely.

Checkpoints are read with ``weights_only=True``, which accepts tensors and plain values only. The state of a callback or
module of the user's own may hold others, with which the whole checkpoint could not be read.
"""

import io
import logging
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

_log = logging.getLogger(__name__)

_LEFT_OUT = object()
_reported: set[str] = set()
_SIMPLE = (type(None), bool, int, float, complex, str)
_readable: dict[type, bool] = {dict: True}  # by class of mapping


def with_plain_values(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Returns a checkpoint whose values can all be read back; a line is logged for each that is not stored as it is.

    NumPy's numbers become Python's, its arrays become tensors, and paths become strings. Other objects are left out.
    """
    return {key: value for key, value in _plain(checkpoint, "").items() if value is not _LEFT_OUT}


def _plain(value: Any, place: str) -> Any:
    """Returns a value in its plain form, or ``_LEFT_OUT``. A container is copied only if something in it changes."""
    kind = type(value)
    if isinstance(value, torch.Tensor) or kind in _SIMPLE:
        return value
    if isinstance(value, dict):
        found = {key: _plain(item, f"{place}.{key}".lstrip(".")) for key, item in value.items()}
        is_same = all(found[key] is item for key, item in value.items()) and _keeps_its_kind(value)
        return value if is_same else {key: item for key, item in found.items() if item is not _LEFT_OUT}
    if kind in (list, tuple, set):
        items = [_plain(item, f"{place}.{number}") for number, item in enumerate(value)]
        is_same = all(new is item for new, item in zip(items, value, strict=True))
        return value if is_same else kind(item for item in items if item is not _LEFT_OUT)
    return _plain_object(value, place)


def _plain_object(value: Any, place: str) -> Any:
    if isinstance(value, np.generic) and not isinstance(value, np.void):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return _reported_as(torch.as_tensor(value), place, "an array, stored as a tensor")
    if isinstance(value, PurePath):
        return _reported_as(str(value), place, "a path, stored as a string")
    if is_loadable(value):
        return value
    what = f"a {type(value).__name__}, which cannot be read back safely: it is left out"
    return _reported_as(_LEFT_OUT, place, what)


def _reported_as(value: Any, place: str, what: str) -> Any:
    if place not in _reported:
        _reported.add(place)
        _log.warning("%s of the checkpoint is %s", place, what)
    return value


def _keeps_its_kind(mapping: dict[Any, Any]) -> bool:
    """Whether a mapping of this class can be read back, as ``dict`` and ``OrderedDict`` can."""
    kind = type(mapping)
    if kind not in _readable:
        try:
            _readable[kind] = is_loadable(kind())
        except TypeError:
            _readable[kind] = False
    return _readable[kind]


def is_loadable(value: Any) -> bool:
    """Returns whether a value in a checkpoint can be read back with ``weights_only=True``."""
    file = io.BytesIO()
    try:
        torch.save(value, file)
        file.seek(0)
        torch.load(file, weights_only=True)
    except Exception:  # pickle raises many kinds of exceptions
        return False
    return True
