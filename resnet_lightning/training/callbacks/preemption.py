"""Handles the signals that end a run: stores them until the run can be saved, and requeues the job on SLURM."""

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

# Schedulers such as SLURM can send SIGUSR1 some time before they end a job.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupted(Exception):
    """Raised when a signal ends the training, after the checkpoint is written.

    Args:
        signal_name: the name of the signal, such as ``"SIGTERM"``.
        step: the number of optimizer steps made so far.
    """

    def __init__(self, signal_name: str, step: int) -> None:
        super().__init__(f"{signal_name} stopped the training after step {step}")


class SignalReceiver:
    """Stores SIGINT, SIGTERM and SIGUSR1 until the training can act on them.

    A second SIGINT (Ctrl-C) raises KeyboardInterrupt at once.

    Attributes:
        received: the number of the signal to act on; 0 if there is none.
    """

    def __init__(self) -> None:
        self.received = 0
        self._process = 0

    def install(self) -> None:
        """Installs the signal handlers of this process. Outside the main thread it does nothing.

        Call it when training starts: it then replaces the handlers of Lightning, which restores the original ones when
        training ends.
        """
        self._process = os.getpid()
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a data loading worker: it ends with the main process
            return
        if self.received == number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            raise KeyboardInterrupt
        # SLURM may send SIGTERM soon after SIGUSR1. SIGUSR1 is kept, so that the job is still requeued.
        if self.received != signal.SIGUSR1 or number == signal.SIGINT:
            self.received = number
        if number == signal.SIGINT and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            os.write(
                sys.stderr.fileno(), b"\nTraining ends after this step. Ctrl-C again ends it now, without saving.\n"
            )


def requeue_after(number: int) -> None:
    """Requeues the SLURM job if the signal was SIGUSR1; does nothing outside of a SLURM job."""
    if number != signal.SIGUSR1 or not SLURMEnvironment.detect():
        return
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=False)
    except OSError as error:
        _log.warning("could not requeue the job: scontrol cannot be run: %s", error.strerror)
