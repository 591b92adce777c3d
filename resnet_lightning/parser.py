"""Config files and options, and one clear line for what is wrong with them."""

import inspect
import re
from pathlib import Path
from typing import Any

import yaml
from lightning import Trainer
from lightning.pytorch import callbacks, loggers
from lightning.pytorch.cli import LightningArgumentParser

from .classifier import ImageClassifier
from .data import Augmentation, ImageDataModule
from .errors import InputError, did_you_mean

# How jsonargparse says that it does not know a key.
_UNKNOWN_KEY = re.compile(
    r"does not accept option '([^']+)'|Option '([^']+)' is not accepted"
    r"|unrecognized arguments: (?:--)?([\w.]+)|Key '([^']+)' is not expected"
)
_UNKNOWN_CLASS = re.compile(r"Expected a dot import path string: (\S+)|[Pp]roblem with given class_path '([^']+)'")

_GROUPS = {"data", "model", "checkpoint", "trainer"}


class Parser(LightningArgumentParser):
    """Raises ``InputError`` where the parser would print its usage and exit."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        raise InputError(_one_line(message)) from ex


def given(option: str, arguments: list[str], short: str | None = None) -> list[str]:
    """The values that an option was given on a command line: ``--option X``, ``--option=X`` or ``-o X``."""
    values = []
    for i, argument in enumerate(arguments):
        if argument in (option, short):
            values += arguments[i + 1 : i + 2]
        elif argument.startswith(f"{option}="):
            values.append(argument.removeprefix(f"{option}="))
    return values


def check_config_file(path: str) -> None:
    """Makes sure that a config can be read, before the parser tries.

    Raises:
        InputError: where the file is missing or is not a mapping in YAML.
    """
    file = Path(path)
    if not file.is_file():
        nearby = [str(other) for other in file.parent.glob("*.yaml")] if file.parent.is_dir() else []
        raise InputError(f"there is no config {path!r}" + (f"; {did_you_mean(path, nearby)}" if nearby else ""))
    try:
        content = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}: {getattr(error, 'problem', '')})" if mark else ""
        raise InputError(f"the config {path!r} is not YAML{place}") from error
    if not isinstance(content, dict):
        raise InputError(f"the config {path!r} is not a mapping of options, such as `trainer: {{max_epochs: 10}}`")


def _one_line(message: str) -> str:
    """What jsonargparse wrote over many lines, as one that names the key and the nearest right ones."""
    if found := _UNKNOWN_KEY.search(message):
        return _unknown_option(next(group for group in found.groups() if group))
    if found := _UNKNOWN_CLASS.search(message):
        name = next(group for group in found.groups() if group)
        return f"unknown class {name!r}; {did_you_mean(name.rpartition('.')[2], _class_names())}"
    if "arguments are required" in message:
        return f"{message}; give a config, such as --config configs/digits.yaml"
    if f"{ImageDataModule.__name__} is abstract" in message:
        return "the options of data are those of a data set; name it first, with --data or by a --config"
    return _wrong_value(message)


def _unknown_option(key: str) -> str:
    names = _argument_names()
    group, _, leaf = key.rpartition(".")
    first = key.partition(".")[0]
    if group and first not in names:
        return f"unknown option {first!r}; {did_you_mean(first, _GROUPS)}"
    if leaf in names:
        return f"option {key!r} does not belong to this data set or part of the config"
    return f"unknown option {key!r}; {did_you_mean(leaf, names)}"


def _wrong_value(message: str) -> str:
    lines = [line.strip() for line in message.splitlines()]
    # Of the types that an option could have, None is always the last and never what was meant.
    errors = [line.removeprefix("- ") for line in lines if line.startswith("- ") and "NoneType" not in line]
    if not errors:
        return " ".join(line for line in lines if not line.startswith("Given value type"))
    key = re.search(r'[Kk]ey "([^"]+)"', message)
    if errors[0].startswith("Expected") and key:
        value = next((line for line in lines if line.startswith("Given value:")), "")
        return f"{key[1]}: {' or: '.join(errors)}. {value}"
    return errors[0]


def what_it_says(error: Exception) -> str | None:
    """The line of an error that jsonargparse raised while it built an object, or None for an error of another kind."""
    return _one_line(str(error)) if "Given value type" in str(error) else None


def _argument_names() -> set[str]:
    sources = [Trainer, ImageClassifier, Augmentation, callbacks.ModelCheckpoint, *_data_modules()]
    names = {name for source in sources for name in inspect.signature(source).parameters}
    return names - {"self", "options"} | _GROUPS | {"seed_everything", "ckpt_path"}


def _class_names() -> set[str]:
    return {c.__name__ for c in _data_modules()} | set(callbacks.__all__) | set(loggers.__all__)


def _data_modules() -> list[type]:
    found: list[type] = [ImageDataModule]
    for module in found:  # grows while it is walked
        found += module.__subclasses__()
    return found
