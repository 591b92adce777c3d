"""``lightning sweep``: trains with all combinations of some values, and names the best setting."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ..errors import InputError, check_int
from ..experiments.cluster import Submitted
from ..experiments.halving import halve
from ..experiments.launcher import Outcome, command_of, run_trials
from ..experiments.processes import LocalProcesses, Starter, check_jobs
from ..experiments.tpe import run_tpe
from ..experiments.trials import SEED, Trial, parsed
from ..runs.folder import local_folder
from ..runs.reader import find_runs
from ..signals import Signalled
from .console import console
from .sweep_result import print_result
from .sweep_trials import (
    MANY,
    check_belongs,
    check_count,
    check_saves,
    confirm,
    first_values,
    seeds_of,
    settings_of,
    sweep_folder,
    to_check,
    trials_of,
    varied_keys,
)
from .sweep_values import Space, read_space
from .tool_parser import ToolParser
from .trials_display import TrialsDisplay


@dataclass(frozen=True)
class _Sweep:
    """A sweep that is about to run.

    Args:
        space: what it varies, and what its runs share.
        trials: the runs.
        seeds: the override of the seed for each repetition.
        folder: where they are.
        config: the flat config of one of them.
        own: the options of this command.
        command: the command line, as typed.
    """

    space: Space
    trials: list[Trial]
    seeds: list[dict[str, str]]
    folder: Path
    config: dict[str, Any]
    own: argparse.Namespace
    command: str


def command(arguments: list[str]) -> None:
    own, rest = _own_parser().parse_known_args(arguments)
    _check_own(own)
    space = read_space(rest, own.sweep)
    confirm(check_count(space, own.sample), own.yes or own.dry_run)
    from .parsed_config import parsed_config  # imported here, since importing Lightning takes seconds

    name, config = parsed_config([*space.options, *first_values(space)])
    check_saves(config)
    keys = varied_keys(space)
    folder = local_folder("--folder", own.folder) if own.folder else sweep_folder(name, config, keys)
    runs = find_runs(folder)
    check_belongs(folder, runs, config, keys)
    seeds = seeds_of(space, config)
    # Those of tpe depend on results; these have values of all lists and ranges, to be checked.
    trials = trials_of(list(settings_of(space, own.sample, own.sampler_seed)), seeds)
    if own.dry_run:
        for trial in trials:
            print(shlex.join(["lightning", *command_of(space.options, trial, folder)]))
        return
    if len([run for run in runs if run.is_complete]) < len(trials):
        for trial in to_check(trials):
            parsed_config([*space.options, *trial.options()])
    typed = shlex.join(["lightning", "sweep", *arguments])
    _run(_Sweep(space, trials, seeds, folder, config, own, typed))


def _check_own(own: argparse.Namespace) -> None:
    if own.launcher is None:
        check_jobs(own.jobs)
    for name, least in (("jobs", 1), ("sample", 1), ("halving", 2)):
        if getattr(own, name) is not None:
            check_int(f"--{name}", getattr(own, name), least)
    if own.sampler and own.sample is None:
        raise InputError(f"--sampler is {own.sampler}; say how many settings to draw, such as --sample 20")
    if own.sampler == "tpe" and own.halving:
        raise InputError("--sampler tpe draws settings one after the other, and --halving compares all; leave one out")
    if own.sampler == "tpe" and own.dry_run:
        raise InputError("--sampler tpe draws settings by results, which a --dry_run does not have; leave one out")
    if not isinstance(parsed(own.launcher_args), dict):
        raise InputError(f"--launcher_args is {own.launcher_args!r}; give a mapping such as '{{timeout_min: 60}}'")


def _own_parser() -> argparse.ArgumentParser:
    parser = ToolParser(
        prog="resnet-lightning sweep",
        usage="lightning sweep --config CONFIG --OPTION VALUE,VALUE,... [options]",
        description="Trains once for each combination of the values, and prints mean and deviation of each setting, "
        "the best by validation first. The same command continues a sweep that was interrupted; with more values or "
        "seeds, it adds to it.",
        epilog="All other options are those of `lightning fit`, each with one value or several, separated by commas; "
        "commas inside brackets and quotes separate nothing. Ranges, for --sample: 1..5, 0.0..0.2, log:0.001..1.0.",
        allow_abbrev=False,
    )
    parser.add_argument("--sweep", metavar="FILE", help="read options and values from a file, or from a shipped sweep")
    parser.add_argument("--sample", type=int, metavar="N", help="draw N settings at random; each runs with every seed")
    parser.add_argument(
        "--sampler",
        choices=("random", "tpe"),
        help="how --sample draws; tpe needs the extra `optuna` (default: random)",
    )
    parser.add_argument("--sampler_seed", type=int, default=0, metavar="N", help="the seed of the draws (default: 0)")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="how many runs train side by side (default: 1)"
    )
    parser.add_argument(
        "--halving",
        type=int,
        nargs="?",
        const=3,
        metavar="N",
        help="successive halving: of N settings, one goes on to train N times as long (default: 3)",
    )
    parser.add_argument("--launcher", choices=("slurm",), help="submit a job array; needs the extra `submitit`")
    parser.add_argument(
        "--launcher_args",
        default="{}",
        metavar="MAPPING",
        help="of submitit, as '{slurm_partition: gpu, timeout_min: 60}'",
    )
    parser.add_argument("--sort", metavar="METRIC", help="sort the table by this metric, such as test/acc")
    parser.add_argument("--folder", help="the folder of the sweep (default: runs/sweep_..., by config and options)")
    parser.add_argument("--dry_run", action="store_true", help="only print the command lines of the runs")
    parser.add_argument("--yes", action="store_true", help=f"start more than {MANY} runs without asking")
    return parser


def _run(sweep: _Sweep) -> None:
    out = console()
    try:
        outcomes = _outcomes(sweep, _starter(sweep), out)
    except (Signalled, KeyboardInterrupt):
        print_interrupted(sweep.command)
        raise
    print_result(out, outcomes, sweep.folder, sweep.own.sort)


def _starter(sweep: _Sweep) -> Starter:
    devices = sweep.config.get("trainer.devices")
    count = devices if isinstance(devices, int) and devices > 0 else None if isinstance(devices, list) else 1
    # W&B shows the runs as a group.
    group = {} if "WANDB_RUN_GROUP" in os.environ else {"WANDB_RUN_GROUP": sweep.folder.name}
    if sweep.own.launcher == "slurm":
        return Submitted(sweep.folder / ".submitit", parsed(sweep.own.launcher_args), sweep.own.jobs, group)
    return LocalProcesses(sweep.own.jobs, count, group)


def _outcomes(sweep: _Sweep, starter: Starter, out: Console) -> Sequence[Outcome]:
    def run(trials: Sequence[Trial], epochs: int | None = None) -> Sequence[Outcome]:
        if epochs is not None:
            out.print(f"{len(trials)} runs train for {epochs} epochs", highlight=False)
        with TrialsDisplay(out, sweep.folder, len(trials), sweep.own.jobs) as display:
            return run_trials(
                sweep.space.options,
                trials,
                sweep.folder,
                starter=starter,
                epochs=epochs,
                show=display.ended,
                watch=display.update,
            )

    own = sweep.own
    if own.halving:
        length = sweep.config.get("trainer.max_epochs")
        if "trainer.max_epochs" in sweep.space.axes:
            raise InputError("--halving compares runs of one length; give one trainer.max_epochs")
        if not isinstance(length, int) or length < 2:
            raise InputError(f"--halving needs trainer.max_epochs of at least 2; it is {length}")
        return halve(run, sweep.trials, length, own.halving)
    if own.sampler == "tpe":
        axes = {key: values for key, values in sweep.space.axes.items() if key != SEED}
        return run_tpe(run, axes, sweep.seeds, sweep.folder, own.sample, own.jobs, own.sampler_seed)
    return run(sweep.trials)


def print_interrupted(typed: str) -> None:
    """Prints how to continue an experiment that a signal ended."""
    print(f"The runs have saved their checkpoints. To continue: {typed}", file=sys.stderr)
