"""One progress bar for the whole run."""

import math
import time
from collections.abc import Mapping
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column
from torch import Tensor

from ..batches import batch_size
from ..length import optimizer_steps
from ..state_checks import malformed

_WIDE = 110  # columns; a narrower terminal has no room for the bar beside the text


class RunProgress(ProgressBar):
    """Shows one line: epoch, loss, validation accuracy, its best value so far, speed, and the time left for the run.

    If the output is not a terminal (a log file, CI), it prints a line at the end of each epoch instead, and one
    a minute within long epochs and evaluations.

    The loss is read from the device only when the bar is redrawn, a few times a second. The other training steps do not
    wait for the device.

    Args:
        refresh_seconds: the shortest time between two redraws.
        console: where to draw; standard output by default.
        line_seconds: without a terminal, the shortest time between two lines within an epoch.
    """

    def __init__(
        self, refresh_seconds: float = 0.25, console: Console | None = None, line_seconds: float = 60.0
    ) -> None:
        super().__init__()
        self.refresh_seconds = refresh_seconds
        self.line_seconds = line_seconds
        self.console = console or Console()
        self._enabled = True
        self._progress: Progress | None = None
        self._refreshed = 0.0
        self._printed = 0.0  # when the last line was printed, or else the stage began
        self._evaluated = 0  # batches of this validation, test or prediction so far
        self._started = 0.0
        self._first_step = 0
        self._loss: Tensor | None = None
        self._best: float | None = None
        self._epoch_images = 0  # images trained on in this epoch so far
        self._epoch_seconds = 0.0  # the training time of these images
        self._epoch_started = 0.0

    def __getstate__(self) -> dict[str, Any]:
        # For strategies that start processes with a copy of the trainer, such as ddp_spawn. Neither a console nor a bar
        # can be copied to another process, which draws on its own standard output.
        return {**vars(self), "console": None, "_progress": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({**state, "console": Console()})

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        best = state_dict["best"]
        if best is not None and (isinstance(best, bool) or not isinstance(best, int | float)):
            raise malformed("state of the progress bar", f" has {best!r} as the best value")
        self._best = best

    @property
    def is_enabled(self) -> bool:  # Lightning reads it before a module prints
        return self._enabled

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        if self._enabled:
            self.console.print(*args, markup=False)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self._printed = time.monotonic()  # the sanity check comes before the training starts

    # Training: one bar that counts the optimizer steps of all epochs.

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.monotonic()
        self._first_step = trainer.global_step
        self._epoch_images, self._epoch_started = 0, self._started
        has_room = self.console.width >= _WIDE
        self._open(optimizer_steps(trainer), self._first_step, bar=has_room)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_images, self._epoch_started = 0, time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        self._epoch_images += batch_size(batch) * trainer.world_size
        self._epoch_seconds = time.monotonic() - self._epoch_started
        if self._progress:
            if self._is_due():
                self._show(self._describe(trainer), trainer.global_step, self._time_left(trainer))
        elif self._is_line_due() and not trainer.is_last_batch:  # the epoch ends in a line anyway
            batch = f"batch {_of(batch_idx + 1, trainer.num_training_batches)}"
            self._print_line(f"{self._describe(trainer, batch)}  {self._time_left(trainer)}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._progress:
            self._show(self._describe(trainer), trainer.global_step, self._time_left(trainer))
        elif self._enabled:
            self._print_line(f"{self._describe(trainer)}  {self._time_left(trainer)}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    # Validation, test or prediction without training: a bar that counts the batches. Within a training, only lines.

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluated = 0
        if trainer.state.fn == "validate":
            self._open(sum(trainer.num_val_batches))

    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        if trainer.state.fn == "validate":
            self._advance("validating", sum(trainer.num_val_batches))
        elif not self.console.is_terminal:
            total = trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches
            self._count(f"{_epoch(trainer)}  validating", sum(total))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._close()
        elif not trainer.sanity_checking and "val/acc" in trainer.callback_metrics:
            self._best = max(float(trainer.callback_metrics["val/acc"]), self._best or 0.0)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open(sum(trainer.num_test_batches))

    def on_test_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        self._advance("testing", sum(trainer.num_test_batches))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open(sum(trainer.num_predict_batches))

    def on_predict_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        self._advance("predicting", sum(trainer.num_predict_batches))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    # Drawing.

    def _open(self, total: float, completed: int = 0, bar: bool = True) -> None:
        self._printed, self._evaluated = time.monotonic(), 0
        if not (self._enabled and self.console.is_terminal):
            return
        bars = [BarColumn(bar_width=24)] if bar else []
        left = Column(min_width=13, no_wrap=True)  # a narrow terminal cuts the description, not the time
        columns = (TextColumn("{task.description}"), *bars, TextColumn("{task.fields[left]}", table_column=left))
        # Without auto_refresh there is no drawing thread: the bar is drawn between two batches, never during one.
        self._progress = Progress(*columns, console=self.console, auto_refresh=False)
        self._progress.start()
        self._progress.add_task("", total=total if math.isfinite(total) else None, completed=completed, left="")

    def _is_due(self) -> bool:
        return time.monotonic() - self._refreshed >= self.refresh_seconds

    def _show(self, description: str, completed: int, left: str) -> None:
        assert self._progress is not None
        task = self._progress.task_ids[0]
        self._progress.update(task, description=description, completed=completed, left=left)
        self._progress.refresh()
        self._refreshed = time.monotonic()

    def _is_line_due(self) -> bool:
        return self._enabled and time.monotonic() - self._printed >= self.line_seconds

    def _print_line(self, line: str) -> None:
        # Not wrapped: a log may be read at any width.
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)
        self._printed = time.monotonic()

    def _count(self, description: str, total: float) -> None:
        """Counts a batch of an evaluation without a bar, and prints a line if it is time for one."""
        self._evaluated += 1
        if self._is_line_due():
            self._print_line(f"{description}  batch {_of(self._evaluated, total)}")

    def _advance(self, description: str, total: float) -> None:
        if not self._progress:
            self._count(description, total)
        else:
            task = self._progress.tasks[0]
            self._progress.update(task.id, description=description, advance=1)
            if self._is_due() or task.finished:
                done = f"{task.completed:.0f}/{task.total:.0f} batches" if task.total else ""
                self._show(description, int(task.completed), done)

    def _close(self) -> None:
        if self._progress:
            self._progress.refresh()
            self._progress.stop()
            self._progress = None

    def _time_left(self, trainer: Trainer) -> str:
        done = trainer.global_step - self._first_step
        left = optimizer_steps(trainer) - trainer.global_step
        if not done or not math.isfinite(left):
            return "? left"
        minutes, seconds = divmod(round((time.monotonic() - self._started) / done * left), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left"

    def _describe(self, trainer: Trainer, batch: str = "") -> str:
        parts = [_epoch(trainer), *([batch] if batch else [])]
        if self._loss is not None:
            # With gradient accumulation, Lightning divides the loss of each batch by the number of batches.
            divisor = trainer.accumulate_grad_batches if trainer.lightning_module.automatic_optimization else 1
            parts.append(f"loss {float(self._loss) * divisor:.3f}")
        if "val/acc" in trainer.callback_metrics:
            best = "" if self._best is None else f" (best {self._best:.2%})"
            parts.append(f"val acc {float(trainer.callback_metrics['val/acc']):.2%}{best}")
        if self._epoch_images and self._epoch_seconds > 0:
            parts.append(f"{self._epoch_images / self._epoch_seconds:,.0f} images/s")
        return "  ".join(parts)


def _epoch(trainer: Trainer) -> str:
    total = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
    return f"epoch {trainer.current_epoch + 1}{total}"


def _of(count: int, total: float) -> str:
    """A count, and its total if that is finite."""
    return f"{count:,}/{total:,.0f}" if math.isfinite(total) else f"{count:,}"
