"""Config files and options, and one clear line for what is wrong with them."""

import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import yaml
from jsonargparse import Namespace
from lightning import Trainer
from lightning.pytorch import callbacks, loggers
from lightning.pytorch.cli import LightningArgumentParser

from ..build import import_by_path
from ..data import Augmentation, ImageDataModule
from ..errors import InputError, did_you_mean
from ..training.classifier import ImageClassifier

# How jsonargparse says that it does not know a key.
_UNKNOWN_KEY = re.compile(
    r"does not accept option '([^']+)'|Option '([^']+)' is not accepted"
    r"|unrecognized arguments: (?:--)?([\w.]+)|Key '([^']+)' is not expected"
)
_UNKNOWN_CLASS = re.compile(r"Expected a dot import path string: (\S+)|[Pp]roblem with given class_path '([^']+)'")

_GROUPS = {"data", "model", "checkpoint", "trainer"}
_OBJECT = {"class_path", "init_args", "dict_kwargs"}
# The mappings whose keys are all known here; others are those of classes from anywhere.
_KNOWN_PLACES = {"", *(f"{group}." for group in _GROUPS), "data.init_args.", "data.init_args.augment."}


class Parser(LightningArgumentParser):
    """Raises ``InputError`` where the parser would print its usage and exit."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        raise InputError(_one_line(message)) from ex

    def parse_args(self, *args: Any, **kwargs: Any) -> Namespace:  # type: ignore[override]
        config = super().parse_args(*args, **kwargs)
        if config.get("subcommand"):
            _check_values(config[config.subcommand])
        return config


def given(option: str, arguments: list[str], short: str | None = None) -> list[str]:
    """The values that an option was given on a command line: ``--option X``, ``--option=X`` or ``-o X``."""
    values = []
    for i, argument in enumerate(arguments):
        if argument in (option, short):
            values += arguments[i + 1 : i + 2]
        elif argument.startswith(f"{option}="):
            values.append(argument.removeprefix(f"{option}="))
    return values


def with_overlays(arguments: list[str]) -> list[str]:
    """Puts the config in the place of each ``--overlay NAME``: ``overlays/NAME.yaml`` beside the first config.

    Raises:
        InputError: where there is none of that name.
    """
    configs = given("--config", arguments, short="-c")
    folder = (Path(configs[0]).parent if configs else Path("configs")) / "overlays"
    done: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        option, is_joined, value = argument.partition("=")
        if option != "--overlay":
            done.append(argument)
            continue
        name = value if is_joined else next(rest, "")
        path = folder / f"{name}.yaml"
        if not path.is_file():
            known = [file.stem for file in folder.glob("*.yaml")]
            hint = did_you_mean(name, known) if known else f"there are none in {str(folder)!r}"
            raise InputError(f"there is no overlay {name!r}; {hint}")
        done += ["--config", str(path)]
    return done


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
    _check_shape(content)


def _check_shape(mapping: dict[Any, Any], place: str = "") -> None:
    """Refuses what jsonargparse passes over in silence, or refuses in words that name no key."""
    is_object = not _OBJECT.isdisjoint(mapping)
    for key, value in mapping.items():
        name = f"{place}{key}"
        if not isinstance(key, str):
            raise InputError(f"the name of an option is text, and not {name}")
        if is_object and key not in _OBJECT:
            raise InputError(f"unknown option {name!r}; {did_you_mean(key, _OBJECT)}")
        if is_object and key == "class_path" and not isinstance(value, str):
            raise InputError(f"{name} is {value!r}; give the name of a class")
        # Text is the path of a file with these options or, of data, a class.
        if (is_object and key == "init_args") or (not place and key in _GROUPS and not isinstance(value, str)):
            _check_mapping(name, value)
        if value == {} and place in _KNOWN_PLACES and key.rstrip("+") not in _argument_names() | _OBJECT:
            raise InputError(_unknown_option(name))
        for number, item in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(item, dict) and (key == "init_args" or not key.endswith("_args")):
                _check_shape(item, f"{name}.{number}." if isinstance(value, list) else f"{name}.")


def _check_mapping(name: str, value: Any) -> None:
    if not isinstance(value, dict | Namespace):
        shown = "null" if value is None else repr(value)
        raise InputError(f"{name} is {shown}; give a mapping of its options, or leave it out")


def _check_values(config: Namespace) -> None:
    """Refuses values that jsonargparse lets through to where they end in a traceback."""
    seed = config.get("seed_everything")
    if isinstance(seed, int) and not 0 <= seed < 2**32:
        raise InputError(f"seed_everything is {seed}; give a whole number from 0 to {2**32 - 1}")
    if not isinstance(config.model.backbone, str) or not config.model.backbone:
        raise InputError(f"model.backbone is {config.model.backbone!r}; give the name of a net or a dotted path")
    data = config.data.get("init_args") or Namespace()
    augment = data.get("augment", Namespace())
    _check_mapping("data.augment", augment)
    groups: list[tuple[str, Namespace, Sequence[Any]]] = [
        ("model", config.model, [ImageClassifier]),
        ("data", data, _with_bases(import_by_path("", config.data.class_path))),
        ("data.augment", augment, [Augmentation]),
    ]
    for callback in config.trainer.callbacks if isinstance(config.trainer.callbacks, list) else []:
        name = callback.class_path
        groups.append((name.rpartition(".")[2], callback.get("init_args") or Namespace(), [import_by_path("", name)]))
    for place, values, sources in groups:
        for name, parameter in _parameters(sources).items():
            can_be_null = parameter.default is None or NoneType in get_args(parameter.annotation)
            if not can_be_null and values.get(name, ...) is None:
                raise InputError(f"{place}.{name} is null; give a value, or leave it out")


def _one_line(message: str) -> str:
    """What jsonargparse wrote over many lines, as one that names the key and the nearest right ones."""
    if found := _UNKNOWN_KEY.search(message):
        return _unknown_option(next(group for group in found.groups() if group))
    if found := _UNKNOWN_CLASS.search(message):
        name = next(group for group in found.groups() if group)
        leaf = name.rpartition(".")[2]
        if leaf not in _class_names():
            return f"unknown class {name!r}; {did_you_mean(leaf, _class_names())}"
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
    errors = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
    passed_over = ("Expected a <class 'NoneType'>", "Does not validate against any")
    errors = [error for error in errors if not error.startswith(passed_over)]
    if not errors:
        return " ".join(line for line in lines if not line.startswith("Given value type"))
    key = re.search(r'[Kk]ey "([^"]+)"', message)
    if errors[0].startswith("Expected") and key:
        value = next((line for line in lines if line.startswith("Given value:")), "")
        return f"{key[1]}: {' or: '.join(errors)}. {value}"
    if not key or key[1].rpartition(".")[2] in errors[0].partition(": ")[2]:
        return errors[0]
    if inner := re.match(r'Parser key "([^"]+)": (.*)', errors[0]):
        return f"{key[1]}.{inner[1]}: {inner[2]}"
    return f"{key[1]}: {errors[0]}"


def what_it_says(error: Exception) -> str | None:
    """The line of an error that jsonargparse raised while it built an object, or None for an error of another kind."""
    return _one_line(str(error)) if "Given value type" in str(error) else None


def _argument_names() -> set[str]:
    sources = [Trainer, ImageClassifier, Augmentation, callbacks.ModelCheckpoint, *_data_modules()]
    return _parameters(sources).keys() - {"self", "options"} | _GROUPS | {"seed_everything", "ckpt_path"}


def _parameters(sources: Sequence[Any]) -> dict[str, inspect.Parameter]:
    return {name: parameter for source in sources for name, parameter in inspect.signature(source).parameters.items()}


def _with_bases(module: Any) -> list[type]:
    """A data module after those that it takes arguments for."""
    return [base for base in reversed(getattr(module, "__mro__", ())) if issubclass(base, ImageDataModule)]


def _class_names() -> set[str]:
    return {c.__name__ for c in _data_modules()} | set(callbacks.__all__) | set(loggers.__all__)


def _data_modules() -> list[type]:
    found: list[type] = [ImageDataModule]
    for module in found:  # grows while it is walked
        found += module.__subclasses__()
    return found
