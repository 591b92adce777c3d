"""Converts jsonargparse's error messages to one line that names the option and similar valid ones."""

import inspect
import re
from collections.abc import Sequence
from typing import Any

from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch import callbacks, loggers

from ..data import Augmentation, ImageDataModule
from ..errors import nearest
from ..training.classifier import ImageClassifier
from .unknown_words import meant_option, unknown_argument

GROUPS = {"data", "model", "checkpoint", "trainer"}
"""The groups of options at the top of a config."""

OBJECT_KEYS = {"class_path", "init_args", "dict_kwargs"}
"""The keys of a mapping that describes an object."""

# jsonargparse's messages for a key that it does not accept, and for a class that it cannot import.
_UNKNOWN_KEY = re.compile(
    r"does not accept option '([^']+)'|Option '([^']+)' is not accepted"
    r"|Key '([^']+)' is not expected"
)
_UNKNOWN_ARGUMENT = "unrecognized arguments: "
_MISSING_OPTION = re.compile(r"the following arguments are required: ([\w., ]+)")
_NO_VALUE = re.compile(r"argument (?:[^:]*/)?(--[\w.+]+): expected one argument")
_UNKNOWN_CLASS = re.compile(r"Expected a dot import path string: (\S+)|[Pp]roblem with given class_path '([^']+)'")


def one_line(message: str) -> str:
    """Returns one line for an error message of jsonargparse, which may have many lines."""
    if found := _UNKNOWN_KEY.search(message):
        return unknown_option(next(group for group in found.groups() if group))
    if found := _UNKNOWN_CLASS.search(message):
        name = next(group for group in found.groups() if group)
        leaf = name.rpartition(".")[2]
        if leaf not in _class_names():
            return f"unknown class {name!r}; {_meant_class(name)}"
    return _line_of_command(message) or _wrong_value(message)


def _line_of_command(message: str) -> str | None:
    """Returns the line for words on the command line, or options that are missing there; None for anything else."""
    if message.startswith(_UNKNOWN_ARGUMENT):
        return unknown_argument(message.removeprefix(_UNKNOWN_ARGUMENT), _options_by_group())
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


def unknown_option(key: str) -> str:
    """Returns the line for an option that does not exist, such as ``model.backbon``."""
    names = argument_names()
    group, _, leaf = key.rpartition(".")
    if leaf in names and (not group or key.partition(".")[0] in names):
        return f"option {key!r} does not belong to this data set or part of the config"
    first = key.partition(".")[0]
    similar = nearest(first, GROUPS) if group and first not in names else nearest(leaf, names)
    if similar:
        return f"unknown option {key!r}; did you mean {' or '.join(map(repr, similar))}?"
    return f"unknown option {key!r}{meant_option(key, _options_by_group())}"


def _missing_option(names: str, message: str) -> str:
    """Returns the line for an option that is required, of a class or of the command."""
    if found := re.search(r"class_path='([\w.]+)'", message):
        return f"{found[1].rpartition('.')[2]} needs {names}; give it in its init_args"
    return f"the following arguments are required: {names}; give a config, such as --config digits"


def _meant_class(name: str) -> str:
    leaf = name.rpartition(".")[2]
    if similar := nearest(leaf, _class_names()):
        return f"did you mean {' or '.join(map(repr, similar))}?"
    return "give the name of a callback, logger or data module, or the full name of a class, such as my_module.Name"


def _wrong_value(message: str) -> str:
    lines = [line.strip() for line in message.splitlines()]
    # jsonargparse lists an error for each allowed type. The last is None, which is never what the user meant.
    errors = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
    uninformative = ("Expected a <class 'NoneType'>", "Does not validate against any")
    errors = [error for error in errors if not error.startswith(uninformative)]
    errors = [error for error in errors if not error.startswith("Expected a path")] or errors
    if not errors:
        return " ".join(line for line in lines if not line.startswith("Given value type"))
    key = re.search(r'[Kk]ey "([^"]+)"', message)
    if errors[0].startswith("Expected") and key:
        value = next((line for line in lines if line.startswith("Given value:")), "")
        hint = (
            "; write a word that YAML reads as a value, such as no, on or 1e3, in quotes"
            if _is_no_name(message)
            else ""
        )
        return f"{key[1]}: {' or: '.join(errors)}. {value}{hint}"
    if not key or key[1].rpartition(".")[2] in errors[0].partition(": ")[2]:
        return errors[0]
    if inner := re.match(r'Parser key "([^"]+)": (.*)', errors[0]):
        return f"{key[1]}.{inner[1]}: {inner[2]}"
    return f"{key[1]}: {errors[0]}"


def _is_no_name(message: str) -> bool:
    """Whether a string was expected and YAML read a truth value or a number."""
    return "Expected a <class 'str'>" in message and bool(
        re.search(r"Given value: (True|False|[-+.\de]+|inf|nan)$", message, re.M)
    )


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
    return {
        **names,
        "": {"config", "overlay", "resume", "stop_after", "find", "ckpt_path", "seed_everything", "debug", "top_k"},
    }


def argument_names() -> set[str]:
    """Returns the names of all options of data, model, checkpoint and trainer, without their groups."""
    sources = [Trainer, ImageClassifier, Augmentation, callbacks.ModelCheckpoint, *_data_modules(), *_own_classes()]
    return parameters_of(sources).keys() - {"self", "options"} | GROUPS | {"seed_everything", "ckpt_path"}


def parameters_of(sources: Sequence[Any]) -> dict[str, inspect.Parameter]:
    """Returns the parameters of functions or classes by name. If a name occurs twice, the last source wins."""
    return {name: parameter for source in sources for name, parameter in inspect.signature(source).parameters.items()}


def _class_names() -> set[str]:
    return {c.__name__ for c in _data_modules()} | set(callbacks.__all__) | set(loggers.__all__)


def _own_classes() -> list[type]:
    """Returns the LightningModules and data modules that the user's code defines."""
    found: list[type] = [*LightningModule.__subclasses__(), *LightningDataModule.__subclasses__()]
    for kind in found:  # the list grows during the loop
        found += kind.__subclasses__()
    return [kind for kind in found if kind.__module__.partition(".")[0] not in ("lightning", "resnet_lightning")]


def _data_modules() -> list[type]:
    found: list[type] = [ImageDataModule]
    for module in found:  # the list grows during the loop
        found += module.__subclasses__()
    return found
