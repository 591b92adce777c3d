"""Takes the config of a run out of its checkpoint: only what the command needs, and nothing that could do harm.

A config typed on the command line is the user's own. That of a checkpoint may be anybody's. The classes that it names
are checked as in ``trust.py`` before any is imported, and its paths must not lead out of the run's folder.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from lightning import Callback, LightningDataModule
from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import LayerSync, Precision
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy

from ..build import import_by_path
from ..errors import InputError
from ..runs.configs import flatten
from ..runs.readable import UNREADABLE, parse_yaml, read_text
from ..runs.stored_names import check_names, texts
from ..trust import SAFE_PACKAGES
from .added_parts import class_names
from .checkpoint_paths import check_paths

_OF_DATA = (LightningDataModule,)
_OF_TRAINER = (
    Callback,
    Logger,
    Profiler,
    Strategy,
    Accelerator,
    Precision,
    CheckpointIO,
    ClusterEnvironment,
    LayerSync,
)


def config_of_checkpoint(
    run: Mapping[str, Any],
    command: str,
    checkpoint: Path,
    typed: Collection[str],
    added: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> str:
    """Returns the config in a checkpoint as YAML, to be parsed while ``names_from_checkpoint`` is active.

    ``validate``, ``test`` and ``predict`` get the options of data and model only.

    Args:
        run: what the checkpoint stores of its run.
        command: the subcommand.
        checkpoint: the checkpoint's file.
        typed: the names of the options that the user typed, which replace those of the config.
        added: the names of the classes that the command adds to lists of callbacks or loggers, by option. They replace
            those of the config, since the command may be the one that started the run.

    Raises:
        InputError: if the config is not one, or names a class or a path that is not trusted.
    """
    config = _content(run, checkpoint)
    kept = ["seed_everything", "data", "model"] + (["checkpoint", "trainer"] if command == "fit" else [])
    config = {name: config[name] for name in kept if name in config}
    for name, options in config.items():
        if name != "seed_everything" and not isinstance(options, dict | None):
            raise InputError(
                f"the config in the checkpoint {str(checkpoint)!r} gives {options!r} as {name}, and no options; give "
                "your own --config"
            )
    for name in typed:
        _remove(config, name)
    for name, classes in added.items():
        _remove_parts(config, name, classes)
    _check_no_files(config)
    _check_classes(config.get("model"), "model", ())
    check_names("model", _built(config.get("model"), command))
    _check_classes(config.get("data"), "data", _OF_DATA)
    check_names("data", config.get("data"), _OF_DATA)
    for group in "checkpoint", "trainer":
        _check_classes(config.get(group), group, _OF_TRAINER)
        check_names(group, config.get(group), _OF_TRAINER)
    check_paths(config, checkpoint)
    return yaml.safe_dump(config, sort_keys=False)


def _remove(config: dict[str, Any], option: str) -> None:
    """Removes an option that was typed, and so replaces that of the config; an option with a + adds to it."""
    if option in ("data", "model"):
        config.pop(option, None)  # another class was typed
    *groups, name = option.split(".")
    places: list[Any] = [config]
    for group in groups:
        places = [place.get(group) for place in places if isinstance(place, dict)]
        places += [place.get("init_args") for place in places if isinstance(place, dict)]
    for place in places if groups else []:
        if isinstance(place, dict):
            place.pop(name, None)


def _remove_parts(config: dict[str, Any], option: str, classes: Collection[str]) -> None:
    """Removes the parts of these classes from an option that is a list of callbacks or loggers."""
    group, _, name = option.partition(".")
    options = config.get(group)
    parts = options.get(name) if isinstance(options, dict) else None
    if isinstance(options, dict) and isinstance(parts, list):
        options[name] = [part for part in parts if class_names(part).isdisjoint(classes)] or None


def _built(model: Any, command: str) -> Any:
    """Returns the options of a model that are used: an evaluation builds neither optimizer nor schedule."""
    if command == "fit" or not isinstance(model, Mapping):
        return model
    unused = "optimizer", "scheduler"
    return {
        name: _built(part, command) if name == "init_args" else part
        for name, part in model.items()
        if name not in unused
    }


def _check_no_files(config: Mapping[str, Any]) -> None:
    """Checks that no option is a file of further options, which the parser would read without a check."""
    for name, text in texts("", config):
        if _holds_options(text):
            raise InputError(
                f"the checkpoint's config gives the file {text!r} as {name.lstrip('.')}, which holds options of its "
                "own; give your own --config"
            )


def _holds_options(text: str) -> bool:
    try:
        return Path(text).is_file() and isinstance(parse_yaml(read_text(Path(text))), dict | list)
    except UNREADABLE:
        return False


def run_name(run: Mapping[str, Any], checkpoint: Path) -> str:
    """Returns the name of a checkpoint's run, which is also the name of a folder.

    Raises:
        InputError: if it could be the path of another folder.
    """
    name = run.get("name")
    if not isinstance(name, str) or not name.isprintable() or name in ("", ".", "..") or {"/", "\\"} & set(name):
        raise InputError(f"the checkpoint {str(checkpoint)!r} calls its run {name!r}, which is no name of a folder")
    return name


def named_parts(config: str) -> str:
    """Returns the names of the parts that a config chooses, for a line that says what is built; empty if none."""
    return ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in _part_names(yaml.safe_load(config) or {})))


def trust_option(folder: Path) -> str:
    """Returns the option that commands on a run's checkpoints need, such as `` --trust my_net``; empty if none.

    It lists the packages that the run's config names, beside those of which a checkpoint may name classes anyway.
    """
    try:
        names = _part_names(parse_yaml(read_text(folder / "config.yaml")))
    except UNREADABLE:
        return ""
    packages = {name.partition(".")[0] for name in names if "." in name} - {*SAFE_PACKAGES}
    return f" --trust {','.join(sorted(packages))}" if packages else ""


def _part_names(config: Mapping[str, Any]) -> list[str]:
    """Returns the names of models, losses, optimizers, data modules, callbacks and so on in a config."""
    flat = flatten({group: config.get(group) for group in ("model", "data")})
    parts = ("model.backbone", "model.loss", "model.optimizer", "model.scheduler", "data.augment.transform")
    names = [value for name, value in flat.items() if name in parts or name.startswith("model.metrics.")]
    classes = [path for group in ("model", "data", "trainer") for _, path in _classes(config.get(group), group)]
    return [name for name in (*names, *classes) if isinstance(name, str)]


def _content(run: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    try:
        content = parse_yaml(run["config"])
    except UNREADABLE as error:
        raise InputError(f"the config in the checkpoint {str(checkpoint)!r} is not YAML") from error
    if not isinstance(content, dict):
        raise InputError(f"the config in the checkpoint {str(checkpoint)!r} is not a mapping of options")
    return content


def _classes(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yields the place and the name of each class in a part of a config."""
    if isinstance(value, Mapping):
        if isinstance(path := value.get("class_path"), str):
            yield place, path
        for name, part in value.items():
            yield from _classes(part, place if name == "init_args" else f"{place}.{name}")
    elif isinstance(value, list):
        for part in value:
            yield from _classes(part, place)


def _check_classes(value: Any, place: str, bases: tuple[type, ...]) -> None:
    for name, path in _classes(value, place):
        if "." in path:  # without, it has been imported already: the parser finds it among those of the right kind
            import_by_path(name, path, bases)
