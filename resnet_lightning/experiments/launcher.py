"""Runs the trials of an experiment, each as one ``lightning fit`` in a process of its own, and reads back its run."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..errors import InputError
from ..runs.comparison import settings
from ..runs.configs import as_text
from ..runs.readable import UNREADABLE, read_text
from ..runs.reader import Run, find_runs
from .trials import Trial, canonical

LOG = "output.log"
"""The file in the folder of a trial with everything that its processes printed."""


@dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    Args:
        trial: the trial.
        run: its finished run; None if there is none.
        reason: why there is none, such as the error of the run; empty if there is one.
    """

    trial: Trial
    run: Run | None
    reason: str = ""


def run_trials(
    options: Sequence[str],
    trials: Sequence[Trial],
    folder: Path,
    *,
    jobs: int = 1,
    show: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Runs ``lightning fit`` once for each trial and returns the outcomes, in the order of the trials.

    The runs of a trial are in ``folder/<trial>/<config>/<time>``. A trial with a finished run is read back and not run
    again; an interrupted one is resumed; after one that fails, the others go on.

    Args:
        options: the command line after ``lightning fit`` that all trials share.
        trials: the trials; their labels differ.
        folder: the folder of the experiment. It is created if it is missing.
        jobs: how many processes run at a time.
        show: is called with each outcome when it is known.

    Raises:
        InputError: if the folder cannot be written to, or two trials have one label.
    """
    labels = [trial.label for trial in trials]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise InputError(f"two trials are labelled {twice!r}; give each its own label")
    outcomes: list[Outcome] = []
    for trial in trials:
        outcome = read_outcome(trial, folder)
        if outcome.run is None:
            code = _run(options, trial, folder)
            outcome = read_outcome(trial, folder, code)
        outcomes.append(outcome)
        show(outcome)
    return outcomes


def command_of(options: Sequence[str], trial: Trial, folder: Path) -> list[str]:
    """Returns the command line after ``lightning`` that starts or continues the run of a trial."""
    root = f"--trainer.default_root_dir={folder / trial.folder_name}"
    return ["fit", *options, *trial.options(), root, "--resume=auto"]


def runs_of(trial: Trial, folder: Path) -> list[Run]:
    """Returns the runs of a trial, the newest first; runs with other overrides are left out."""
    return [run for run in find_runs(folder / trial.folder_name) if has_overrides(run, trial.overrides)]


def has_overrides(run: Run, overrides: Mapping[str, str]) -> bool:
    """Whether the config of a run has the values of these overrides, where it has their keys."""
    flat = settings(run)
    return all(
        canonical(as_text(flat[key])) == canonical(value) for key, value in overrides.items() if _is_plain(flat, key)
    )


def _is_plain(flat: Mapping[str, Any], key: str) -> bool:
    """Whether an option has one value in a flat config, and is not an object with options of its own."""
    return key in flat and not any(other.startswith(f"{key}.") for other in flat)


def read_outcome(trial: Trial, folder: Path, code: int | None = None) -> Outcome:
    """Returns the outcome of a trial, from what is in its folder.

    Args:
        trial: the trial.
        folder: the folder of the experiment.
        code: the exit code of its process; None if it was not started.
    """
    runs = runs_of(trial, folder)
    finished = next((run for run in runs if run.is_complete), None)
    if finished:
        return Outcome(trial, finished)
    if code is None and not runs:
        return Outcome(trial, None, "not started")
    reason = (runs[0].record.get("reason") if runs else None) or last_error(folder / trial.folder_name / LOG)
    return Outcome(trial, None, reason or f"it ended with exit code {code}")


def last_error(log: Path) -> str:
    """Returns the last error in the output of a run, or its last line."""
    try:
        lines = [line.strip() for line in read_text(log).splitlines() if line.strip()]
    except UNREADABLE:
        return ""
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return errors[-1] if errors else next(iter(lines[::-1]), "")


def _run(options: Sequence[str], trial: Trial, folder: Path) -> int:
    """Runs a trial and returns its exit code."""
    process = start(command_of(options, trial, folder), folder / trial.folder_name / LOG)
    try:
        return process.wait()
    except BaseException:
        process.terminate()  # it saves a checkpoint
        process.wait()
        raise


def start(arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Starts a command of the program in a process of its own.

    Args:
        arguments: the command line after ``lightning``.
        log: the file for what it prints.
        environment: further variables.

    Raises:
        InputError: if the log cannot be written.
    """
    with _opened(log) as output:
        return subprocess.Popen(
            [sys.executable, "-m", "resnet_lightning", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )


def _opened(log: Path) -> IO[bytes]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("wb")
    except OSError as error:
        raise InputError(f"cannot write to the folder {str(log.parent)!r}: {error.strerror}") from error
