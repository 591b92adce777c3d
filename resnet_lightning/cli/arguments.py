"""Resolves a command line before it is parsed: finds its overlays, checkpoint, config and run name."""

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from ..build import importable_from
from ..checkpoint_file import read_checkpoint
from ..errors import InputError
from ..runs.folder import local_folder
from ..trust import Trust, names_from_checkpoint
from .added_parts import added_parts
from .augment_option import with_transforms
from .checkpoint_config import config_of_checkpoint, run_name
from .overlays import with_overlays
from .parser import check_config_file
from .predictions import with_checkpoint_option
from .process_options import settle_processes
from .shipped_configs import config_path

FULL_NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")
"""The full name of a class or function, such as ``my_module.Net``."""


@dataclass(frozen=True)
class RunArguments:
    """A resolved command line.

    Attributes:
        arguments: the arguments for the parser. Each overlay and each name of a shipped config is replaced by a path,
            and the config stored in the checkpoint is inserted if the user gave none.
        run_name: the name of the first config file, or the name stored in the checkpoint.
        checkpoint_path: the value of ``--ckpt_path``, or the newest checkpoint in the folder of ``--resume``.
        checkpoint: the content of that file.
        code_folders: the folders that may hold classes of the user's own: those of the configs, and the current folder.
        trust: the rule for the names of classes, if the config is that of the checkpoint.
        stored_config: that config.
    """

    arguments: tuple[str, ...]
    run_name: str = "run"
    checkpoint_path: str | None = None
    checkpoint: dict[str, Any] | None = None
    code_folders: tuple[str, ...] = (".",)
    trust: Trust | None = None
    stored_config: str | None = None

    def starting_from(self, path: str) -> Self:
        """Returns a copy that starts from another checkpoint.

        Raises:
            InputError: if it cannot be read.
        """
        return replace(self, checkpoint_path=path, checkpoint=_read_checkpoint(path))


def resolve(
    arguments: Sequence[str], open_folder: Callable[[Path], Path | None], parent_folder: Path | None = None
) -> RunArguments:
    """Resolves a command line. It only reads files.

    Args:
        arguments: the subcommand and its options, as typed.
        open_folder: reserves the folder of ``--resume`` and returns its newest checkpoint, if there is one. It is not
            called for ``--resume auto``: that folder depends on the parsed config.
        parent_folder: the run folder of the process that started this one; it replaces the folder of ``--resume``.

    Raises:
        InputError: if an overlay, a config or a checkpoint is missing or cannot be read, or if options contradict
            each other.
    """
    if wrong := next((word for word in arguments if re.match(r"-c\w", word)), None):  # argparse reads it as -c onfig
        raise InputError(f"{wrong!r} belongs to no option; did you mean --config?")
    arguments = with_checkpoint_option(arguments)
    typed = option_values("--config", arguments, short="-c")
    arguments = _with_config_paths(arguments)
    configs = option_values("--config", arguments, short="-c")
    has_own_config = bool(configs) and configs[0] == typed[0]  # not the name of a shipped one
    folder = Path(configs[0]).parent if has_own_config else Path("configs")
    arguments = with_transforms(arguments)
    arguments = with_overlays(arguments, folder / "overlays")
    for path in option_values("--config", arguments, short="-c"):
        check_config_file(path)
    settle_processes(arguments[0] if arguments else "", list(given_options(arguments)))
    resume, checkpoints = option_values("--resume", arguments), option_values("--ckpt_path", arguments)
    if "" in resume:
        raise InputError("--resume is empty; give the folder of a run, or auto for the newest run with this config")
    if resume and Path(resume[-1]).is_file():
        of_run = [part for part in Path(resume[-1]).parents if (part / "run.json").is_file()]
        hint = f", such as {shlex.quote(str(of_run[0]))}" if of_run else ""
        raise InputError(f"--resume is {resume[-1]!r}, a file; give the folder of a run{hint}, or auto")
    if resume and checkpoints:
        raise InputError("give either --resume, which continues a run, or --ckpt_path, which starts a new one")
    if resume and parent_folder:
        resume = [str(parent_folder)]
    checkpoint_path = checkpoints[-1] if checkpoints else None
    if resume and resume[-1] != "auto" and (newest := open_folder(local_folder("--resume", resume[-1]))):
        checkpoint_path = str(newest)
    checkpoint = None if checkpoint_path is None else _read_checkpoint(checkpoint_path)
    if configs:
        folders = (*(str(Path(path).parent) for path in configs), ".")
        return RunArguments(tuple(arguments), Path(configs[0]).stem, checkpoint_path, checkpoint, folders)
    if checkpoint is None:
        starts = option_values("--model", arguments) or option_values("--data", arguments)
        if resume and resume[-1] != "auto" and not starts:
            raise InputError(
                f"there is no checkpoint in {resume[-1]!r} to resume from; to start a run, give a --config"
            )
        return RunArguments(tuple(arguments))
    run = checkpoint.get("run")
    if run is None:
        raise InputError(f"{checkpoint_path!r} stores no config; give the one that it was trained with as --config")
    file = Path(checkpoint_path or "")
    options = list(given_options(arguments))
    added = added_parts(options, option_values("--config", arguments, short="-c"))
    trust = Trust(_trusted(arguments), _names_in(arguments))
    with importable_from(RunArguments.code_folders), names_from_checkpoint(trust):
        config = config_of_checkpoint(run, arguments[0], file, {name for name, _ in options}, added)
    name = run_name(run, file)
    arguments = [arguments[0], "--config", config, *arguments[1:]]
    return RunArguments(tuple(arguments), name, checkpoint_path, checkpoint, trust=trust, stored_config=config)


def _trusted(arguments: Sequence[str]) -> list[str]:
    return [name for value in option_values("--trust", arguments) for name in value.split(",") if name]


def _names_in(arguments: Sequence[str]) -> set[str]:
    """Returns the full names of classes, such as ``my_module.Net``, that the user typed or wrote into an overlay."""
    overlays = [Path(path).read_text() for path in option_values("--config", arguments, short="-c")]
    names = {found[0] for text in overlays for found in FULL_NAME.finditer(text)}
    groups = "model", "data", "trainer"
    typed = {value for name, value in given_options(arguments) if name.partition(".")[0].removesuffix("+") in groups}
    return names | {value for value in typed if FULL_NAME.fullmatch(value)}


def _with_config_paths(arguments: Sequence[str]) -> list[str]:
    """Replaces the names of shipped configs with their paths: ``--config digits``."""
    replaced: list[str] = []
    for argument in arguments:
        if argument.startswith("--config="):
            replaced.append(f"--config={config_path(argument.removeprefix('--config='))}")
        elif replaced and replaced[-1] in ("--config", "-c"):
            replaced.append(config_path(argument))
        else:
            replaced.append(argument)
    return replaced


def _read_checkpoint(path: str) -> dict[str, Any]:
    checkpoint: dict[str, Any] = read_checkpoint(path)
    if run := checkpoint.get("run"):
        # The config of an older checkpoint names the callbacks by the package that they were in.
        run["config"] = run["config"].replace("resnet_lightning.callbacks.", "resnet_lightning.training.callbacks.")
    return checkpoint


def option_values(option: str, arguments: Sequence[str], short: str | None = None) -> list[str]:
    """Returns every value that an option has on a command line: ``--option X``, ``--option=X`` or ``-o X``."""
    values: list[str] = []
    for i, argument in enumerate(arguments):
        if argument in (option, short):
            values += arguments[i + 1 : i + 2]
        elif argument.startswith(f"{option}="):
            values.append(argument.removeprefix(f"{option}="))
    return values


def given_options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields names and values of options, without the ``class_path`` and ``init_args`` of the long spelling."""
    for i, argument in enumerate(arguments):
        if not argument.startswith("-"):
            continue
        name, is_joined, value = argument.partition("=")
        if not is_joined:
            value = next(iter(arguments[i + 1 : i + 2]), "")
        parts = [part for part in name.lstrip("-").split(".") if part not in ("class_path", "init_args")]
        yield "config" if name == "-c" else ".".join(parts), value
