"""An augmentation of the user's own, or one of torchvision's, as a part of ours."""

import inspect
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...build import build, import_by_path
from ...errors import InputError, did_you_mean
from .draws import Draws, key

_TORCHVISION = "torchvision.transforms.v2"
_BRIGHTEST = 16.0  # the largest value that noise or a normalization can lead to
_GENERATORS = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)


class Transform:
    """Applies a callable to training images, float32 in [0, 1], before they are normalized.

    A callable with one argument gets one image (C, H, W) at a time or, with ``on="batch"``, a batch (B, C, H, W). One
    with two arguments, and torchvision's ``MixUp`` and ``CutMix``, get the images (B, C, H, W) and the labels (B,) of a
    batch, and return both; labels may become probabilities (B, K). Images are returned as float in [0, 1] or uint8.

    The random generators of torch, NumPy and Python, and those that the callable holds, are seeded for each image from
    (seed, epoch, index), and for each batch from its first image. Therefore a resumed run repeats their numbers.

    Args:
        function: the callable.
        on: ``"image"`` or ``"batch"``; None for images.
        name: of the callable, for error messages.
    """

    def __init__(self, function: Callable[..., Any], on: str | None = None, name: str | None = None) -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self.takes_targets = _takes_targets(function)
        self.on_batch = on == "batch" or self.takes_targets
        self._is_checked = False  # whether the range of the pixels was checked, once
        self._generators = list(_generators_in(function, set()))

    def __call__(self, pixels: Tensor, targets: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Transforms a batch.

        Args:
            pixels: (R, C, H, W) in [0, 255], uint8 or float.
            targets: (R,) int64.
            draws: the random numbers of the images; their seed, epoch and indices are used.

        Returns:
            Pixels (R, C, H, W) float32 in [0, 255], and targets.

        Raises:
            InputError: if the callable does not accept the images, or returns something else.
        """
        images = (pixels.float() / 255).contiguous()
        with _own_random_numbers(images.device):
            if self.on_batch:
                self._seed(draws, 0)
                arguments = (images, targets) if self.takes_targets else (images,)
                found = self._call(arguments)
            else:
                found = torch.stack([self._one(images, row, draws) for row in range(len(images))])
        if not self.takes_targets:
            found = found, targets
        if not isinstance(found, tuple | list) or len(found) != 2 or not isinstance(found[1], Tensor):
            raise InputError(f"augment.transform {self.name} takes images and targets, so it has to return both")
        self._check(found[0], images)
        if len(found[1]) != len(images):
            raise InputError(
                f"augment.transform {self.name} returned {len(found[1])} targets for {len(images)} images; "
                "give one for each"
            )
        self._check_range(found[0])
        return _pixels(found[0]).contiguous(memory_format=torch.channels_last), found[1]

    def _one(self, images: Tensor, row: int, draws: Draws) -> Tensor:
        self._seed(draws, row)
        found = self._call((images[row],))
        self._check(found, images[row])
        return _pixels(found) / 255

    def _call(self, arguments: tuple[Tensor, ...]) -> Any:
        try:
            return self.function(*arguments)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"augment.transform {self.name} does not accept images {tuple(arguments[0].shape)} float32 in [0, 1]: "
                f"{error}".replace("\n", " ")
            ) from error

    def _check(self, found: Any, given: Tensor) -> None:
        what = f"{tuple(found.shape)} {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
        right = isinstance(found, Tensor) and found.shape[:-2] == given.shape[:-2] and found.ndim == given.ndim
        if not right or not (found.is_floating_point() or found.dtype == torch.uint8):
            raise InputError(
                f"augment.transform {self.name} turned {tuple(given.shape)} float32 into {what.replace('torch.', '')}; "
                "it has to return as many images and channels, as float in [0, 1] or uint8"
            )

    def _check_range(self, images: Tensor) -> None:
        """Checks the first images: those in [0, 255] would be taken for 255 times as bright."""
        if self._is_checked:
            return
        self._is_checked = True
        largest = float(images.max()) if images.is_floating_point() and images.numel() else 0.0
        if largest > _BRIGHTEST:
            raise InputError(
                f"augment.transform {self.name} returned floats up to {largest:.4g}; give images in [0, 1], or uint8"
            )

    def _seed(self, draws: Draws, row: int) -> None:
        seed = key(draws.seed, draws.epoch, int(draws.indices[row]))
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        for generator in self._generators:
            if isinstance(generator, torch.Generator):
                generator.manual_seed(seed)
            elif isinstance(generator, np.random.Generator):
                generator.bit_generator.state = type(generator.bit_generator)(seed).state
            else:
                generator.seed(seed % 2**32)


def load_transform(
    transform: Any, options: Mapping[str, Any] | None, on: str | None, num_classes: int
) -> Transform | None:
    """Returns the transform that a config names, or a callable as a transform.

    Args:
        transform: the name of a class of ``torchvision.transforms.v2``; the dotted path of a class or a function; a
            mapping with ``class_path`` and ``init_args``; a callable; or None.
        options: the arguments of the class, or keyword arguments of the function. Values that are mappings with a
            ``class_path`` are built first. ``num_classes`` is filled in.
        on: what it is called with, see ``Transform``.
        num_classes: the number of classes.

    Raises:
        InputError: if it does not exist or does not take the options.
    """
    if transform is None:
        if options:
            raise InputError("augment.transform_args needs augment.transform, the transform that takes them")
        return None
    if isinstance(transform, Mapping):
        _check_keys(transform)
        transform, options = transform["class_path"], {**transform.get("init_args", {}), **(options or {})}
    if not isinstance(transform, str):
        if not callable(transform):
            raise InputError(f"augment.transform is {transform!r}; give a callable, or the name of one")
        if options:
            raise InputError("augment.transform is an object already; augment.transform_args cannot be given")
        return Transform(transform, on)
    return Transform(_from_name(transform, options or {}, num_classes), on, transform)


def _from_name(name: str, options: Mapping[str, Any], num_classes: int) -> Callable[..., Any]:
    if "." not in name:
        from torchvision.transforms import v2

        if not inspect.isclass(getattr(v2, name, None)):
            known = [known for known, value in vars(v2).items() if inspect.isclass(value)]
            raise InputError(f"augment.transform {name!r} is not in {_TORCHVISION}; {did_you_mean(name, known)}")
        name = f"{_TORCHVISION}.{name}"
    factory = import_by_path("augment.transform", name)
    options = {option: _build_nested(value, num_classes) for option, value in options.items()}
    if not inspect.isclass(factory):
        _check_options(name, factory, options)
        return partial(factory, **options) if options else factory
    if "num_classes" in inspect.signature(factory).parameters:
        options = {"num_classes": num_classes, **options}
    built = build(f"augment.transform {name!r}", factory, **options)
    if not callable(built):
        raise InputError(f"augment.transform {name!r} builds a {type(built).__name__}, which cannot be called")
    return built


def _check_options(name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    accepted = inspect.signature(function).parameters if options else {}
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):
        for option in options:
            if option not in accepted:
                raise InputError(
                    f"augment.transform {name!r} takes no option {option!r}; {did_you_mean(option, accepted)}"
                )


def _build_nested(value: Any, num_classes: int) -> Any:
    """Builds the transforms among the options: those with a ``class_path``, and those in a list by their names."""
    if isinstance(value, list | tuple):
        return [
            _from_name(item, {}, num_classes) if _is_transform(item) else _build_nested(item, num_classes)
            for item in value
        ]
    if isinstance(value, Mapping) and "class_path" in value:
        _check_keys(value)
        return _from_name(value["class_path"], value.get("init_args") or {}, num_classes)
    return value


def _is_transform(value: Any) -> bool:
    from torchvision.transforms import v2

    found = getattr(v2, value, None) if isinstance(value, str) else None
    return inspect.isclass(found) and issubclass(found, v2.Transform)


def _check_keys(mapping: Mapping[str, Any]) -> None:
    if "class_path" not in mapping or set(mapping) - {"class_path", "init_args"}:
        raise InputError(f"augment.transform has the keys {', '.join(mapping)}; give class_path and init_args")


def _takes_targets(function: Callable[..., Any]) -> bool:
    from torchvision.transforms import v2

    if isinstance(function, nn.Module) and any(isinstance(part, v2.MixUp | v2.CutMix) for part in _parts(function)):
        return True
    called = function.forward if isinstance(function, nn.Module) else function
    try:
        parameters = inspect.signature(called).parameters.values()
    except (TypeError, ValueError):  # a function of an extension module
        return False
    required = [
        p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
    ]
    return len(required) > 1


def _parts(module: nn.Module) -> Iterator[Any]:
    yield from module.modules()
    for part in module.modules():
        for inner in getattr(part, "transforms", ()):  # of torchvision's Compose, which keeps them in a list
            if isinstance(inner, nn.Module):
                yield from _parts(inner)


def _generators_in(value: Any, seen: set[int]) -> Iterator[Any]:
    """Finds the random generators that an object holds, also in the transforms that it is composed of."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, _GENERATORS):
        yield value
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _generators_in(item, seen)
    elif isinstance(value, partial):
        yield from _generators_in([value.func, value.keywords], seen)
    elif callable(value) and hasattr(value, "__dict__") and not inspect.isclass(value):
        yield from _generators_in(vars(value), seen)


@contextmanager
def _own_random_numbers(device: torch.device) -> Iterator[None]:
    """Restores the generators of torch, NumPy and Python at the end, for the run draws from them too."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices, device_type="cuda" if device.type == "cpu" else device.type):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _pixels(images: Tensor) -> Tensor:
    """Images as float in [0, 1] or uint8, as float32 in [0, 255]."""
    return images.float() if images.dtype == torch.uint8 else images.float() * 255
