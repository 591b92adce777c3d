"""Fits the options of an ``ImageClassifier`` in a config to another model class that the command line names."""

import inspect
import json
import logging
from collections.abc import Sequence
from typing import Any

from ..build import option_names
from .chosen_classes import ChosenClasses, config_of

_log = logging.getLogger(__name__)


def with_model_class(arguments: Sequence[str], chosen: ChosenClasses) -> list[str]:
    """Rewrites the configs whose ``model`` has no ``class_path``, although the model's class is named elsewhere.

    If the class takes all options of such a ``model``, they become its ``init_args``. Otherwise they are meant for
    another class, and are left out with a line.

    Args:
        arguments: the command line; configs are paths or YAML.
        chosen: the classes that it chooses.
    """
    if chosen.is_flat:
        return list(arguments)
    rewritten: list[str] = []
    for argument in arguments:
        if argument.startswith("--config="):
            rewritten.append(f"--config={_rewritten(argument.removeprefix('--config='), chosen)}")
        elif rewritten and rewritten[-1] in ("--config", "-c"):
            rewritten.append(_rewritten(argument, chosen))
        else:
            rewritten.append(argument)
    return rewritten


def _rewritten(value: str, chosen: ChosenClasses) -> str:
    config = config_of(value)
    model = config.get("model")
    if not isinstance(model, dict) or not model or "class_path" in model:
        return value
    path = f"{chosen.model.__module__}.{chosen.model.__name__}"
    options: dict[str, Any] = model.get("init_args", model)
    if _takes(chosen, options):
        return _as_text({**config, "model": {"class_path": path, "init_args": options}})
    _log.info("the options of model in %s are not those of %s: left out", _name(value), chosen.model.__name__)
    return _as_text({name: part for name, part in config.items() if name != "model"})


def _as_text(config: dict[str, Any]) -> str:
    # JSON is YAML too, and keeps a string such as "1e-3" a string. The line break tells it from a path.
    return json.dumps(config, indent=1, default=str) + "\n"


def _takes(chosen: ChosenClasses, options: dict[str, Any]) -> bool:
    parameters = inspect.signature(chosen.model).parameters.values()
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return takes_any or options.keys() <= option_names(chosen.model)


def _name(value: str) -> str:
    return value if "\n" not in value else "the checkpoint's config"
