"""Runs the trials of an experiment, each as one ``lightning fit`` in a process of its own, and reads back its run."""

import contextlib
import dataclasses
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..runs.comparison import settings
from ..runs.configs import flatten
from ..runs.lock import Lock, can_lock
from ..runs.reader import Run, find_runs
from .processes import Job, LocalProcesses, Starter, last_error
from .trials import Trial, parsed

LOG = "output.log"
"""The file in the folder of a trial with everything that its last process printed."""

_POLL_SECONDS = 0.1
_WATCH_SECONDS = 1.0

# How the reasons of runs begin that fail in the same way each time.
_FINAL_REASONS = "the loss is", "the weights"


@dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    Args:
        trial: the trial.
        run: its finished run; None if there is none.
        reason: why there is none, such as the error of the run; empty if there is one.
        is_old: whether it was known before anything was started.
    """

    trial: Trial
    run: Run | None
    reason: str = ""
    is_old: bool = False


@dataclass
class Status:
    """The state of a trial while an experiment runs.

    Args:
        trial: the trial.
        outcome: its outcome; None until it is known.
        job: its process, while there is one.
        slot: the place of the process among those that run at a time.
        started: when the process was started, in seconds of ``time.monotonic``; None if it was not.
    """

    trial: Trial
    outcome: Outcome | None = None
    job: Job | None = None
    slot: int = 0
    started: float | None = None


def run_trials(
    options: Sequence[str],
    trials: Sequence[Trial],
    folder: Path,
    *,
    jobs: int = 1,
    starter: Starter | None = None,
    epochs: int | None = None,
    stop_at_failure: bool = False,
    show: Callable[[Outcome], None] = lambda outcome: None,
    watch: Callable[[Sequence[Status]], None] = lambda statuses: None,
) -> list[Outcome]:
    """Runs ``lightning fit`` once for each trial and returns the outcomes, in the order of the trials.

    The runs of a trial are in ``folder/<trial>/<config>/<time>``. A trial with a finished run is read back and not run
    again, nor is one whose loss became NaN or infinite; an interrupted one is resumed; after one that fails, the
    others go on. If this process is interrupted, it ends the runs first, which then save a checkpoint.

    Args:
        options: the command line after ``lightning fit`` that all trials share.
        trials: the trials; their labels differ.
        folder: the folder of the experiment. It is created if it is missing.
        jobs: how many runs train at a time.
        starter: where the runs are started; by default as ``jobs`` processes on this machine.
        epochs: stop the runs after so many epochs; they can be resumed later. The ``run`` of an outcome is then one
            that has trained so long.
        stop_at_failure: start no further trial after one has failed; those are not in the result.
        show: is called with each outcome when it is known.
        watch: is called about once a second with the states of all trials.

    Raises:
        InputError: if the folder cannot be written to or another process runs an experiment in it, or if two trials
            have one label.
    """
    labels = [trial.label for trial in trials]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise InputError(f"two trials are labelled {twice!r}; give each its own label")
    place = _Place(options, folder, epochs)
    statuses = [Status(trial) for trial in trials]
    for status in statuses:
        outcome = place.outcome_of(status.trial)
        if outcome.run or outcome.reason.startswith(_FINAL_REASONS):
            status.outcome = dataclasses.replace(outcome, is_old=True)
            show(status.outcome)
    lock = Lock.of_a_run(folder) if any(status.outcome is None for status in statuses) else None
    try:
        _Loop(statuses, starter or LocalProcesses(jobs), place, stop_at_failure, show, watch).run()
    except BaseException:
        _end_all([status.job for status in statuses if status.job is not None])
        raise
    finally:
        if lock:
            lock.release()
    return [status.outcome for status in statuses if status.outcome is not None]


@dataclass(frozen=True)
class _Place:
    """The folder of an experiment, and what its runs have in common."""

    options: Sequence[str]
    folder: Path
    epochs: int | None = None

    def command_of(self, trial: Trial) -> list[str]:
        stop = [] if self.epochs is None else [f"--stop_after={self.epochs}"]
        return [*command_of(self.options, trial, self.folder), *stop]

    def outcome_of(self, trial: Trial, code: int | None = None) -> Outcome:
        return read_outcome(trial, self.folder, code, self.epochs)

    def is_busy(self, trial: Trial) -> bool:
        """Whether a process writes to a run of the trial, such as one that a killed sweep has left to save and end."""
        locks = (self.folder / trial.folder_name).glob("*/*/.lock")
        return not all(can_lock(lock.parent) for lock in locks)


@dataclass
class _Loop:
    """Starts the trials that have no outcome, as places become free, until all have ended."""

    statuses: Sequence[Status]
    starter: Starter
    place: _Place
    stop_at_failure: bool
    show: Callable[[Outcome], None]
    watch: Callable[[Sequence[Status]], None]
    _watched: float = field(default=0.0, init=False)

    def run(self) -> None:
        while True:
            active = [status for status in self.statuses if status.job is not None]
            waiting = [status for status in self.statuses if status.job is None and status.outcome is None]
            if self.stop_at_failure and any(s.outcome and s.outcome.run is None for s in self.statuses):
                waiting = []
            if not active and not waiting:
                self.watch(self.statuses)
                return
            self._start(waiting, active)
            self._collect(active)
            if time.monotonic() - self._watched > _WATCH_SECONDS:
                self._watched = time.monotonic()
                self.watch(self.statuses)
            time.sleep(_POLL_SECONDS)

    def _start(self, waiting: Sequence[Status], active: Sequence[Status]) -> None:
        free: list[int] = list(range(len(waiting)))
        if self.starter.slots is not None:
            taken = {status.slot for status in active}
            free = [slot for slot in range(self.starter.slots) if slot not in taken]
        if not free:
            return
        ready = [status for status in waiting if not self.place.is_busy(status.trial)][: len(free)]
        if not ready:
            return
        commands = [self.place.command_of(status.trial) for status in ready]
        logs = [self.place.folder / status.trial.folder_name / LOG for status in ready]
        slots = free[: len(ready)]
        jobs = self.starter.start(commands, logs, slots)
        for status, slot, job in zip(ready, slots, jobs, strict=True):
            status.job, status.slot, status.started = job, slot, time.monotonic()

    def _collect(self, active: Sequence[Status]) -> None:
        for status in active:
            code = status.job.poll() if status.job is not None else None
            if code is not None:
                status.job = None
                status.outcome = self.place.outcome_of(status.trial, code)
                self.show(status.outcome)


def _end_all(jobs: Sequence[Job]) -> None:
    """Ends processes and waits until they have saved. A further Ctrl-C in the meantime ends them at once."""
    try:
        for job in jobs:
            with contextlib.suppress(OSError):
                job.terminate()
        while any(job.poll() is None for job in jobs):
            time.sleep(_POLL_SECONDS)
    except BaseException:
        for job in jobs:
            with contextlib.suppress(OSError):
                job.kill()
        raise


def command_of(options: Sequence[str], trial: Trial, folder: Path) -> list[str]:
    """Returns the command line after ``lightning`` that starts or continues the run of a trial."""
    root = f"--trainer.default_root_dir={folder / trial.folder_name}"
    return ["fit", *options, *trial.options(), root, "--resume=auto"]


def runs_of(trial: Trial, folder: Path) -> list[Run]:
    """Returns the runs of a trial, the newest first; runs with other overrides are left out."""
    return [run for run in find_runs(folder / trial.folder_name) if has_overrides(run, trial.overrides)]


def has_overrides(run: Run, overrides: Mapping[str, str]) -> bool:
    """Whether the config of a run has the values of these overrides, as far as the two can be compared."""
    found = settings(run)
    wanted = flatten({key: parsed(value) for key, value in overrides.items()})
    return not any(key in found and _differ(found[key], value) for key, value in wanted.items())


def _differ(found: Any, wanted: Any) -> bool:
    """Whether two values of an option differ, and not only in how they are written."""
    if isinstance(found, str) and isinstance(wanted, str):  # a class may be given by its last name
        return found != wanted and not found.endswith(f".{wanted}")
    if isinstance(found, int | float) and isinstance(wanted, int | float):
        return found != wanted
    if isinstance(found, str) and isinstance(wanted, int | float):
        return not found.startswith(str(wanted))  # as 32 is the precision 32-true
    if found is None or wanted is None:
        return found is not wanted
    return isinstance(found, list) and isinstance(wanted, list) and found != wanted and not _has_mappings(wanted)


def _has_mappings(values: Sequence[Any]) -> bool:
    """Whether a list has mappings, such as a class and its arguments, to which a config adds the defaults."""
    return any(isinstance(value, dict) for value in values)


def read_outcome(trial: Trial, folder: Path, code: int | None = None, epochs: int | None = None) -> Outcome:
    """Returns the outcome of a trial, from what is in its folder.

    Args:
        trial: the trial.
        folder: the folder of the experiment.
        code: the exit code of its process; None if it was not started.
        epochs: a run that has trained so long counts as finished.
    """
    runs = runs_of(trial, folder)
    finished = next((run for run in runs if run.is_complete), None)
    if finished is None and epochs is not None:
        finished = next((run for run in runs if run.state != "running" and run.epochs >= epochs), None)
    if finished:
        return Outcome(trial, finished)
    if code is None and not runs:
        return Outcome(trial, None, "not started")
    if code is not None and code < 0:
        return Outcome(trial, None, f"{signal.Signals(-code).name} ended it")
    reason = (runs[0].record.get("reason") if runs else None) or last_error(folder / trial.folder_name / LOG)
    return Outcome(trial, None, reason or f"it ended with exit code {code}")
