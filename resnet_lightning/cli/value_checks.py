"""Checks of values that are of the right type and out of any sensible range, before a run has a folder."""

import math
from collections.abc import Iterator
from typing import Any

from jsonargparse import Namespace

from ..errors import InputError
from ..training.processes import check_devices
from ..training.trainer import as_list
from ..training.value_ranges import check_callback_options, check_trainer_options

_PATHS_AND_NAMES = (
    *("data.root", "data.predict_folder", "data.cache_folder", "data.group_file", "data.split_file"),
    "trainer.default_root_dir",
    *("checkpoint.dirpath", "checkpoint.filename", "checkpoint.monitor"),
)


def check_values(config: Namespace, training: bool) -> None:
    """Checks the parsed options of a subcommand.

    Args:
        config: the options.
        training: whether the subcommand trains.

    Raises:
        InputError: if a path is empty, or a number is not finite or out of range.
    """
    for option in _PATHS_AND_NAMES:
        group, name = option.split(".")
        values = config.get(group) or Namespace()
        values = values.get("init_args") or values
        if values.get(name) in ("", []):
            raise InputError(f"{option} is empty; give a value, or leave it out")
    groups = {"checkpoint": config.checkpoint, "trainer": config.trainer}
    if "class_path" not in config.model:
        groups["model"] = config.model
    for group, values in groups.items():
        for name, value in _numbers(vars(values), group):
            if math.isnan(value):
                raise InputError(f"{name} is {value}; give a number")
    check_trainer_options(vars(config.trainer), training)
    check_devices(config.trainer.accelerator, config.trainer.devices)
    for callback in as_list(config.trainer.callbacks):
        if isinstance(callback, Namespace) and "init_args" in callback:
            name = callback.class_path.rpartition(".")[2]
            is_own = callback.class_path.partition(".")[0] not in ("lightning", "resnet_lightning")
            options = vars(callback.init_args)
            check_callback_options(name, {"patience": options.get("patience")} if is_own else options)


def _numbers(values: dict[str, Any], place: str) -> Iterator[tuple[str, float]]:
    """Yields the numbers in plain values; objects, which have checks of their own, are left out."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{place}.{name}")
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, float):
                yield f"{place}.{name}", item
