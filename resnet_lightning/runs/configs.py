"""Flattens the configs of runs and compares them."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..errors import InputError
from .readable import UNREADABLE, parse_yaml

MISSING = "-"
"""What ``differences`` returns for a config that does not have an option."""


def flatten(config: Any, leave_out: Collection[str] = ()) -> dict[str, Any]:
    """Returns the options of a nested config by their names on the command line, such as ``model.lr``.

    ``data.class_path`` and ``data.init_args.batch_size`` become ``data`` and ``data.batch_size``, as on the command
    line. Lists are single values. Empty mappings are left out.

    Args:
        config: as read from YAML.
        leave_out: names of options to leave out, together with the options below them.
    """
    flat: dict[str, Any] = {}

    def add(name: str, value: Any) -> None:
        if name in leave_out:
            return
        if not isinstance(value, dict):
            flat[name] = value
            return
        for key, part in value.items():
            is_class = key in ("class_path", "init_args")
            add(name if is_class else f"{name}.{key}" if name else str(key), part)

    add("", config)
    return flat


def stored_config(text: str) -> dict[str, Any]:
    """Returns the config in a checkpoint, whose groups are mappings of options.

    Raises:
        InputError: if it is not one.
    """
    try:
        config = parse_yaml(text)
    except UNREADABLE as error:
        raise InputError("the config in the checkpoint is not YAML") from error
    if not isinstance(config, dict):
        raise InputError("the config in the checkpoint is not a mapping of options")
    for name in {"data", "model", "checkpoint", "trainer"} & config.keys():
        options = config[name]
        if isinstance(options, str):
            config[name] = {"class_path": options}
        elif not isinstance(options, dict | None):
            raise InputError(f"the config in the checkpoint gives {options!r} as {name}, and no options")
    return {name: {} if options is None and name != "seed_everything" else options for name, options in config.items()}


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Returns the options that differ between flat configs, each with its value in every config, as text."""
    names = dict.fromkeys(name for config in configs for name in config)
    texts = {name: [as_text(config[name]) if name in config else MISSING for config in configs] for name in names}
    return {name: values for name, values in texts.items() if len(set(values)) > 1}


def as_text(value: Any) -> str:
    """Returns a value as it is written in a config."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
