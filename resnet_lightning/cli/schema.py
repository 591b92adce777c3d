"""``lightning fit --print_schema``: a JSON Schema of the configs, with which editors complete and check them.

It is written for draft 7, which editors support best. jsonargparse can write one too, but it lists every class that is
loaded, with all its options, and knows nothing of class names without their modules or of ``callbacks+``.
"""

import dataclasses
import inspect
import json
import re
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from docstring_parser import DocstringStyle, parse
from jsonargparse import Namespace
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch import callbacks, loggers
from lightning.pytorch.loggers import Logger

from .. import data
from ..build import import_by_path
from ..data import ImageDataModule
from ..models import list_models
from ..training.callbacks import BestCheckpoint, FittingThreads, MovingAverage
from ..training.classifier import ImageClassifier

Schema = dict[str, Any]

_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", types.NoneType: "null"}
_REF = "#/definitions/"
_DOTTED = {"type": "string", "pattern": r"\."}
_SEED = "Seed of the weights, the order of the images and the augmentations."


def config_schema(classes: Collection[type] = ()) -> Schema:
    """Returns the JSON Schema of a config.

    Args:
        classes: data modules, models, callbacks and loggers of the user, whose options are described too. The
            options of other classes that a config names by a dotted path are not checked.
    """
    schema = _ConfigSchema(classes)
    properties = {
        "seed_everything": {"type": ["integer", "boolean"], "description": _SEED},
        "data": schema.objects_of(_data_modules(), LightningDataModule),
        "model": schema.model(),
        "checkpoint": schema.options_of(BestCheckpoint),
        "trainer": schema.trainer(),
        "ckpt_path": {"type": ["string", "null"], "description": "The checkpoint to start from."},
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A config of `lightning fit`",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "definitions": dict(sorted(schema.definitions.items())),
    }


def named_classes(config: Any) -> list[type]:
    """Returns the classes that a parsed config names, each once."""
    found: dict[type, None] = {}
    if isinstance(config, Namespace):
        config = vars(config)
    if isinstance(config, dict):
        path = config.get("class_path")
        # A name without a module is that of a metric of torchmetrics, say, which needs no schema.
        if isinstance(path, str) and "." in path and inspect.isclass(named := import_by_path("class", path)):
            found[named] = None
        config = list(config.values())
    if isinstance(config, list):
        found |= dict.fromkeys(named for value in config for named in named_classes(value))
    return list(found)


def schema_text(classes: Collection[type] = ()) -> str:
    """Returns the schema as text."""
    return json.dumps(config_schema(classes), indent=1, ensure_ascii=False) + "\n"


def _data_modules() -> list[type]:
    found = [getattr(data, name) for name in data.__all__]
    return [kind for kind in found if inspect.isclass(kind) and issubclass(kind, ImageDataModule)]


class _ConfigSchema:
    """Collects the descriptions of classes in ``definitions``, each once."""

    def __init__(self, own_classes: Collection[type]) -> None:
        self.own_classes = own_classes
        self.definitions: dict[str, Schema] = {
            "object": {
                "description": "An object: the dotted path of its class, and options.",
                "type": "object",
                "properties": _object_keys({"type": "string"}),
                "required": ["class_path"],
                "additionalProperties": False,
            }
        }

    # The groups of options.

    def model(self) -> Schema:
        """The options of ``ImageClassifier``, or an object of any class."""
        flat = self.options_of(ImageClassifier)
        objects = self.objects_of([ImageClassifier], LightningModule)
        has_class = {"type": "object", "required": ["class_path"]}
        return {"if": {"type": "string"}, "else": {"if": has_class, "then": objects, "else": flat}}

    def trainer(self) -> Schema:
        """The options of the trainer. A ``+`` after the name of a list adds to it."""
        options = self.options_of(Trainer)
        properties = self.definitions[Trainer.__name__]["properties"]
        callback = self.objects_of([*_public(callbacks, Callback), FittingThreads, MovingAverage], Callback)
        logger = self.objects_of(_public(loggers, Logger), Logger)
        properties["callbacks"] = {**properties["callbacks"], **_one_or_more(callback, "null")}
        properties["logger"] = {**properties["logger"], **_one_or_more(logger, "boolean", "null")}
        precision = properties["precision"]
        precision["anyOf"] = [*precision["anyOf"], {"enum": ["auto"]}]
        precision["description"] += " `auto` is bf16-mixed where the device is faster with it, else 32-true."
        for name in "callbacks", "logger":
            properties[f"{name}+"] = {**properties[name], "description": f"Added to `{name}`."}
        return options

    def objects_of(self, shipped: Iterable[type], kind: type) -> Schema:
        """An object of one of the classes, by its name, or of any other class, by its dotted path."""
        own = [own_class for own_class in self.own_classes if issubclass(own_class, kind)]
        names = {name: shipped_class for shipped_class in shipped for name in _names(shipped_class)}
        names |= {_path(own_class): own_class for own_class in own if own_class not in names.values()}
        by_class: dict[type, list[str]] = {}
        for name, named in names.items():
            by_class.setdefault(named, []).append(name)
        cases = [
            {
                "if": {"properties": {"class_path": {"enum": class_names}}, "required": ["class_path"]},
                "then": {"properties": {"init_args": self.options_of(named)}},
            }
            for named, class_names in by_class.items()
        ]
        class_path = {"anyOf": [{"enum": [*names]}, _DOTTED]}
        name = f"{kind.__name__}_object"
        self.definitions[name] = {
            "type": ["object", "string"],
            "properties": _object_keys(class_path),
            "additionalProperties": False,
            "allOf": cases,
        }
        return {"$ref": f"{_REF}{name}"}

    def options_of(self, factory: type) -> Schema:
        """A reference to the options of a class."""
        name = factory.__name__
        if name not in self.definitions:
            self.definitions[name] = {}  # so that a class may take one of its own
            self.definitions[name] = self._options(factory)
        return {"$ref": f"{_REF}{name}"}

    def _options(self, factory: type) -> Schema:
        parameters, is_open = _parameters(factory)
        descriptions = _descriptions(factory)
        properties = {}
        for name, (parameter, hint) in parameters.items():
            properties[name] = {**self.value(hint), **_default(parameter)}
            if name in _NAMES:
                properties[name] = {**_named(_NAMES[name](), hint), **_default(parameter)}
            if name in descriptions:
                properties[name]["description"] = descriptions[name]
        schema: Schema = {"type": "object", "properties": properties}
        return schema if is_open else {**schema, "additionalProperties": False}

    def value(self, hint: Any) -> Schema:
        """The values that a type hint allows; anything if it is not known."""
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Literal:
            return {"enum": list(arguments)}
        if hint in _TYPES:
            return {"type": _TYPES[hint]}
        if origin in (Union, types.UnionType):
            return _any_of([self.value(argument) for argument in arguments])
        kind = origin or hint
        return self._instance(kind, arguments) if inspect.isclass(kind) and kind is not object else {}

    def _instance(self, kind: type, arguments: Sequence[Any]) -> Schema:
        """The values for an argument whose type is a class, such as ``list[int]``."""
        if issubclass(kind, Mapping):
            return {"type": "object"}
        if issubclass(kind, Iterable):
            items = [self.value(argument) for argument in arguments if argument is not ...]
            return {"type": "array", "items": _any_of(items)} if items else {"type": "array"}
        if dataclasses.is_dataclass(kind):
            return self.options_of(kind)
        return {"anyOf": [{"type": "string"}, {"$ref": f"{_REF}object"}]}


def _object_keys(class_path: Schema) -> Schema:
    return {"class_path": class_path, "init_args": {"type": "object"}, "dict_kwargs": {"type": "object"}}


def _one_or_more(item: Schema, *types: str) -> Schema:
    return {"anyOf": [{"type": list(types)}, {"type": "array", "items": item}, item]}


def _any_of(schemas: Sequence[Schema]) -> Schema:
    """One of several schemas; those that only name types are joined."""
    if {} in schemas:
        return {}
    options = [option for schema in schemas for option in schema.get("anyOf", [schema])]
    names: list[str] = []
    others: list[Schema] = []
    for option in options:
        if option.keys() != {"type"}:
            others.append(option)
        else:
            names += [option["type"]] if isinstance(option["type"], str) else option["type"]
    unique = list(dict.fromkeys(names))
    joined = ([{"type": unique if len(unique) > 1 else unique[0]}] if unique else []) + others
    return joined[0] if len(joined) == 1 else {"anyOf": joined}


def _public(module: types.ModuleType, kind: type) -> list[type]:
    """The classes of a kind that a module exports, except the kind itself."""
    found = [getattr(module, name) for name in module.__all__]
    return [named for named in found if inspect.isclass(named) and issubclass(named, kind) and named is not kind]


def _path(named: type) -> str:
    return f"{named.__module__}.{named.__name__}"


def _names(shipped: type) -> list[str]:
    """The name of a class, alone and with its modules, as `--print_config` shows it."""
    return [shipped.__name__, _path(shipped)]


# Options whose values are names of classes or models; any other value is a dotted path.


def _named(names: Sequence[str], hint: Any) -> Schema:
    options: list[Schema] = [{"enum": list(names)}, _DOTTED]
    return {"anyOf": [*options, {"type": "null"}] if types.NoneType in get_args(hint) else options}


def _classes_in(module: types.ModuleType, base: type) -> list[str]:
    found = {name: value for name, value in vars(module).items() if inspect.isclass(value) and issubclass(value, base)}
    return sorted(name for name, value in found.items() if value is not base and not name.startswith("_"))


_NAMES: dict[str, Callable[[], Sequence[str]]] = {
    "backbone": list_models,
    "optimizer": lambda: _classes_in(torch.optim, torch.optim.Optimizer),
    "scheduler": lambda: _classes_in(torch.optim.lr_scheduler, torch.optim.lr_scheduler.LRScheduler),
    "loss": lambda: [name for name in _classes_in(torch.nn, torch.nn.Module) if name.endswith("Loss")],
}


# What classes say of their options.


def _parameters(factory: type) -> tuple[dict[str, tuple[inspect.Parameter, Any]], bool]:
    """Returns the parameters of a class with their type hints, and whether it takes others too.

    If it takes ``**kwargs``, those of its base class are included.
    """
    found: dict[str, tuple[inspect.Parameter, Any]] = {}
    for kind in factory.__mro__:
        if "__init__" not in vars(kind) or kind is object:
            continue
        hints = _hints(kind.__init__)  # type: ignore[misc]
        parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]  # type: ignore[misc]
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                found.setdefault(parameter.name, (parameter, hints.get(parameter.name, Any)))
        if all(parameter.kind != parameter.VAR_KEYWORD for parameter in parameters):
            return found, False
    return found, True


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except NameError:  # names that are imported only for type checkers
        return {}


def _default(parameter: inspect.Parameter) -> Schema:
    default = parameter.default
    is_plain = isinstance(default, (str, bool, int, float)) or default is None
    return {"default": default} if is_plain and default is not parameter.empty else {}


def _descriptions(factory: type) -> dict[str, str]:
    """The first sentence that the docstrings of a class and its base classes have for each option."""
    found: dict[str, str] = {}
    for kind in factory.__mro__:
        for text in (kind.__doc__, vars(kind).get("__init__", object).__doc__):
            for parameter in parse(text or "", DocstringStyle.GOOGLE).params:
                description = " ".join((parameter.description or "").replace("``", "`").split())
                first = re.split(r"\.(?= [A-Z`]|$)", description)[0]  # but not "et al. 2016"
                if first:
                    found.setdefault(parameter.arg_name, f"{first}.")
    return found
