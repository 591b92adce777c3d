"""Converts jsonargparse's error messages to one line that names the option and similar valid ones."""

import inspect
import re
from collections.abc import Sequence
from typing import Any

from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch import callbacks, loggers, plugins, profilers, strategies
from lightning.pytorch.loggers import Logger

from ..data import Augmentation, ImageDataModule
from ..errors import nearest
from ..training.classifier import ImageClassifier
from .unknown_words import OTHER_OPTIONS, meant_option, unknown_argument
from .wrong_values import KEY, wrong_value

GROUPS = {"data", "model", "checkpoint", "trainer"}
"""The groups of options at the top of a config."""

OBJECT_KEYS = {"class_path", "init_args", "dict_kwargs"}
"""The keys of a mapping that describes an object."""

_CLASSES: dict[str, tuple[str, Sequence[str]]] = {
    "trainer.callbacks": ("callback", callbacks.__all__),
    "trainer.logger": ("logger", loggers.__all__),
    "trainer.plugins": ("plugin", plugins.__all__),
    "trainer.profiler": ("profiler", profilers.__all__),
    "trainer.strategy": ("strategy", strategies.__all__),
}
"""What the classes of an option are, and which of them need no path."""

# jsonargparse's messages for a key that it does not accept, and for a class that it cannot import.
_UNKNOWN_KEY = re.compile(
    r"does not accept option '([^']+)'|Option '([^']+)' is not accepted"
    r"|Key '([^']+)' is not expected"
)
_UNKNOWN_ARGUMENT = "unrecognized arguments: "
_MISSING_OPTION = re.compile(r"the following arguments are required: ([\w., ]+)")
_NO_VALUE = re.compile(r"argument (?:[^:]*/)?(--[\w.+]+): expected one argument")
_UNKNOWN_CLASS = re.compile(r"Expected a dot import path string: (\S+)|[Pp]roblem with given class_path '([^']+)'")
_REASON = re.compile(r"Problem with given class_path '([^']+)':\s+(.+?)\s*(?=\n\s*- |\nGiven value|\Z)", re.DOTALL)
_LIBRARIES = "lightning", "resnet_lightning"

_SINGLE_OPTIONS = (
    *("config", "overlay", "resume", "find", "ckpt_path", "seed_everything", "debug", "top_k", "trust", "help"),
    *("print_config", "print_schema", "stop_after"),
)
"""The options that belong to no group."""


def one_line(message: str) -> str:
    """Returns one line for an error message of jsonargparse, which may have many lines."""
    if found := _UNKNOWN_KEY.search(message):
        return unknown_option(next(group for group in found.groups() if group))
    if (found := _REASON.search(message)) and not found[2].startswith(("Not a valid subclass", "Expected")):
        return f"{found[1].rpartition('.')[2]} cannot be built: {' '.join(found[2].split())}"
    if found := _UNKNOWN_CLASS.search(message):
        name = next(group for group in found.groups() if group)
        key = KEY.search(message)
        if key and key[1] not in {"data", *_CLASSES}:
            return f"{key[1]} is {name!r}; give the full name of a function or class, such as my_module.{name}"
        what, known = _classes_of(key[1] if key else "")
        if name.rpartition(".")[2] not in known:
            return f"unknown class {name!r}; {_meant_class(name, what, known)}"
    return _line_of_command(message) or wrong_value(message)


def _line_of_command(message: str) -> str | None:
    """Returns the line for words on the command line, or options that are missing there; None for anything else."""
    if message.startswith(_UNKNOWN_ARGUMENT):
        words = message.removeprefix(_UNKNOWN_ARGUMENT)
        return _option_of_callback(words) or unknown_argument(words, _options_by_group())
    if found := _NO_VALUE.match(message):
        return f"{found[1]} has no value; give one, as {found[1]} VALUE"
    if found := _MISSING_OPTION.search(message):
        return _missing_option(found[1].strip(" ,"), message)
    if f"{ImageDataModule.__name__} is abstract" in message:
        return "the options of data depend on the data set; choose it first, with --data or in a --config"
    return None


def error_in_class(error: Exception) -> str | None:
    """Returns the line for an error that jsonargparse raised while it built an object; None for any other error."""
    return one_line(str(error)) if "Given value type" in str(error) else None


def _option_of_callback(words: str) -> str | None:
    """Returns the line for an option such as ``--early_stopping.patience``; None if its group is no callback."""
    name = words.split(" ", 1)[0].partition("=")[0].removeprefix("--")
    group, _, leaf = name.partition(".")
    meant = nearest(group, callbacks.__all__) if leaf and group not in GROUPS and not nearest(group, GROUPS) else []
    if not meant or leaf not in parameters_of([getattr(callbacks, meant[0])]):
        return None
    example = f"--trainer.callbacks+={meant[0]} --trainer.callbacks.{leaf} VALUE"
    return f"unknown option '--{name}'; the options of a callback follow the callback, as {example}"


def unknown_option(key: str) -> str:
    """Returns the line for an option that does not exist, such as ``model.backbon``."""
    names = argument_names()
    group, _, leaf = key.rpartition(".")
    if leaf in names and (not group or key.partition(".")[0] in names):
        return f"option {key!r} does not belong to this data set or part of the config"
    first = key.partition(".")[0]
    of_groups = _options_by_group()
    if leaf in OTHER_OPTIONS:
        return f"unknown option {key!r}{meant_option(key, of_groups)}"
    if group and first not in names:
        similar = nearest(first, GROUPS)
    else:
        similar = nearest(leaf, of_groups.get(group, ())) or nearest(leaf, names)
    if similar:
        return f"unknown option {key!r}; did you mean {' or '.join(map(repr, similar))}?"
    if leaf in _names_of_parts():
        return f"option {leaf!r} belongs to no callback or logger here; give that first, as --trainer.callbacks+=NAME"
    is_of_trainer = not group or first == "trainer"
    if is_of_trainer and (similar := nearest(leaf, _names_of_parts())):
        return f"unknown option {key!r}; did you mean {' or '.join(map(repr, similar))}?"
    return f"unknown option {key!r}{meant_option(key, of_groups)}"


def _missing_option(names: str, message: str) -> str:
    """Returns the line for an option that is required, of a class or of the command."""
    if found := re.search(r"class_path='([\w.]+)'", message):
        return f"{found[1].rpartition('.')[2]} needs {names}; give it in its init_args"
    return f"the following arguments are required: {names}; give a config, such as --config digits"


def _meant_class(name: str, what: str, known: set[str]) -> str:
    if similar := nearest(name.rpartition(".")[2], known):
        return f"did you mean {' or '.join(map(repr, similar))}?"
    return f"give the name of a {what}, or the full name of a class, such as my_module.Name"


def _options_by_group() -> dict[str, set[str]]:
    """Returns the names of the options of each group, and under the empty string those of no group."""
    of_groups: dict[str, list[Any]] = {
        "model": [ImageClassifier],
        "data": [*_data_modules(), *_own_classes()],
        "data.augment": [Augmentation],
        "trainer": [Trainer],
        "checkpoint": [callbacks.ModelCheckpoint],
    }
    names = {group: parameters_of(sources).keys() - {"self", "options"} for group, sources in of_groups.items()}
    return {**names, "": set(_SINGLE_OPTIONS)}


def argument_names() -> set[str]:
    """Returns the names of all options of data, model, checkpoint and trainer, without their groups."""
    sources = [Trainer, ImageClassifier, Augmentation, callbacks.ModelCheckpoint, *_data_modules(), *_own_classes()]
    return parameters_of(sources).keys() - {"self", "options"} | GROUPS | {"seed_everything", "ckpt_path"}


def parameters_of(sources: Sequence[Any]) -> dict[str, inspect.Parameter]:
    """Returns the parameters of functions or classes by name. If a name occurs twice, the last source wins."""
    return {name: parameter for source in sources for name, parameter in inspect.signature(source).parameters.items()}


def _names_of_parts() -> set[str]:
    """Returns the names of the options of all callbacks and loggers of Lightning and of the user's code."""
    parts = [getattr(home, name) for home in (callbacks, loggers) for name in home.__all__]
    parts += [kind for kind in _subclasses(Callback, Logger) if kind.__module__.partition(".")[0] not in _LIBRARIES]
    return set(parameters_of(parts)) - {"self", "args", "kwargs"}


def _classes_of(key: str) -> tuple[str, set[str]]:
    """Returns what the classes of an option are, and the names of those that need no path; all if it is unknown."""
    data = "data module", {c.__name__ for c in _data_modules()}
    if key == "data":
        return data
    if key in _CLASSES:
        return _CLASSES[key][0], set(_CLASSES[key][1])
    return "callback, logger or data module", data[1].union(*(names for _, names in _CLASSES.values()))


def _own_classes() -> list[type]:
    """Returns the LightningModules and data modules that the user's code defines."""
    found = _subclasses(LightningModule, LightningDataModule)
    return [kind for kind in found if kind.__module__.partition(".")[0] not in _LIBRARIES]


def _subclasses(*bases: type) -> list[type]:
    found = list(bases)
    for base in found:  # the list grows during the loop
        found += base.__subclasses__()
    return found


def _data_modules() -> list[type]:
    found: list[type] = [ImageDataModule]
    for module in found:  # the list grows during the loop
        found += module.__subclasses__()
    return found
