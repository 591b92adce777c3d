"""Reads how many processes a command line asks for, before it is parsed: only the first one reserves the folder."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..checkpoint_file import read_checkpoint
from ..errors import InputError
from ..runs.readable import UNREADABLE, parse_yaml, read_text
from ..runs.subprocesses import folder_of_parent, settle_rank
from ..training.processes import check_started_processes, has_starter, number_of_devices, number_of_nodes

# Variables that give a process a rank, or other processes.
_RANKS = "RANK LOCAL_RANK NODE_RANK GROUP_RANK WORLD_SIZE SLURM_PROCID SLURM_NTASKS JSM_NAMESPACE_RANK".split()


def settle_processes(command: str, options: Sequence[tuple[str, str]]) -> None:
    """Decides whether this process is one of several of a run, or a run of its own.

    Args:
        command: the subcommand.
        options: names and values of the options, with the paths of configs, in the order of the command line.

    Raises:
        InputError: if the number of processes that were started is not the one that the options ask for.
    """
    if folder_of_parent() is not None or not any(name in os.environ for name in _RANKS):
        return
    trainer: dict[str, Any] = {}
    for source in _sources(command, options):
        trainer.update(source)
    devices = number_of_devices(trainer.get("accelerator", "auto"), trainer.get("devices", "auto"))
    nodes = number_of_nodes(trainer.get("num_nodes", 1))
    check_started_processes(devices * nodes)
    settle_rank(devices, nodes, has_starter(devices * nodes))


def _sources(command: str, options: Sequence[tuple[str, str]]) -> Iterator[Mapping[str, Any]]:
    """Yields the options of the trainer, of each place where they may be given; later ones win."""
    given = dict(options)
    if "config" not in given and command == "fit":
        yield _trainer_of(_config_of_run(given))
    for name in "accelerator", "devices", "num_nodes":
        if value := os.environ.get(f"PL_{command}__TRAINER__{name}".upper()):
            yield {name: _parsed(value)}
    for name, value in options:
        if name == "config":
            yield _trainer_of(value if "\n" in value else _text(Path(value)))
        elif name == "trainer":
            yield _trainer_of(f"trainer: {value}")
        elif name.startswith("trainer."):
            yield {name.removeprefix("trainer."): _parsed(value)}


def _config_of_run(given: Mapping[str, str]) -> str:
    """Returns the config of the run or checkpoint that a command line without a config continues."""
    if resume := given.get("resume"):
        return _text(Path(resume).expanduser() / "config.yaml")
    try:
        return str(read_checkpoint(given["ckpt_path"])["run"]["config"])
    except (InputError, LookupError, TypeError):  # the error is raised where the checkpoint is used
        return ""


def _text(file: Path) -> str:
    try:
        return read_text(file)
    except UNREADABLE:
        return ""


def _trainer_of(config: str) -> Mapping[str, Any]:
    try:
        content = parse_yaml(config)
        trainer = content.get("trainer") if isinstance(content, dict) else None
    except UNREADABLE:
        return {}
    return trainer if isinstance(trainer, dict) else {}


def _parsed(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
