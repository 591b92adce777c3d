"""Finds the classes of model and data on a command line before it is parsed: the parser's options depend on them.

A config or command line may name any LightningModule and any LightningDataModule. Without ``model.class_path``, the
model is an ``ImageClassifier``, whose options are written directly below ``model``.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import Callback, LightningDataModule, LightningModule
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy

from ..build import import_by_path
from ..data import ImageDataModule
from ..errors import InputError
from ..runs.configs import flatten
from ..training.classifier import ImageClassifier
from .arguments import FULL_NAME, given_options
from .parser import load_yaml


@dataclass(frozen=True)
class ChosenClasses:
    """The classes of model and data, and what the user set.

    Attributes:
        model: the model's class.
        data: the data module's class; None if the model brings its own loaders, or if the class is unknown so far.
        is_flat: whether the options of the model are written directly below ``model``, without a ``class_path``.
        has_data: whether a data module was named.
        options: the names of all options in configs and on the command line, such as ``model.num_classes``.
    """

    model: type[LightningModule]
    data: type[LightningDataModule] | None
    is_flat: bool
    has_data: bool
    options: frozenset[str]

    @property
    def is_classifier(self) -> bool:
        """Whether the model is an ``ImageClassifier`` or a subclass of it."""
        return issubclass(self.model, ImageClassifier)

    @property
    def model_base(self) -> type[LightningModule]:
        """The class whose options ``model`` takes or, if they are below a ``class_path``, whose subclasses."""
        return ImageClassifier if self.is_flat else LightningModule

    @property
    def data_base(self) -> type[LightningDataModule]:
        """The class whose subclasses ``data`` may name."""
        is_foreign = self.data is not None and not issubclass(self.data, ImageDataModule)
        return LightningDataModule if is_foreign or not self.is_classifier else ImageDataModule

    def linked(self) -> Iterator[tuple[str, Callable[[Any], Any]]]:
        """Yields the arguments of the model that follow the data, and functions from a data module to their values.

        These are ``num_classes``, ``in_chans`` and ``multilabel``, where the model's constructor takes them and
        the user did not set them. With a data module of this package, they follow the data of an ``ImageClassifier``.
        """
        parameters = inspect.signature(self.model).parameters
        is_ours = self.is_classifier and (self.data is None or issubclass(self.data, ImageDataModule))
        for name in ("num_classes", "in_chans", "multilabel"):
            is_taken = name in parameters or (self.is_classifier and _takes_any(parameters))
            is_set = f"model.{name}" in self.options
            if is_taken and (is_ours or (self.has_data and not is_set)):
                yield name, _value_of(name, parameters.get(name), self.is_classifier and name == "num_classes")


def _takes_any(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


def _value_of(name: str, parameter: inspect.Parameter | None, is_needed: bool) -> Callable[[Any], Any]:
    default = inspect.Parameter.empty if parameter is None else parameter.default

    def value_of(data: Any) -> Any:
        value = getattr(data, name, None)
        if value is not None:
            return value
        if is_needed or default is inspect.Parameter.empty:
            raise InputError(f"the data module {type(data).__name__} has no {name}; give --model.{name}")
        return default

    return value_of


def chosen_classes(arguments: Sequence[str]) -> ChosenClasses:
    """Returns the classes that a command line and its configs choose. A later choice replaces an earlier one.

    Args:
        arguments: the subcommand and its options. A config is the path of a file, or YAML.

    Raises:
        InputError: if a class cannot be imported or is of the wrong kind.
    """
    options: dict[str, Any] = {}
    for name, value in given_options(arguments):
        if name == "config":
            config = config_of(value)
            check_imports(config)
            options |= flatten(config)
        else:
            options[name] = value
            check_imports(value, name.removesuffix("+"))
    # A string may also be the path of a file with the options of the group.
    model, data = (options.get(group) for group in ("model", "data"))
    is_flat = not isinstance(model, str) or _is_file(model)
    return ChosenClasses(
        model=ImageClassifier if is_flat or not isinstance(model, str) else model_class(model),
        data=_data_class(data) if isinstance(data, str) else None,
        is_flat=is_flat,
        has_data=any(name.partition(".")[0] == "data" for name, value in options.items() if value is not None),
        options=frozenset(options),
    )


def config_of(value: str) -> dict[str, Any]:
    """Returns the content of a config that is the path of a file, or YAML."""
    content = load_yaml(Path(value).read_text() if _is_file(value) else value)
    return content if isinstance(content, dict) else {}


def _is_file(value: str) -> bool:
    try:
        return Path(value).is_file()
    except (OSError, ValueError):  # YAML that is too long for a path
        return False


def model_class(name: str) -> type[LightningModule]:
    """Returns a LightningModule by its full name, or by its class name if it has been imported.

    Raises:
        InputError: if it cannot be imported or is something else.
    """
    if "." not in name:
        known = {found.__name__: found for found in [ImageClassifier, *_subclasses(LightningModule)]}
        if name not in known:
            raise InputError(f"unknown model class {name!r}; give its full name, such as my_module.{name}")
        return known[name]
    found = import_by_path("model", name)
    if inspect.isclass(found) and issubclass(found, LightningModule):
        return found
    raise InputError(
        f"model {name!r} is {_kind(found)}, not a LightningModule; as the backbone of an ImageClassifier, give it as "
        "model.backbone"
    )


def _data_class(name: str) -> type[LightningDataModule] | None:
    if "." not in name or _is_file(name):
        return next((found for found in _subclasses(LightningDataModule) if found.__name__ == name), None)
    found = import_by_path("data module", name, [LightningDataModule])
    if inspect.isclass(found) and issubclass(found, LightningDataModule):
        if missing := sorted(getattr(found, "__abstractmethods__", ())):
            raise InputError(f"data {name!r} cannot be used as it is: it has no {missing[0]}(); write it in the class")
        return found
    raise InputError(f"data {name!r} is {_kind(found)}, not a LightningDataModule")


# The options of the trainer that name classes, and what the classes are.
_PARTS: dict[str, type] = {
    "trainer.callbacks": Callback,
    "trainer.logger": Logger,
    "trainer.profiler": Profiler,
    "trainer.strategy": Strategy,
}


def check_imports(value: Any, place: str = "") -> None:
    """Imports the classes that a config, or the value of an option, names by their full names.

    jsonargparse imports them too, but does not report why an import fails.

    Args:
        value: a config, or a part of it.
        place: the name of the option; empty for a whole config.

    Raises:
        InputError: with the reason, if a class cannot be imported or is not what the option takes.
    """
    if isinstance(value, list):
        for item in value:
            check_imports(item, place)
    elif isinstance(value, dict):
        for key, part in value.items():
            is_path = key in ("class_path", "init_args")
            check_imports(part, place if is_path else f"{place}.{key}".lstrip(".").removesuffix("+"))
    if isinstance(value, str) and place in _PARTS and FULL_NAME.fullmatch(value) and not _is_file(value):
        found = import_by_path(place, value, [_PARTS[place]])
        if inspect.isclass(found) and not issubclass(found, _PARTS[place]):
            raise InputError(f"{place} {value!r} is {_kind(found)}, not a {_PARTS[place].__name__}")


def _kind(found: Any) -> str:
    if not inspect.isclass(found):
        return "a function"
    return f"a subclass of {found.__mro__[1].__name__}" if found.__mro__[1] is not object else "a plain class"


def _subclasses(base: type) -> list[type]:
    found: list[type] = base.__subclasses__()
    for kind in found:  # the list grows during the loop
        found += kind.__subclasses__()
    return found
