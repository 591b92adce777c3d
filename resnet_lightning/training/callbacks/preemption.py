"""Handles the signals that end a run: stores them until the run can be saved, and requeues the job on SLURM."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable

from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only

from ...signals import Signalled, handle, received

_log = logging.getLogger(__name__)


class Interrupted(Exception):
    """Raised when a signal ends the training, after the checkpoint is written.

    Args:
        signal_name: the name of the signal, such as ``"SIGTERM"``.
        step: the number of optimizer steps made so far.

    Attributes:
        number: the number of the signal.
    """

    def __init__(self, signal_name: str, step: int) -> None:
        self.number = int(signal.Signals[signal_name])
        super().__init__(f"{signal_name} stopped the training after step {step}")


class Paused(Interrupted):
    """Raised when the training has reached the epoch after which this process was told to stop.

    Args:
        epochs: the number of epochs trained so far.
    """

    def __init__(self, epochs: int) -> None:
        self.number = 0
        Exception.__init__(self, f"the training stopped after epoch {epochs}, as --stop_after told it to")


class SignalReceiver:
    """Stores the signals that end a program until the training can act on them.

    A second SIGINT (Ctrl-C) raises ``Signalled`` at once.

    Attributes:
        received: the number of the signal to act on; 0 if there is none.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: Callable[[int], None] | None = None
        self._is_installed = False

    def install(self) -> None:
        """Installs the signal handlers of this process. Outside the main thread it does nothing.

        Call it when training starts: it then replaces the handlers of Lightning, which restores the original ones when
        training ends. A signal whose exception got lost, in a library that the set-up called, is received now.
        """
        self._before = handle(self._receive)
        self._is_installed = True
        if lost := received():
            self._receive(lost)

    def uninstall(self) -> None:
        """Lets the function handle the signals again that did so before."""
        if self._is_installed:
            handle(self._before or _nothing)
            self._is_installed = False

    def _receive(self, number: int) -> None:
        if self.received == number == signal.SIGINT:
            raise Signalled(number)
        # SLURM may send SIGTERM soon after SIGUSR1. SIGUSR1 is kept, so that the job is still requeued.
        if self.received != signal.SIGUSR1 or number == signal.SIGINT:
            self.received = number
        if number == signal.SIGINT and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            _write("\nTraining ends after this step. Ctrl-C again ends it now, without saving.\n")


def _nothing(number: int) -> None:
    """Handles a signal after the training of a program that handles none itself."""


def _write(text: str) -> None:
    """Writes to standard error from a signal handler, which may have interrupted a print."""
    try:
        number = sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):  # a notebook's stream has no file number
        with contextlib.suppress(Exception):
            sys.stderr.write(text)
        return
    with contextlib.suppress(OSError):
        os.write(number, text.encode())


def requeue_after(number: int) -> None:
    """Requeues the SLURM job if the signal was SIGUSR1; does nothing outside of a SLURM job."""
    if number != signal.SIGUSR1 or not SLURMEnvironment.detect() or "SLURM_JOB_ID" not in os.environ:
        return
    job = os.environ["SLURM_JOB_ID"]
    if {"SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"} <= os.environ.keys():
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=False)
    except OSError as error:
        _log.warning("could not requeue the job: scontrol cannot be run: %s", error.strerror)
