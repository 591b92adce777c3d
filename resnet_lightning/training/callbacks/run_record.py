"""Records a run in its folder and in its checkpoints: how it was started, its state, and the metrics logged so far."""

import csv
import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ...atomic_write import atomic_write_text
from ...errors import InputError
from ...runs.provenance import now, provenance
from ...runs.readable import read_record
from ...signals import Signalled
from ..model_protocol import net_name
from .best_checkpoint import BestCheckpoint, with_moved_paths
from .last_checkpoint import signal_behind
from .preemption import Interrupted


class RunRecord(Callback):
    """Writes ``config.yaml`` and ``run.json`` into the run's folder, and config and metrics into each checkpoint.

    ``run.json`` contains the command that started the run, the versions of code and packages, and the run's state:
    ``running``, ``finished``, ``stopped`` (by a signal) or ``failed``, and the reason if it ended early. The loggers
    get the config and the versions as hyperparameters.

    A checkpoint gets the config, the state of the data module, under the same key for all data modules, and the metrics
    logged so far. A resumed run continues with these metrics and drops those that were logged after the checkpoint.

    Args:
        name: the name of the run, such as ``"digits"``.
        config: the whole config as YAML.
        folder: the run's folder.
        checkpoint: the path of the checkpoint that the run resumes from; None for a new run.
        command: the command line that starts the run.

    Attributes:
        has_trained: whether the loss of a batch has been computed in this training.

    Raises:
        InputError: at the start of training, if the processes are about to resume from different checkpoints.
    """

    def __init__(
        self,
        name: str,
        config: str,
        folder: Path,
        checkpoint: str | None = None,
        command: str = "",
    ) -> None:
        self.name = name
        self.config = config
        self.command = command
        self.folder = self._log_folder = folder
        self.checkpoint = checkpoint
        self._state: dict[str, Any] = {}
        self._previous: dict[str, Any] = {}  # the content of run.json before this training
        self._old_metrics: str | None = None
        self._is_begun = False
        self.has_trained = False
        self._seconds_before = 0.0  # the duration of the training until the checkpoint
        self._fit_started = time.monotonic()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            is_same = trainer.strategy.broadcast(self.checkpoint) == self.checkpoint
            if not trainer.strategy.reduce_boolean_decision(is_same):
                raise InputError(
                    "the processes found different checkpoints to resume from; give a folder with --resume"
                )
        if stage == "fit" and trainer.is_global_zero:
            self._old_metrics = _text_of(self.folder / "metrics.csv")
            if not self.checkpoint:
                self._replace_metrics(trainer, "")
            config, facts = yaml.safe_load(self.config), provenance()
            self._previous = previous = self._read_state()
            first = previous.get("first_command") or previous.get("command")
            self._state = {
                "name": self.name,
                "command": self.command,
                **({"first_command": first} if first else {}),
                "state": "running",
                "started": (previous.get("started") if self.checkpoint else None) or now(),
                "ended": None,
                **facts,
                "device": f"{trainer.world_size} x {_device_name(trainer.strategy.root_device)}",
                "net": net_name(pl_module),
                "parameters": sum(p.numel() for p in pl_module.parameters()),
            }
            self._is_begun = False
            if not previous:
                self._begin()
            if isinstance(hparams := pl_module.hparams, Mapping):
                # The loggers get the module's hyperparameters as a part of the config, not a second time beside it.
                pl_module.save_hyperparameters(dict(hparams), logger=False)
            for logger in trainer.loggers:
                logger.log_hyperparams({**config, **facts})

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._begin()
        self.has_trained = True

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        self.has_trained = True

    def _begin(self) -> None:
        """Writes config and record, once. A run that resumes keeps those that it has until something is trained."""
        if self._state and not self._is_begun:
            self._is_begun = True
            atomic_write_text(self.folder / "config.yaml", self.config)
            self._update()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._fit_started = time.monotonic()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._state.get("state") == "running" and not self._is_begun and self._old_metrics is not None:
            self._replace_metrics(trainer, self._old_metrics)  # Lightning saves the loggers once more after this
        self.end(signal_behind(exception, trainer))

    def end(self, exception: BaseException) -> None:
        """Writes into ``run.json`` that an exception or a signal has ended the run, if it has not ended yet.

        If nothing was trained, the files of the run before it was resumed stay, or come back.
        """
        if self._state.get("state") != "running":
            return
        was_stopped = isinstance(exception, Interrupted | Signalled | KeyboardInterrupt | SIGTERMException)
        if not self._is_begun:
            if self._old_metrics is not None:
                atomic_write_text(self.folder / "metrics.csv", self._old_metrics)
            if self._previous.get("state") != "running":
                self._state = {}
                return
            self._state = self._previous  # that of a run that was killed
        reason = " ".join(str(exception).split()) or type(exception).__name__
        self._update(state="stopped" if was_stopped else "failed", ended=now(), reason=reason)

    def follow_folder(self, trainer: Trainer, folder: Path | None) -> None:
        """Writes into the run's folder where it is now; nothing more if it is None."""
        logger = self._csv_logger(trainer)
        if folder is None:
            self._state = {}
            if logger:
                logger.experiment.metrics = []
            return
        if logger:
            logger.experiment.log_dir = str(folder)
            logger.experiment.metrics_file_path = str(folder / "metrics.csv")
        self.folder = folder

    def take_over(self, trainer: Trainer) -> None:
        """Continues the record after a training in processes that have ended, as those of ``ddp_spawn`` have.

        Otherwise the CSV logger would start anew in the process that tests, and delete the rows of the training.
        """
        if self._state or rank_zero_only.rank != 0:  # type: ignore[attr-defined]
            return
        self._state = self._read_state()
        file = self.folder / "metrics.csv"
        if file.exists():
            self._replace_metrics(trainer, file.read_text())

    def finish(self, **facts: Any) -> None:
        """Writes into ``run.json`` that the run is finished, and further facts such as its speed."""
        self._begin()
        self._update(state="finished", ended=now(), **facts)

    def _update(self, **facts: Any) -> None:
        """Writes ``run.json`` with these facts added or replaced. Only the first process of a run writes it."""
        if self._state:
            state = {**self._state, **facts}
            atomic_write_text(self.folder / "run.json", json.dumps(state, indent=1))
            self._state = state  # not earlier: a signal may end the write, and `end` then has to write how it ended

    def _read_state(self) -> dict[str, Any]:
        return read_record(self.folder)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.save()  # a run that is killed and resumed does not log the rows before the checkpoint again
        data = getattr(trainer, "datamodule", None)
        state = data.state_dict() if data is not None else {}
        checkpoint["run"] = {
            "name": self.name,
            "config": self.config,
            "data": state,
            "metrics": self._read_metrics(trainer),
            "seconds": self._seconds_before + time.monotonic() - self._fit_started,
        }
        for logger in _row_counting_loggers(trainer):
            checkpoint["run"]["rows"] = logger.rows

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping) and callback.state_key in checkpoint["callbacks"]:
                # Lightning would restore the patience of the checkpoint, even if the config has changed.
                checkpoint["callbacks"][callback.state_key]["patience"] = callback.patience
            is_other = isinstance(callback, ModelCheckpoint) and not isinstance(callback, BestCheckpoint)
            if is_other and callback.state_key in checkpoint["callbacks"]:
                # If this folder is a copy, Lightning would go on with the files of the original.
                state = checkpoint["callbacks"][callback.state_key]
                checkpoint["callbacks"][callback.state_key] = with_moved_paths(state, callback.dirpath)
        if trainer.state.fn == "fit":
            self._seconds_before = float(checkpoint["run"].get("seconds", 0.0))
        if trainer.state.fn == "fit" and trainer.is_global_zero:
            self._replace_metrics(trainer, checkpoint["run"].get("metrics", ""))
            for logger in _row_counting_loggers(trainer):
                logger.resume_after(checkpoint["run"].get("rows", 0))

    def _replace_metrics(self, trainer: Trainer, metrics: str) -> None:
        """Replaces the contents of ``metrics.csv``: an interrupted run may have left later rows in it."""
        if logger := self._csv_logger(trainer):
            Path(logger.experiment.metrics_file_path).unlink(missing_ok=True)
            logger.experiment.metrics = list(csv.DictReader(io.StringIO(metrics)))
            logger.save()

    def _read_metrics(self, trainer: Trainer) -> str:
        """Returns the contents of ``metrics.csv``; empty if there is no such file, or not in the first process."""
        logger = self._csv_logger(trainer)
        if logger is None or not trainer.is_global_zero:
            return ""
        logger.save()
        file = Path(logger.experiment.metrics_file_path)
        return file.read_text() if file.exists() else ""

    def _csv_logger(self, trainer: Trainer) -> CSVLogger | None:
        """Returns the logger that writes ``metrics.csv`` into the run's folder, if there is one."""
        loggers = (logger for logger in trainer.loggers if isinstance(logger, CSVLogger))
        return next((logger for logger in loggers if Path(logger.log_dir) == self._log_folder), None)


def _text_of(file: Path) -> str | None:
    return file.read_bytes().decode() if file.is_file() else None  # with its line endings


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _row_counting_loggers(trainer: Trainer) -> list[Any]:
    """Returns the loggers that number their rows and can continue after a given row, such as the W&B logger."""
    return [logger for logger in trainer.loggers if hasattr(logger, "resume_after")]
