"""What a run was started with, and what it has logged, kept where it can be found again."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ...atomic_write import atomic_write_text
from ...errors import InputError
from ...runs.provenance import now, provenance
from .preemption import Interrupted


class RunRecord(Callback):
    """Writes the config into the run's folder, hands it to the loggers, and puts it into every checkpoint.

    ``run.json`` says how the run was started, with which code and versions, and what has become of it: it is
    ``running``, ``finished``, ``stopped`` by a signal, or ``failed``.

    With it go the data module's state, under a name that is the same for all data modules, and the metrics logged so
    far: a run that goes on from the checkpoint goes on with them, and forgets what was logged after it.

    Args:
        name: of the run, such as ``"digits"``.
        config: the whole config as YAML.
        folder: the run's folder.
        checkpoint: the path of the one that the run goes on from.
        command: what started it, and would again.

    Raises:
        InputError: where several processes are about to go on from different checkpoints.
    """

    def __init__(self, name: str, config: str, folder: Path, checkpoint: str | None = None, command: str = "") -> None:
        self.name = name
        self.config = config
        self.command = command
        self.folder = folder
        self.checkpoint = checkpoint
        self._state: dict[str, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            is_same = trainer.strategy.broadcast(self.checkpoint) == self.checkpoint
            if not trainer.strategy.reduce_boolean_decision(is_same):
                raise InputError("the processes found different checkpoints to go on from; name a folder to --resume")
        if stage == "fit" and trainer.is_global_zero:
            if not self.checkpoint:
                self._begin_with(trainer, "")
            (self.folder / "evaluation.json").unlink(missing_ok=True)  # of a test before the run went on
            config, facts = yaml.safe_load(self.config), provenance()
            atomic_write_text(self.folder / "config.yaml", self.config)
            before = self._read_state() if self.checkpoint else {}
            self._state = {
                "name": self.name,
                "command": self.command,
                "state": "running",
                "started": before.get("started") or now(),
                "ended": None,
                **facts,
                "device": f"{trainer.world_size} x {_name_of(trainer.strategy.root_device)}",
                "net": config.get("model", {}).get("backbone"),
                "parameters": sum(p.numel() for p in pl_module.parameters()),
            }
            self.tell()
            for logger in trainer.loggers:
                logger.log_hyperparams({**config, **facts})

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        was_stopped = isinstance(exception, Interrupted | KeyboardInterrupt | SIGTERMException)
        self.tell(state="stopped" if was_stopped else "failed", ended=now())

    def finish(self, **facts: Any) -> None:
        """Says that the run has come to its end, and what else there is to say of it."""
        self.tell(state="finished", ended=now(), **facts)

    def tell(self, **facts: Any) -> None:
        """Adds to what ``run.json`` says; nothing in processes other than the first."""
        if self._state:
            self._state.update(facts)
            atomic_write_text(self.folder / "run.json", json.dumps(self._state, indent=1))

    def _read_state(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / "run.json").read_text())
        except (OSError, ValueError):
            return {}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        data = getattr(trainer, "datamodule", None)
        state = data.state_dict() if data is not None else {}
        checkpoint["run"] = {"name": self.name, "config": self.config, "data": state, "metrics": self._metrics(trainer)}
        for logger in _counting(trainer):
            checkpoint["run"]["rows"] = logger.rows

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping) and callback.state_key in checkpoint["callbacks"]:
                # Lightning's takes the checkpoint's, whatever the config says now.
                checkpoint["callbacks"][callback.state_key]["patience"] = callback.patience
        if trainer.state.fn == "fit" and trainer.is_global_zero:
            self._begin_with(trainer, checkpoint["run"].get("metrics", ""))
            for logger in _counting(trainer):
                logger.go_on_after(checkpoint["run"].get("rows", 0))

    def _begin_with(self, trainer: Trainer, metrics: str) -> None:
        """Makes this what ``metrics.csv`` holds, whatever an interrupted run has left in it."""
        if logger := self._logger(trainer):
            Path(logger.experiment.metrics_file_path).unlink(missing_ok=True)
            logger.experiment.metrics = list(csv.DictReader(io.StringIO(metrics)))
            logger.save()

    def _metrics(self, trainer: Trainer) -> str:
        """What is in ``metrics.csv``."""
        logger = self._logger(trainer)
        if logger is None or not trainer.is_global_zero:
            return ""
        logger.save()
        file = Path(logger.experiment.metrics_file_path)
        return file.read_text() if file.exists() else ""

    def _logger(self, trainer: Trainer) -> CSVLogger | None:
        loggers = (logger for logger in trainer.loggers if isinstance(logger, CSVLogger))
        return next((logger for logger in loggers if Path(logger.log_dir) == self.folder), None)


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _counting(trainer: Trainer) -> list[Any]:
    """The loggers that have to be told where a run goes on."""
    return [logger for logger in trainer.loggers if hasattr(logger, "go_on_after")]
