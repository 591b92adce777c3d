"""Takes the config of a run out of its checkpoint: only what the command needs, and nothing that could do harm.

A config typed on the command line is the user's own. That of a checkpoint may be anybody's. The classes that it names
are checked as in ``trust.py`` before any is imported, and its paths must not lead to files of others.
"""

import inspect
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
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
from ..data import ImageDataModule
from ..errors import InputError
from ..runs.configs import flatten
from ..runs.readable import UNREADABLE, parse_yaml, read_text
from ..trust import SAFE_PACKAGES

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


def config_of_checkpoint(run: Mapping[str, Any], command: str, checkpoint: Path, typed: Collection[str]) -> str:
    """Returns the config in a checkpoint as YAML, to be parsed while ``names_from_checkpoint`` is active.

    ``validate``, ``test`` and ``predict`` get the options of data and model only.

    Args:
        run: what the checkpoint stores of its run.
        command: the subcommand.
        checkpoint: the checkpoint's file.
        typed: the names of the options that the user typed, which replace those of the config.

    Raises:
        InputError: if the config is not one, or names a class or a path that is not trusted.
    """
    config = _content(run, checkpoint)
    kept = {"seed_everything", "data", "model"}
    if command == "fit":
        kept |= {"checkpoint", "trainer"}
    config = {name: value for name, value in config.items() if name in kept}
    for name in typed:
        if "." not in name and name in ("data", "model"):
            config.pop(name, None)  # another class was typed
    _check_classes(config.get("model"), "model", ())
    _check_classes(config.get("data"), "data", _OF_DATA)
    for group in "checkpoint", "trainer":
        _check_classes(config.get(group), group, _OF_TRAINER)
    if command == "fit":
        _check_optimizer(config.get("model"), typed)
    _check_paths(config, checkpoint, typed)
    return yaml.safe_dump(config, sort_keys=False)


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
    """Returns the names of the parts that a config chooses, for a line that says what is built."""
    return ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in _part_names(yaml.safe_load(config))))


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
    classes = [path for group in ("model", "data", "trainer") for _, path, _ in _classes(config.get(group), group)]
    return [name for name in (*names, *classes) if isinstance(name, str)]


def _content(run: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    try:
        content = parse_yaml(run["config"])
    except UNREADABLE as error:
        raise InputError(f"the config in the checkpoint {str(checkpoint)!r} is not YAML") from error
    if not isinstance(content, dict):
        raise InputError(f"the config in the checkpoint {str(checkpoint)!r} is not a mapping of options")
    return content


def _classes(value: Any, place: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yields each class in a part of a config: its place, its name and its options."""
    if isinstance(value, Mapping):
        if isinstance(path := value.get("class_path"), str):
            options = value.get("init_args")
            yield place, path, dict(options) if isinstance(options, Mapping) else {}
        for name, part in value.items():
            yield from _classes(part, place if name == "init_args" else f"{place}.{name}")
    elif isinstance(value, list):
        for part in value:
            yield from _classes(part, place)


def _check_classes(value: Any, place: str, bases: tuple[type, ...]) -> None:
    for name, path, options in _classes(value, place):
        if "." not in path:
            continue  # a class that has been imported already, which the parser finds among those of the right kind
        found = import_by_path(name, path, bases)
        for option, parameter in inspect.signature(found).parameters.items():
            if isinstance(options.get(option), str | dict | list) and _takes_code(parameter.annotation):
                raise InputError(
                    f"the checkpoint's config gives the function {options[option]!r} as {name}.{option}, which would "
                    "run its code; give your own --config"
                )


def _check_optimizer(model: Any, typed: Collection[str]) -> None:
    """Checks the names of optimizer and schedule now, before the run has a folder; they are built much later."""
    options = flatten({"model": model})
    for name in ("model.optimizer", "model.scheduler"):
        path = options.get(name)
        if name not in typed and isinstance(path, str) and "." in path:
            import_by_path(name, path)


def _takes_code(annotation: Any) -> bool:
    """Whether an argument may be a function or a class: the parser imports these by their names."""
    text = annotation if isinstance(annotation, str) else repr(annotation)
    return any(kind in text for kind in ("Callable", "Type[", "type["))


def _check_paths(config: Mapping[str, Any], checkpoint: Path, typed: Collection[str]) -> None:
    """Checks the paths in a config. Those that the trainer would write to have to be inside the run's own folders."""
    places = [Path.cwd(), *_folders_of_run(checkpoint)]
    downloads = _downloads(config.get("data"))
    for name, value in flatten({group: config[group] for group in config if group != "model"}).items():
        for path in _texts(value):
            is_read = name.startswith("data.") and name != "data.cache_folder"
            reads_only = is_read and (os.path.exists(path) or not downloads)
            if name not in typed and not reads_only and _leads_out(path, places):
                raise InputError(
                    f"the checkpoint's config sets {name} to {path!r}, which is outside of the current folder and the "
                    f"run's; if that is meant, give --{name}"
                )


def _downloads(data: Any) -> bool:
    """Whether a data module creates its folder: it is a data set of this package that is downloaded."""
    path = data.get("class_path") if isinstance(data, Mapping) else None
    found = import_by_path("data", path, _OF_DATA) if isinstance(path, str) and "." in path else None
    return inspect.isclass(found) and getattr(found, "download", None) is not ImageDataModule.download


def _folders_of_run(checkpoint: Path) -> list[Path]:
    """The run's folder and the one with all runs, if the checkpoint is where ``lightning fit`` saves it."""
    folder = checkpoint.resolve().parent.parent
    is_run = checkpoint.resolve().parent.name == "checkpoints" and (folder / "run.json").is_file()
    return [folder, *folder.parents[1:2]] if is_run else []


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)


def _leads_out(path: str, places: list[Path]) -> bool:
    """Whether a text is a path to a place outside of some folders; text without a slash is none."""
    if path.startswith("~") or "://" in path:
        return True
    if "/" not in path and path != "..":
        return False
    try:
        resolved = Path(path).resolve()
    except (OSError, ValueError, RuntimeError):
        return True
    return not any(resolved.is_relative_to(place.resolve()) for place in places)
