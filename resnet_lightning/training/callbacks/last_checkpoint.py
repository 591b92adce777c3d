"""The newest state of a run, kept so that the run can go on from it."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch import Tensor

from ...runs.checkpoint_io import save_together

_log = logging.getLogger(__name__)

# SIGUSR1 is what schedulers send some time before they end a job.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupted(Exception):
    """A signal has ended the training, after everything was saved.

    Args:
        signal_name: such as ``"SIGTERM"``.
        step: how many optimizer steps were made.
    """

    def __init__(self, signal_name: str, step: int) -> None:
        super().__init__(f"{signal_name} stopped the training after step {step}")


class LastCheckpoint(Callback):
    """Writes ``last.ckpt`` after each epoch, every few minutes, and where SIGINT, SIGTERM or SIGUSR1 ends the training.

    The checkpoint before it stays as ``previous.ckpt``. Both are of moments in which nothing is pending: gradients are
    not half accumulated, validation is over and everything is logged, so that a run which goes on from there is the run
    that was never interrupted. A signal ends the run by ``Interrupted`` at the next such moment, mostly after the
    optimizer step that it came in. On SLURM, SIGUSR1 also puts the job into the queue again.

    It has to be the first of the trainer's callbacks: it saves before anything happens to the next batch.

    Args:
        minutes: how much time may pass between two checkpoints.
        requeue: whether SIGUSR1 puts the job into the queue again on SLURM.
        folder: where they are kept; on the command line, in the run's folder.
    """

    def __init__(
        self, minutes: float = 10.0, folder: str | os.PathLike[str] = "checkpoints", requeue: bool = True
    ) -> None:
        self.minutes = minutes
        self.requeue = requeue
        self.folder = Path(folder)
        self._signal = 0
        self._process = 0
        self._has_validated = False
        self._saved = (0, 0)  # steps and epochs
        self._saved_at = 0.0
        self._is_saving = False

    # When.

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved, self._saved_at = _progress(trainer), time.monotonic()
        self._process = os.getpid()
        if threading.current_thread() is threading.main_thread():  # no other gets signals
            for number in _SIGNALS:  # instead of Lightning's handlers; it puts back those before them in the end
                signal.signal(number, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # one that reads files for this one, and ends with it
            return
        if self._signal == number == signal.SIGINT:  # Ctrl-C again: at once
            signal.signal(number, signal.SIG_DFL)
            raise KeyboardInterrupt
        if self._signal != signal.SIGUSR1 or number == signal.SIGINT:  # SLURM's warning is followed by SIGTERM
            self._signal = number
        if number == signal.SIGINT and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            os.write(sys.stderr.fileno(), b"\nThe training ends after this step. Ctrl-C again ends it now, unsaved.\n")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save_if(trainer, _progress(trainer) != self._saved)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._has_validated = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # Lightning cannot go on from right after a validation inside an epoch.
        if batch_idx and batch_idx % trainer.accumulate_grad_batches == 0 and not self._has_validated:
            self._save_if(trainer, False)
        self._has_validated = False

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save_if(trainer, _progress(trainer) != self._saved)

    def _save_if(self, trainer: Trainer, is_due: bool) -> None:
        is_due |= time.monotonic() - self._saved_at > 60 * self.minutes and _progress(trainer) != self._saved
        received = self._signal
        if trainer.world_size > 1:  # a signal may reach one process alone, and clocks differ
            device = trainer.strategy.root_device
            agreed = trainer.strategy.reduce(Tensor([received, is_due]).to(device), reduce_op="max")
            received, is_due = int(agreed[0]), bool(agreed[1])
        if is_due or received:
            self._save(trainer)
        if received:
            if trainer.is_global_zero and self.requeue and received == signal.SIGUSR1 and SLURMEnvironment.detect():
                _requeue()
            raise Interrupted(signal.Signals(received).name, trainer.global_step)

    # What.

    def _save(self, trainer: Trainer) -> None:
        last = self.folder / "last.ckpt"
        if trainer.is_global_zero and last.exists():
            previous = self.folder / "previous.ckpt"
            previous.unlink(missing_ok=True)
            try:
                os.link(last, previous)
            except OSError:  # a file system without hard links
                last.replace(previous)
        self._is_saving = True
        try:
            save_together(trainer, lambda: trainer.save_checkpoint(last))
        finally:
            self._is_saving = False
        self._saved, self._saved_at = _progress(trainer), time.monotonic()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if not self._is_saving:
            return
        # Lightning counts the epoch or the batch that is about to begin as one that has.
        loops = checkpoint["loops"]["fit_loop"]
        epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
        for count in (*epochs.values(), *batches.values()):
            if isinstance(count, dict):
                count["ready"] = count["started"]
        inside_an_epoch = 0 < batches["current"]["completed"] < trainer.num_training_batches
        if inside_an_epoch and epochs["current"]["processed"] == epochs["current"]["started"]:
            # `max_steps` has ended the training here, and Lightning takes the epoch for a whole one.
            for count in epochs.values():
                count["processed"] -= 1
                count["completed"] -= 1


def _progress(trainer: Trainer) -> tuple[int, int]:
    epochs: Any = trainer.fit_loop.epoch_progress.current
    return trainer.global_step, epochs.processed


def _requeue() -> None:
    """Asks SLURM to start the job again."""
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=False)
    except OSError as error:
        _log.warning("the job is not put into the queue again, for scontrol cannot be run: %s", error.strerror)
