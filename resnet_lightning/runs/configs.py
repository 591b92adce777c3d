"""Flattens the configs of runs and compares them."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

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


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Returns the options that differ between flat configs, each with its value in every config, as text."""
    names = dict.fromkeys(name for config in configs for name in config)
    texts = {name: [as_text(config[name]) if name in config else MISSING for config in configs] for name in names}
    return {name: values for name, values in texts.items() if len(set(values)) > 1}


def as_text(value: Any) -> str:
    """Returns a value as it is written in a config."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
