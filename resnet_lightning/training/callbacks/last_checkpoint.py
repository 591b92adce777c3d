"""Writes the checkpoints that a run resumes from."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ... import signals
from ...runs.checkpoint_io import save_together
from ...runs.place import FolderMoved, Place
from ...signals import Signalled, is_handled, take_over
from .agreement import Agreement
from .best_checkpoint import BestCheckpoint
from .finite_loss import check_weights
from .preemption import Interrupted, Paused, SignalReceiver, requeue_after

# Stands for a signal where processes agree on what has ended the training: the run's folder is no longer where it was.
_MOVED = 10_000


class LastCheckpoint(Callback):
    """Writes the checkpoints that a run resumes from: ``last.ckpt``, and the one before it as ``previous.ckpt``.

    It writes after each epoch, every few minutes, and when a signal ends the training: SIGINT, SIGTERM, SIGUSR1 or
    SIGHUP. It then raises ``Interrupted``, usually after the current optimizer step. On SLURM, SIGUSR1 also requeues
    the job.

    With ``stop_after``, it also ends the training after that many epochs, as a signal would at that moment.

    It saves only between two optimizer steps: no gradients are accumulated, no validation is running, and everything
    is logged. A resumed run therefore equals the uninterrupted one.

    Weights that are NaN or infinite are never saved: the training fails. If the run's folder is renamed while it
    trains, the training ends in the same way, with a checkpoint in the renamed folder.

    It must be the first of the trainer's callbacks, so that it saves before anything happens to the next batch.

    Args:
        minutes: the longest time between two checkpoints.
        requeue: whether SIGUSR1 requeues the job on SLURM.
        folder: where to write them; the command line sets the run's folder.

    Attributes:
        handles_signals: whether training installs signal handlers; a notebook has its own.
        stop_after: the number of epochs after which to save and raise ``Paused``; None to train to the end.
    """

    def __init__(
        self, minutes: float = 10.0, folder: str | os.PathLike[str] = "checkpoints", requeue: bool = True
    ) -> None:
        self.minutes = minutes
        self.requeue = requeue
        self.folder = Path(folder)
        self.place: Place | None = None  # of the run's folder
        self.agreement: Agreement | None = None  # in which several processes vote on saving, in each step
        self._voted = 0  # the number of the vote that was last acted on
        self.handles_signals = True
        self.stop_after: int | None = None
        self._signals = SignalReceiver()
        self._has_validated = False
        self._saved = (0, 0)  # (steps, epochs) of the last checkpoint
        self._saved_at = 0.0
        self._is_saving = False

    @property
    def received(self) -> int:
        """The number of the signal that ends the training; 0 if there is none."""
        return 0 if self._signals.received == _MOVED else self._signals.received

    # When to save.

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved, self._saved_at = _progress(trainer), time.monotonic()
        if self.handles_signals:
            self._signals.install()
        if self.place is None:
            self.place = Place.of_a_run(self.folder.parent)
        if self.agreement is not None:
            self.agreement.votes = lambda: [float(self._signals.received), float(self._is_late())]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._follow_folder(trainer)
        self._save_if(trainer, _progress(trainer) != self._saved)
        if self.stop_after is not None and trainer.current_epoch >= self.stop_after:
            raise Paused(trainer.current_epoch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._has_validated = True
        self._follow_folder(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._follow_folder(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._follow_folder(trainer)  # before the loggers write

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._follow_folder(trainer)
        # Lightning cannot resume from a checkpoint written right after a validation inside an epoch.
        if batch_idx and batch_idx % trainer.accumulate_grad_batches == 0 and not self._has_validated:
            self._save_if_agreed(trainer)
        self._has_validated = False

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._follow_folder(trainer)
        self._save_if(trainer, _progress(trainer) != self._saved)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._replace_handlers()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._replace_handlers()
        self.check_place(trainer)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.check_place(trainer)  # before the loggers write

    def _replace_handlers(self) -> None:
        """Replaces Lightning's handler of SIGTERM, which waits for the other processes, in a program with its own."""
        if self.handles_signals and is_handled():
            take_over()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and self.handles_signals:
            self._signals.uninstall()
            if received := self.received:  # after the last checkpoint
                self._signals.received = 0
                raise Interrupted(signal.Signals(received).name, trainer.global_step)

    def _save_if_agreed(self, trainer: Trainer) -> None:
        """Saves inside an epoch. Several processes have voted on it in the step that has just ended."""
        if trainer.world_size == 1 or self.agreement is None or self.agreement.count == self._voted:
            self._save_if(trainer, False)  # or without a vote, such as after a step without a loss
            return
        self._voted = self.agreement.count
        received, is_late = self.agreement.result()[1:]
        self._act_on(trainer, int(received), bool(is_late) and _progress(trainer) != self._saved)

    def _save_if(self, trainer: Trainer, is_due: bool) -> None:
        is_due |= self._is_late() and _progress(trainer) != self._saved
        received = self._signals.received
        if trainer.world_size > 1:  # a signal may reach only some processes, and clocks differ
            device = trainer.strategy.root_device
            agreed = trainer.strategy.reduce(Tensor([received, is_due]).to(device), reduce_op="max")
            received, is_due = int(agreed[0]), bool(agreed[1])
        self._act_on(trainer, received, is_due)

    def _is_late(self) -> bool:
        return time.monotonic() - self._saved_at > 60 * self.minutes

    def _act_on(self, trainer: Trainer, received: int, is_due: bool) -> None:
        if is_due or received:
            self._save(trainer)
        if received == _MOVED:
            if self.place is None:  # one line is enough for all processes
                raise Interrupted("SIGTERM", trainer.global_step)
            saved = f"the training ended after step {trainer.global_step} and is saved there"
            raise FolderMoved(self.place.folder, self.folder.parent, saved)
        if received:
            if trainer.is_global_zero and self.requeue:
                requeue_after(received)
            raise Interrupted(signal.Signals(received).name, trainer.global_step)

    # Where to save.

    def _follow_folder(self, trainer: Trainer) -> None:
        """Lets everything write into the run's folder if it has been renamed, until the training can end.

        Raises:
            FolderMoved: if it is nowhere: it was deleted, or moved to another disk.
        """
        if self.place is None or self._signals.received == _MOVED or not self.place.has_moved():
            return
        now = self.place.now()
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if hasattr(callback, "follow_folder"):
                callback.follow_folder(trainer, now)
        if now is None:
            raise FolderMoved(self.place.folder, None, "")
        self.folder = now / self.folder.name
        self._signals.received = _MOVED

    def check_place(self, trainer: Trainer) -> None:
        """Checks after the training that the run's folder is where it was.

        Raises:
            FolderMoved: if not.
        """
        if self.place is not None and self.place.has_moved():
            self._follow_folder(trainer)
            raise FolderMoved(self.place.folder, self.folder.parent, "it is trained, but not tested yet")

    # What to save.

    def _save(self, trainer: Trainer) -> None:
        check_weights(trainer)  # before the previous checkpoint is replaced
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
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, BestCheckpoint):
                callback.after_last_checkpoint(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if not self._is_saving:
            return
        # Lightning already counts the epoch or batch that is about to start.
        loops = checkpoint["loops"]["fit_loop"]
        epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
        for count in (*epochs.values(), *batches.values()):
            if isinstance(count, dict):
                count["ready"] = count["started"]
        # In its last epoch, StochasticWeightAveraging lets Lightning expect one batch more than there is.
        inside_an_epoch = (
            0 < batches["current"]["completed"] < trainer.num_training_batches and not batches["is_last_batch"]
        )
        if inside_an_epoch and epochs["current"]["processed"] == epochs["current"]["started"]:
            # `max_steps` ended the training here, and Lightning counts the epoch as complete.
            for count in epochs.values():
                count["processed"] -= 1
                count["completed"] -= 1


def _progress(trainer: Trainer) -> tuple[int, int]:
    epochs: Any = trainer.fit_loop.epoch_progress.current
    return trainer.global_step, epochs.processed


def signal_behind(error: BaseException, trainer: Trainer) -> BaseException:
    """Returns what ended a training: a signal that it has received, or else the exception itself.

    A signal often reaches other processes too, such as those that read images, and the training fails without them
    before it can act on the signal. Outside of the training, code that a signal interrupts may raise an exception of
    its own instead.
    """
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    received = next((callback.received for callback in callbacks if isinstance(callback, LastCheckpoint)), 0)
    received = received or signals.received()
    return Signalled(received) if received and not isinstance(error, Interrupted | Signalled) else error
