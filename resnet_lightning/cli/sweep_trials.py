"""The trials of a sweep, and the folder in which they are."""

import hashlib
import itertools
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..experiments.drawing import Range, draws
from ..experiments.trials import SEED, Trial, grid, labelled
from ..runs.configs import as_text, flatten
from ..runs.folder import local_folder
from ..runs.reader import Run
from .sweep_values import Space

MANY = 100
"""More runs than these are started only after a question."""

_MOST_CHECKED = 12  # command lines that are parsed before the first run starts; each takes a moment

# Options that change no result, or of which the sweep takes care.
_NOT_COMPARED = {
    *("trainer.default_root_dir", "trainer.logger", "trainer.profiler", "trainer.accelerator", "trainer.plugins"),
    *("trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.log_every_n_steps"),
    *("trainer.num_sanity_val_steps", SEED),
}


def varied_keys(space: Space) -> set[str]:
    """The options that vary, except for the seed."""
    return {*space.axes, *itertools.chain.from_iterable(space.settings)} - {SEED}


def first_values(space: Space) -> list[str]:
    """One value for each option that varies, as options of a command line."""
    axes = {
        key: values.as_option(values.low) if isinstance(values, Range) else values[0]
        for key, values in space.axes.items()
    }
    return Trial("", {**(space.settings[0] if space.settings else {}), **axes}).options()


def check_count(space: Space, sample: int | None) -> int:
    """Returns the number of runs of a sweep.

    Raises:
        InputError: if it varies nothing, or what it varies does not fit the way in which it is drawn.
    """
    if not space.axes and not space.settings:
        raise InputError(
            "there is nothing to vary; give an option several values, such as --model.lr 0.05,0.1, or a file with "
            "--sweep (`wandb sweep` starts those of W&B)"
        )
    ranges = [key for key, values in space.axes.items() if isinstance(values, Range)]
    if SEED in ranges:
        raise InputError(f"--{SEED} is a range; give a list, such as --{SEED} 0,1,2")
    if ranges and sample is None:
        raise InputError(f"--{ranges[0]} is a range; say how many values to draw, such as --sample 20")
    if space.settings and sample is not None:
        raise InputError(
            "--sample draws from lists and ranges of values; this sweep lists its settings, so leave it out"
        )
    lists = {key: values for key, values in space.axes.items() if not isinstance(values, Range)}
    if sample is not None:
        return sample * len(lists.get(SEED, [""]))
    return math.prod(map(len, lists.values())) * max(len(space.settings), 1)


def confirm(count: int, is_confirmed: bool) -> None:
    """Asks whether to start very many runs.

    Raises:
        InputError: if the answer is no, or there is no terminal to ask on.
    """
    if count <= MANY or is_confirmed:
        return
    fix = "give fewer values, --sample N to draw some of them, or --yes to start all"
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError(f"these are {count:,} runs; {fix}")
    try:
        answer = input(f"These are {count:,} runs. Start them? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise InputError(f"no run was started; {fix}")


def settings_of(space: Space, sample: int | None, seed: int) -> Iterator[dict[str, str]]:
    """Yields the settings: all combinations, or as many as are drawn.

    Args:
        space: what varies.
        sample: the number of draws; None for all combinations.
        seed: of the draws.
    """
    axes = {key: values for key, values in space.axes.items() if key != SEED}
    if sample is not None:
        yield from itertools.islice(draws(axes, seed), sample)
        return
    lists = {key: values for key, values in axes.items() if not isinstance(values, Range)}
    for listed in space.settings or [{}]:
        for combination in grid(lists):
            yield {**listed, **combination.overrides}


def seeds_of(space: Space, config: Mapping[str, Any]) -> list[dict[str, str]]:
    """The override of the seed for each repetition: the seeds of the sweep, or that of the config."""
    seeds = space.axes.get(SEED)
    if isinstance(seeds, list):
        return [{SEED: seed} for seed in seeds]
    seed = config.get(SEED)
    return [{SEED: str(seed)}] if isinstance(seed, int) and not isinstance(seed, bool) else [{}]


def trials_of(settings: Sequence[Mapping[str, str]], seeds: Sequence[Mapping[str, str]]) -> list[Trial]:
    """Each setting with each seed; all settings with the first seed come first. Equal ones are left out."""
    trials = (labelled({**setting, **seed}) for seed in seeds for setting in settings)
    return list({trial.label: trial for trial in trials}.values())


def to_check(trials: Sequence[Trial]) -> list[Trial]:
    """A few trials in which each value occurs, as far as there are not too many values."""
    seen: set[tuple[str, str]] = set()
    chosen: list[Trial] = []
    for trial in trials:
        new = set(trial.overrides.items()) - seen
        if new and len(chosen) < _MOST_CHECKED:
            seen |= new
            chosen.append(trial)
    return chosen


# The folder.


def base_config(config: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    """Returns what all runs of a sweep have in common.

    Args:
        config: the flat config of one of them.
        keys: the options that vary. What is below them, such as the arguments of a class, may vary too.
    """
    left_out = [re.sub(r"\.(init_args|class_path)\b|\+$", "", key) for key in keys | _NOT_COMPARED]
    return {
        name: value
        for name, value in config.items()
        if value is not None
        and not any(name == key or name.startswith(f"{key}.") or key.startswith(f"{name}.") for key in left_out)
    }


def sweep_folder(name: str, config: Mapping[str, Any], keys: set[str]) -> Path:
    """Returns the folder of a sweep: a function of its config, its options and the options that vary."""
    base = json.dumps([base_config(config, keys), sorted(keys)], sort_keys=True, default=str)
    code = hashlib.sha256(base.encode()).hexdigest()[:8]
    short = "+".join(sorted(key.rpartition(".")[2] for key in keys))[:40] or "seeds"
    root = local_folder("trainer.default_root_dir", config.get("trainer.default_root_dir") or "runs")
    return root / f"sweep_{name}_{re.sub(r'[^A-Za-z0-9_+-]', '', short)}_{code}"


def check_belongs(folder: Path, runs: Sequence[Run], config: Mapping[str, Any], keys: set[str]) -> None:
    """Checks that the runs in the folder of a sweep differ from it only in the options that vary.

    Args:
        folder: the folder.
        runs: its runs.
        config: the flat config of one run of the sweep.
        keys: the options that vary.

    Raises:
        InputError: naming an option in which a run differs.
    """
    wanted = base_config(config, keys)
    for run in runs:
        if not run.config:
            continue
        found = base_config(flatten(run.config), keys)
        for name in [*wanted, *found]:
            if json.dumps(wanted.get(name), default=str) != json.dumps(found.get(name), default=str):
                raise InputError(
                    f"{str(folder)!r} belongs to another sweep: {name} is {as_text(found.get(name))} there and "
                    f"{as_text(wanted.get(name))} here; choose another --folder"
                )


def check_saves(config: Mapping[str, Any]) -> None:
    """Checks that the runs of a sweep save what it compares.

    Raises:
        InputError: if they do not.
    """
    if config.get("trainer.fast_dev_run"):
        raise InputError("trainer.fast_dev_run (--overlay debug) saves nothing, and a sweep compares what runs save")
    if config.get("trainer.enable_checkpointing") is False:
        raise InputError("trainer.enable_checkpointing is false, and the runs of a sweep resume from checkpoints")
