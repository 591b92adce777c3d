"""The parser of options and config files, with checks that jsonargparse lacks."""

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args

import torch
import yaml
from jsonargparse import Namespace, get_loader, set_loader
from jsonargparse.typing import register_type
from lightning import Callback, LightningDataModule
from lightning.pytorch.cli import LightningArgumentParser

from ..build import import_by_path
from ..data import Augmentation, ImageDataModule
from ..errors import InputError, did_you_mean, nearest
from ..training.classifier import ImageClassifier
from .augment_option import with_transform_in_config
from .config_errors import GROUPS, OBJECT_KEYS, argument_names, one_line, parameters_of, unknown_option
from .number_types import integers_first
from .shipped_configs import complete_configs
from .strict_yaml import StrictError, check_yaml
from .value_checks import check_values

# The mappings with a fixed set of keys. The keys of other mappings depend on classes, which may be the user's.
_KNOWN_PLACES = {"", *(f"{group}." for group in GROUPS), "data.init_args.", "data.init_args.augment."}

# Defaults of Lightning's Timer and StochasticWeightAveraging, which jsonargparse cannot write into a config otherwise.
register_type(torch.device, str, torch.device, fail_already_registered=False)
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, member: dumper.represent_data(member.value))

_NO_OPTIONS = {"unfreeze"}  # mappings whose keys are no names: epochs

load_yaml = get_loader("yaml")  # jsonargparse's own, which reads 1e-3 as a number


class Parser(LightningArgumentParser):
    """Lightning's parser, which raises ``InputError`` instead of printing its usage and exiting.

    Args:
        command: the subcommand that it parses; empty for the parser of the whole command line.
    """

    def __init__(self, *args: Any, command: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.command = command
        # For values on the command line and in the environment, and for files that a config names.
        set_loader("yaml", _load_strictly, (yaml.YAMLError,))

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:  # jsonargparse gives its groups this method too
        action = super().add_argument(*args, **kwargs)
        if annotation := getattr(action, "_typehint", None):
            if action.dest == "trainer.precision":
                annotation |= Literal["auto"]  # see precision.py
            action._typehint = integers_first(annotation)
        return action

    def error(self, message: str, ex: Exception | None = None) -> Any:
        raise InputError(one_line(message)) from ex

    def parse_args(self, *args: Any, **kwargs: Any) -> Namespace:  # type: ignore[override]
        try:
            config = super().parse_args(*args, **kwargs)
        except StrictError as error:
            raise InputError(str(error)) from error
        if config.get("subcommand"):
            _check_values(config[config.subcommand])
            check_values(config[config.subcommand], training=config.subcommand == "fit")
        return config


def _load_strictly(text: str) -> Any:
    check_yaml(text)
    content = load_yaml(text)
    _check_object(content)
    return with_transform_in_config(content)


def _check_object(value: Any) -> None:
    """Rejects a value that describes an object and has other keys than those: jsonargparse would blame these."""
    for item in value if isinstance(value, list) else []:
        _check_object(item)
    if not isinstance(value, dict) or "class_path" not in value:
        return
    name, arguments = value["class_path"], value.get("init_args", {})
    if other := [key for key in value if key not in OBJECT_KEYS]:
        raise StrictError(f"unknown option {other[0]!r} beside class_path {name!r}; its options belong in init_args")
    if not isinstance(name, str):
        raise StrictError(f"class_path is {name!r}; give the name of a class")
    if not isinstance(arguments, dict):
        raise StrictError(f"the init_args of {name!r} are {arguments!r}; give a mapping of its options")


def add_run_options(parser: Parser) -> None:
    """Adds the package's own options, which belong to no group, to the parser of a subcommand."""
    parser.add_argument("--overlay", help="Name of a config in `overlays/` that is applied on top, such as `wandb`.")
    parser.add_argument(
        "--print_schema", action="store_true", help="Print a JSON Schema of configs, for editors, and exit."
    )
    parser.add_argument(
        "--trust",
        type=str | None,
        help="Packages of which a checkpoint may name classes, separated by commas: their code is run.",
    )
    parser.add_argument("--debug", action="store_true", help="Show the traceback if the input is wrong.")
    if parser.command == "fit":
        parser.add_argument(
            "--resume",
            type=str | None,
            help="Folder of the run to resume from its newest checkpoint; a new run starts there if there is none. "
            "`auto` finds the newest run with this config.",
        )
        parser.add_argument(
            "--stop_after",
            type=int | None,
            help="Save and end this process after so many epochs; the schedule is that of the whole training, which "
            "--resume continues.",
        )
        parser.add_argument(
            "--find",
            type=Literal["lr", "batch_size"] | None,
            help="Find a good learning rate (with a figure) or the largest batch size that fits, without training.",
        )
    if parser.command == "test":
        parser.add_argument(
            "--corruptions",
            type=str | None,
            nargs="?",
            const="all",
            help="Also test on corrupted images, in five strengths: all, or names separated by commas, such as "
            "`gaussian_noise,fog` (Hendrycks & Dietterich 2019).",
        )
    if parser.command == "predict":
        parser.add_argument(
            "images",
            type=str,
            nargs="*",
            help="Image files, and folders of images, that get labels; the test images by default.",
        )
        parser.add_argument(
            "--output",
            type=str | None,
            help="The CSV file to write, or a folder for it; by default, predictions.csv in a new folder of "
            "trainer.default_root_dir.",
        )
        parser.add_argument("--top_k", type=int, default=1, help="Number of labels for each image, most likely first.")


def check_config_file(path: str) -> None:
    """Checks that a config can be read, before jsonargparse reads it.

    Raises:
        InputError: if the file is missing, or is not a mapping in YAML.
    """
    file = Path(path)
    if path.startswith("--") or not path:
        raise InputError("--config has no value; give the name of a config, as --config digits, or its path")
    if not file.is_file():
        raise InputError(f"there is no config {path!r}{_similar_config(file)}")
    try:
        text = file.read_text()
        check_yaml(text)
        content = yaml.safe_load(text)
    except StrictError as error:
        raise InputError(f"the config {path!r}: {error}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}: {getattr(error, 'problem', '')})" if mark else ""
        raise InputError(f"the config {path!r} is not YAML{place}") from error
    if not isinstance(content, dict):
        raise InputError(f"the config {path!r} is not a mapping of options, such as `trainer: {{max_epochs: 10}}`")
    _check_shape(content)


def _similar_config(file: Path) -> str:
    """Returns the end of the message for a config that is missing: one of a similar name, there or in the package."""
    if file.is_dir():
        return ": that is a folder; give the path of a file"
    nearby = [str(other) for other in file.parent.glob("*.yaml")] if file.parent.is_dir() else []
    names = {Path(name).stem: name for name in (*complete_configs(), *nearby)}
    if meant := nearest(file.stem, names):
        return f"; did you mean {' or '.join(repr(names[name]) for name in meant)}?"
    return "" if file.parent.is_dir() else f"; there is no folder {str(file.parent)!r}"


def _check_shape(mapping: dict[Any, Any], place: str = "") -> None:
    """Rejects keys that jsonargparse ignores, or rejects without naming them."""
    is_object = not OBJECT_KEYS.isdisjoint(mapping)
    for key, value in mapping.items():
        name = f"{place}{key}"
        if not isinstance(key, str):
            raise InputError(f"{name} is not the name of an option; names are strings")
        if is_object and key not in OBJECT_KEYS:
            raise InputError(f"unknown option {name!r}; {did_you_mean(key, OBJECT_KEYS)}")
        if is_object and key == "class_path" and not isinstance(value, str):
            raise InputError(f"{name} is {value!r}; give the name of a class")
        # A group may also be a string: the path of a file with its options or, for data, a class.
        is_group = not place and key in GROUPS and not isinstance(value, str) and (key, value) != ("data", None)
        if is_group or (is_object and key == "init_args"):
            _check_mapping(name, value)
        if value == {} and place in _KNOWN_PLACES and key.rstrip("+") not in argument_names() | OBJECT_KEYS:
            raise InputError(unknown_option(name))
        for number, item in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(item, dict) and (key == "init_args" or not key.endswith("_args")) and key not in _NO_OPTIONS:
                _check_shape(item, f"{name}.{number}." if isinstance(value, list) else f"{name}.")


def _check_mapping(name: str, value: Any) -> None:
    if not isinstance(value, dict | Namespace):
        shown = "null" if value is None else repr(value)
        raise InputError(f"{name} is {shown}; give a mapping of its options, or leave it out")


def _check_values(config: Namespace) -> None:
    """Rejects values that jsonargparse accepts but that would raise an unclear error later."""
    seed = config.get("seed_everything")
    if isinstance(seed, int) and not 0 <= seed < 2**32:
        raise InputError(f"seed_everything is {seed}; give an integer from 0 to {2**32 - 1}")
    groups: list[tuple[str, Namespace, Sequence[Any]]] = []
    if "class_path" not in config.model:
        if not isinstance(config.model.backbone, str) or not config.model.backbone:
            raise InputError(f"model.backbone is {config.model.backbone!r}; give the name of a model or a dotted path")
        if not isinstance(config.model.get("loss"), str | None):
            raise InputError(
                "model.loss is a mapping or a number; give a name or a dotted path, and its arguments as "
                "model.loss_args"
            )
        groups.append(("model", config.model, [ImageClassifier]))
    if config.data is not None:
        data = config.data.get("init_args") or Namespace()
        if bases := _with_bases(import_by_path("data module", config.data.class_path, [LightningDataModule])):
            augment = data.get("augment", Namespace())
            _check_mapping("data.augment", augment)
            groups += [("data", data, bases), ("data.augment", augment, [Augmentation])]
    for callback in config.trainer.callbacks if isinstance(config.trainer.callbacks, list) else []:
        name = callback.class_path
        kind = import_by_path("callback", name, [Callback])
        groups.append((name.rpartition(".")[2], callback.get("init_args") or Namespace(), [kind]))
    for place, values, sources in groups:
        for name, parameter in parameters_of(sources).items():
            can_be_null = parameter.default is None or NoneType in get_args(parameter.annotation)
            if not can_be_null and values.get(name, ...) is None:
                raise InputError(f"{place}.{name} is null; give a value, or leave it out")


def _with_bases(module: Any) -> list[type]:
    """Returns a data module's class after its base classes, whose arguments it accepts too."""
    return [base for base in reversed(getattr(module, "__mro__", ())) if issubclass(base, ImageDataModule)]
