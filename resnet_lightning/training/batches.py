"""The forms of a batch that the classifier and the callbacks accept."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..errors import InputError

_IMAGES = ("image", "images", "img", "imgs", "pixel_values", "input", "inputs", "x", "data")
_TARGETS = ("label", "labels", "target", "targets", "y", "class", "classes", "fine_label")


def images_of(batch: Any) -> Tensor:
    """Returns the images (B, C, H, W) of a batch.

    Args:
        batch: the images alone; a tuple or list that begins with them; or a mapping with them under a usual name, such
            as ``image``, ``images``, ``pixel_values`` or ``x``.

    Raises:
        InputError: if the batch has another form.
    """
    if isinstance(batch, Tensor):
        return batch
    if isinstance(batch, Mapping):
        return _entry(batch, "images", _IMAGES)
    if isinstance(batch, Sequence) and batch and isinstance(batch[0], Tensor):
        return batch[0]
    raise InputError(f"a batch is a {_form(batch)}; give images, (images, targets, ...) or a dict with both")


def images_and_targets(batch: Any) -> tuple[Tensor, Tensor]:
    """Returns the images (B, C, H, W) and the targets of a batch: labels (B,) or probabilities (B, num_classes).

    Args:
        batch: a tuple or list that begins with both, with anything after them; or a mapping with both under usual
            names, such as ``image`` and ``label``, or ``pixel_values`` and ``labels``.

    Raises:
        InputError: if the batch has another form, such as images alone.
    """
    images = images_of(batch)
    if isinstance(batch, Mapping):
        return images, _as_targets(_entry(batch, "targets", _TARGETS))
    if not isinstance(batch, Tensor) and len(batch) > 1 and isinstance(batch[1], Tensor):
        return images, _as_targets(batch[1])
    raise InputError(f"a batch is a {_form(batch)}, without targets; give (images, targets, ...) or a dict with both")


def _as_targets(targets: Tensor) -> Tensor:
    """Returns labels of any integer type as int64, which torch's losses need; probabilities as they are."""
    return targets if targets.ndim != 1 or targets.is_floating_point() else targets.long()


def batch_size(batch: Any) -> int:
    """Returns the number of images in a batch: the length of the first tensor in it; 0 if there is none."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else 0
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, Sequence) else ()
    # Several loaders yield a batch of batches.
    return next((size for part in parts if not isinstance(part, str) and (size := batch_size(part))), 0)


def _entry(batch: Mapping[Any, Any], what: str, names: Collection[str]) -> Tensor:
    for name in names:
        if isinstance(batch.get(name), Tensor):
            return batch[name]
    keys = ", ".join(map(repr, batch))
    raise InputError(f"a batch is a dict with the keys {keys}; its {what} must be under one of {', '.join(names)}")


def _form(batch: Any) -> str:
    if isinstance(batch, Sequence) and not isinstance(batch, str):
        return f"{type(batch).__name__} of {', '.join(type(item).__name__ for item in batch) or 'nothing'}"
    return type(batch).__name__
