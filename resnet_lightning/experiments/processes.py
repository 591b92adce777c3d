"""Starts the runs of an experiment as processes, shares cores and devices among them, and ends them."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

import torch

from ..errors import InputError, check_int
from ..runs.readable import UNREADABLE, read_text
from ..runs.subprocesses import STARTER_VARIABLE
from ..training.hardware import available_cores, processes_that_fit

_JOBS_ON_A_DEVICE = 8  # small networks that share a CUDA device


class Job(Protocol):
    """A command that was started."""

    def poll(self) -> int | None:
        """Returns its exit code; None while it runs or waits."""

    def terminate(self) -> None:
        """Asks it to end. A run saves a checkpoint first."""

    def kill(self) -> None:
        """Ends it at once."""


class Starter(Protocol):
    """Where runs are started."""

    @property
    def slots(self) -> int | None:
        """How many run at a time; None if all are started at once and wait elsewhere."""

    def start(self, commands: Sequence[Sequence[str]], logs: Sequence[Path], slots: Sequence[int]) -> Sequence[Job]:
        """Starts commands.

        Args:
            commands: the command lines after ``lightning``.
            logs: for each, the file for what it prints.
            slots: for each, the number of its place among those that run at a time.
        """


class LocalProcesses:
    """Runs side by side on this machine.

    Each gets its share of the cores, and one CUDA device: where there are fewer devices than runs, they share them.

    Args:
        jobs: how many run at a time. A single one keeps all threads and devices.
        devices: how many CUDA devices each run needs; None leaves the choice to the runs.
        environment: further variables for the runs.
    """

    def __init__(self, jobs: int = 1, devices: int | None = 1, environment: Mapping[str, str] | None = None) -> None:
        self.slots: int = jobs
        self._devices = devices
        self._environment = environment or {}

    def start(
        self, commands: Sequence[Sequence[str]], logs: Sequence[Path], slots: Sequence[int]
    ) -> list[subprocess.Popen[bytes]]:
        return [self._start(*each) for each in zip(commands, logs, slots, strict=True)]

    def _start(self, arguments: Sequence[str], log: Path, slot: int) -> subprocess.Popen[bytes]:
        shares = {**thread_share(self.slots), **device_share(slot, self._devices)} if self.slots > 1 else {}
        with opened_log(log) as output:
            return subprocess.Popen(
                command(arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment, **shares, STARTER_VARIABLE: str(os.getpid())},
            )


def check_jobs(jobs: int) -> None:
    """Checks that so many runs fit on this machine side by side: each takes about a gigabyte of memory.

    Raises:
        InputError: if they do not.
    """
    check_int("--jobs", jobs, 1)
    most = max(processes_that_fit(), _JOBS_ON_A_DEVICE * _cuda_devices())
    if jobs > most:
        raise InputError(
            f"--jobs is {jobs}: so many runs side by side do not fit on {available_cores()} cores; give at most {most}"
        )


def command(arguments: Sequence[str]) -> list[str]:
    """Returns the command line of a process of the program."""
    return [sys.executable, "-m", "resnet_lightning", *arguments]


def thread_share(jobs: int) -> dict[str, str]:
    """Returns the variable that gives each of several processes its share of the cores.

    A smaller number that the user has set stays.
    """
    share = max(1, available_cores() // jobs)
    given = os.environ.get("OMP_NUM_THREADS", "")
    return {"OMP_NUM_THREADS": str(min(share, int(given)) if given.isdecimal() and int(given) else share)}


def device_share(slot: int, count: int | None = 1) -> dict[str, str]:
    """Returns the variable that gives a process its CUDA devices; empty if there is no choice.

    Args:
        slot: the number of the process among those that run at a time.
        count: the number of devices that each process needs; None for its own choice.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = [name.strip() for name in visible.split(",")] if visible else list(map(str, range(_cuda_devices())))
    if count is None or count > len(named) or len(named) < 2:
        return {}
    groups = len(named) // count
    first = slot % groups * count
    return {"CUDA_VISIBLE_DEVICES": ",".join(named[first : first + count])}


def _cuda_devices() -> int:
    return torch.cuda.device_count()


def opened_log(log: Path) -> IO[bytes]:
    """Opens the file for what a process prints, in a folder that is created if it is missing.

    Raises:
        InputError: if it cannot be written.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("wb")
    except OSError as error:
        raise InputError(f"cannot write to the folder {str(log.parent)!r}: {error.strerror}") from error


def last_error(log: Path) -> str:
    """Returns the last error in what a run printed, or its last line."""
    try:
        lines = [line.strip() for line in read_text(log).splitlines() if line.strip()]
    except UNREADABLE:
        return ""
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return errors[-1] if errors else next(iter(lines[::-1]), "")
