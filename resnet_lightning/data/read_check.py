"""Checks what a data set of one's own returns, before anything is computed from it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .loading.files import ImageFiles


def check_class_names(what: str, names: Any) -> tuple[str, ...]:
    """Returns the class names of a data set as a tuple.

    Args:
        what: the data module's name in error messages.
        names: what ``find_classes`` returned.

    Raises:
        InputError: if they are not different strings.
    """
    expected = "give a list of different strings, one for each label"
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise InputError(f"the class names of {what} are {names!r}; {expected}")
    if not names:
        raise InputError(f"{what} has no class names; {expected}")
    for place, name in enumerate(names):
        if not isinstance(name, str):
            raise InputError(f"class {place} of {what} is {name!r}; {expected}")
        if name in names[:place]:
            raise InputError(f"{what} has two classes {name!r}; {expected}")
    return tuple(names)


def check_read(
    what: str,
    result: Any,
    class_names: Sequence[str],
    channels: int,
    side: int | None,
    *,
    can_stream: bool,
    multilabel: bool = False,
) -> tuple[Tensor | ImageFiles, Tensor]:
    """Checks what ``read`` returned.

    Args:
        what: the call in error messages, such as ``"MyDataModule.read('train')"``.
        result: the returned value.
        class_names: the names of all classes.
        channels: of the images.
        side: height and width of the images; None if they are not square or not known.
        can_stream: whether the images may be files.
        multilabel: whether the labels are (N, K), 1 for each label of an image and otherwise 0.

    Returns:
        The images (N, H, W, C) uint8, or files, and the labels (N,) int64.

    Raises:
        InputError: if shapes, types or labels are others than expected. The message has what was found and expected.
    """
    place = f"{side}, {side}" if side else "H, W"
    last = len(class_names) - 1
    of_labels = f"(N, {last + 1}) of 0 and 1" if multilabel else f"(N,) of whole numbers from 0 to {last}"
    expected = f"expected images (N, {place}, {channels}) uint8 and labels {of_labels}"
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise InputError(f"{what} returned {_in_words(result).replace('of type', 'a')}; {expected}")
    images, labels = (_as_tensor(value) for value in result)
    found = f"{what} returned images {_in_words(images)} and labels {_in_words(labels)}; {expected}"
    if multilabel:
        is_right = isinstance(labels, Tensor) and labels.ndim == 2 and labels.shape[1] == last + 1
        if not is_right or not ((labels == 0) | (labels == 1)).all():
            raise InputError(found)
        labels = labels.float()
    elif not isinstance(labels, Tensor) or labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise InputError(found + _hint_for_labels(labels))
    else:
        labels = labels.long()
    if isinstance(images, ImageFiles) and can_stream:
        return images, labels
    if not isinstance(images, Tensor):
        raise InputError(found)
    if images.ndim == 3 and channels == 1:
        images = images.unsqueeze(-1)
    if images.ndim != 4 or images.shape[3] != channels or images.dtype != torch.uint8:
        raise InputError(found + _hint_for_images(images, channels))
    if side is not None and len(images) and images.shape[1:3] != (side, side):
        raise InputError(f"{found}; image_size is {side}")
    return images.contiguous(), labels


def _as_tensor(value: Any) -> Any:
    if isinstance(value, Tensor | ImageFiles):
        return value
    try:
        return torch.as_tensor(value if isinstance(value, np.ndarray) else np.asarray(value))
    except (TypeError, ValueError, RuntimeError):  # no numbers, or not all of the same shape
        return value


def _in_words(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, tuple | list):
        kinds = sorted({type(item).__name__ for item in value})
        return f"as a {type(value).__name__} of {len(value)} ({', '.join(kinds)})"
    if isinstance(value, np.ndarray):
        return f"{value.shape} {value.dtype}"
    return "as files" if isinstance(value, ImageFiles) else f"of type {type(value).__name__}"


def _hint_for_images(images: Tensor, channels: int) -> str:
    if images.ndim == 4 and images.shape[3] == channels and not images.is_floating_point():
        return "; convert the images to uint8"
    if images.is_floating_point():
        scale = "; multiply by 255 and round" if images.numel() and float(images.max()) <= 1 else ""
        return f"{scale}; convert the images to uint8"
    if images.ndim == 4 and images.shape[1] == channels:
        return "; move the channels last, as with .transpose(0, 2, 3, 1)"
    if images.ndim in (3, 4):
        return f"; in_chans is {channels}: set it to the channels of the images"
    return ""


def _hint_for_labels(labels: Any) -> str:
    if isinstance(labels, Tensor) and labels.ndim == 2:
        return "; of one-hot labels, give the argmax(1)"
    return "; number the classes in the order of class_names"
