"""Signals that end a run: remembered until the run can be saved, and answered with a requeue on SLURM."""

import logging
import os
import signal
import subprocess
import sys
import threading
from types import FrameType

from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only

_log = logging.getLogger(__name__)

# Schedulers send SIGUSR1 some time before they end a job.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupted(Exception):
    """A signal has ended the training, after everything was saved.

    Args:
        signal_name: such as ``"SIGTERM"``.
        step: the number of optimizer steps made.
    """

    def __init__(self, signal_name: str, step: int) -> None:
        super().__init__(f"{signal_name} stopped the training after step {step}")


class SignalReceiver:
    """Remembers SIGINT, SIGTERM and SIGUSR1 until somebody can act on them.

    A second SIGINT (Ctrl-C) raises KeyboardInterrupt at once.

    Attributes:
        received: the signal to act on; 0 if there was none.
    """

    def __init__(self) -> None:
        self.received = 0
        self._process = 0

    def install(self) -> None:
        """Replaces the signal handlers of this process, where it may: only the main thread receives signals.

        Called when training starts, it replaces those of Lightning, which restores the original ones at the end.
        """
        self._process = os.getpid()
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker of the data loader, which ends with this process
            return
        if self.received == number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            raise KeyboardInterrupt
        # SLURM sends SIGTERM soon after SIGUSR1; the job is to be requeued all the same.
        if self.received != signal.SIGUSR1 or number == signal.SIGINT:
            self.received = number
        if number == signal.SIGINT and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            os.write(sys.stderr.fileno(), b"\nThe training ends after this step. Ctrl-C again ends it now, unsaved.\n")


def requeue_after(number: int) -> None:
    """Asks SLURM to start the job again, if there is a job and the signal was its warning, SIGUSR1."""
    if number != signal.SIGUSR1 or not SLURMEnvironment.detect():
        return
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=False)
    except OSError as error:
        _log.warning("the job is not requeued: scontrol cannot be run: %s", error.strerror)
