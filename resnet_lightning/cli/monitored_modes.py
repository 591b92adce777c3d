"""Sets the ``mode`` of everything that monitors a metric, unless it was typed together with the metric."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from ..errors import InputError
from ..training.monitors import best_mode, in_words, likely_mode
from ..training.trainer import as_list

# In `_Typed`, the place of the options on the command line.
_COMMAND_LINE = -1


@dataclass(frozen=True)
class _Typed:
    """The options of one callback, or of ``checkpoint``, that one config or the command line contains.

    Args:
        place: which config, counted from 0 in the order of the command line.
        values: ``monitor`` and ``mode``, as far as they are given.
        name: the callback's class; empty if the options do not name it.
    """

    place: int
    values: Mapping[str, Any]
    name: str = ""


def settle_modes(options: Namespace, arguments: Sequence[str]) -> list[str]:
    """Sets ``mode`` of the best checkpoint and of callbacks in place, by the metric that each monitors.

    A mode that was typed before the metric belonged to another one, and a default to none. Of a metric whose direction
    is unknown, a typed mode stands; without one, the metric's name decides (``val_loss``), or else the mode stays.

    Args:
        options: the parsed options of the subcommand.
        arguments: the command line that they were parsed from.

    Returns:
        A line for each mode that stays although it was not typed together with the metric.

    Raises:
        InputError: if a mode was typed that contradicts its metric.
    """
    sources = list(_sources(arguments))
    model = options.model.get("init_args") or options.model
    metrics = model.get("metrics") or {}
    typed = [_Typed(place, values) for place, source in sources for values in [_mapping(source.get("checkpoint"))]]
    lines = _settle("checkpoint", options.checkpoint, metrics, typed)
    _check_plateau(model, metrics)
    typed = [item for place, source in sources for item in _callbacks(place, source)]
    for callback in as_list(options.trainer.callbacks):
        arguments_of = callback.get("init_args") or Namespace()
        if arguments_of.get("monitor") and "mode" in arguments_of:
            name = callback.class_path.rpartition(".")[2]
            of_it = [item for item in typed if item.name in ("", name)]
            lines += _settle(name, arguments_of, metrics, of_it)
    return lines


def _settle(name: str, options: Namespace, metrics: Mapping[str, Any], typed: Sequence[_Typed]) -> list[str]:
    monitor, mode = options.monitor, options.mode
    if monitor is None:
        return []
    best = best_mode(monitor, metrics)
    is_typed = _was_typed_for(monitor, mode, typed)
    if best is None:
        if is_typed or not any("monitor" in item.values for item in typed):
            return []
        if likely := likely_mode(monitor):
            options.mode = likely
            return []
        return [f"{name}.mode is {mode}: whether {monitor} is better when it is larger is unknown; give it to be sure"]
    if best != mode and is_typed:
        raise InputError(
            f"{name}.mode is {mode}, but {monitor} is better when it is {in_words(best)}; give {best}, or leave it out"
        )
    options.mode = best
    return []


def _was_typed_for(monitor: str, mode: str, typed: Sequence[_Typed]) -> bool:
    """Whether a mode was given in the same place as its metric, or later."""
    monitors = [i for i, item in enumerate(typed) if item.values.get("monitor") == monitor]
    modes = [i for i, item in enumerate(typed) if item.values.get("mode") == mode]
    if not modes:
        return False
    return not monitors or any(typed[i].place == typed[monitors[-1]].place or i > monitors[-1] for i in modes)


def _check_plateau(model: Namespace, metrics: Mapping[str, Any]) -> None:
    given = model.get("scheduler_args") or {}
    is_plateau = str(model.get("scheduler")).rpartition(".")[2] == "ReduceLROnPlateau"
    monitor = given.get("monitor", "val/loss")
    best = best_mode(monitor, metrics)
    if is_plateau and best and given.get("mode", best) != best:
        raise InputError(
            f"model.scheduler_args.mode is {given['mode']}, but ReduceLROnPlateau monitors {monitor}, which is better "
            f"when it is {in_words(best)}; leave mode out"
        )


# What was typed, and where.


def _sources(arguments: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the configs of a command line, each with its place, and at last the options on the command line itself."""
    place = 0
    options: dict[str, Any] = {"checkpoint": {}, "trainer": {"callbacks": []}}
    callbacks = options["trainer"]["callbacks"]
    for name, value in _pairs(arguments):
        if name in ("--config", "-c"):
            # The config that a checkpoint contains is complete: it does not show what was typed.
            if "\n" not in value:
                yield place, _read(Path(value))
                place += 1
        elif name.startswith("--checkpoint."):
            options["checkpoint"][name.removeprefix("--checkpoint.")] = value
        elif name == "--checkpoint":
            options["checkpoint"].update(_mapping(_parsed(value)))
        elif name.rstrip("+") == "--trainer.callbacks":
            callbacks += [_item(entry) for entry in as_list(_parsed(value))]
        elif name.startswith("--trainer.callbacks."):  # of the last callback
            callbacks.append({"init_args": {name.rpartition(".")[2]: value}})
    yield _COMMAND_LINE, options


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    for number, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if argument.startswith("-"):
            yield name, value if equals else next(iter(arguments[number + 1 : number + 2]), "")


def _callbacks(place: int, source: Mapping[str, Any]) -> Iterator[_Typed]:
    """Yields the typed options of the callbacks in a config, or on the command line."""
    trainer = _mapping(source.get("trainer"))
    entries = [*as_list(trainer.get("callbacks")), *as_list(trainer.get("callbacks+"))]
    for number, entry in enumerate(map(_item, entries)):
        own_place = place if place == _COMMAND_LINE else place * 1000 + number  # each callback has a place of its own
        name = str(entry.get("class_path", "")).rpartition(".")[2]
        yield _Typed(own_place, _mapping(entry.get("init_args")), name)


def _item(entry: Any) -> dict[str, Any]:
    return {"class_path": entry} if isinstance(entry, str) else _mapping(entry)


def _mapping(value: Any) -> dict[str, Any]:
    """Returns the options of a group, which may also be in a file of their own."""
    if isinstance(value, str) and Path(value).is_file():
        return _read(Path(value))
    return value if isinstance(value, dict) else {}


def _read(path: Path) -> dict[str, Any]:
    return _mapping(_parsed(path.read_text())) if path.is_file() else {}


def _parsed(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:  # jsonargparse has accepted it
        return text
