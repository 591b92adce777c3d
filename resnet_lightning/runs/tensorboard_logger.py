"""A TensorBoard logger whose resumed run continues without repeated rows."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import TensorBoardLogger

from ..errors import InputError
from .configs import as_text, flatten

FOLDER = "tensorboard"
"""The folder of the event files, in the run's folder."""


def prepare(logger: Any, folder: Path, step: int | None) -> None:
    """Replaces Lightning's ``TensorBoardLogger`` in a config with ours, which writes into the run's folder.

    Args:
        logger: its ``class_path`` and ``init_args``.
        folder: the run's folder.
        step: the step of the checkpoint that the run resumes from; None for a new run.

    Raises:
        InputError: if tensorboard is not installed.
    """
    if find_spec("tensorboard") is None:
        raise InputError("TensorBoardLogger needs tensorboard; pip install 'resnet-lightning[tensorboard]'")
    logger.class_path = f"{RunTensorBoardLogger.__module__}.{RunTensorBoardLogger.__name__}"
    for name, value in {"save_dir": str(folder), "name": FOLDER, "version": "", "default_hp_metric": False}.items():
        logger.init_args[name] = value
    logger.init_args.resume_step = step


class RunTensorBoardLogger(TensorBoardLogger):
    """Lightning's logger, which shows the whole config as text and as hyperparameters.

    Args:
        save_dir: the folder of the event files, with the name and version below it.
        resume_step: the step that a resumed run continues from; None for a new run. TensorBoard leaves out what an
            earlier process logged at that step and later, since the run logs these rows again.
        options: further arguments of Lightning's logger.
    """

    def __init__(self, save_dir: str, resume_step: int | None = None, **options: Any) -> None:
        super().__init__(save_dir, **options)
        self._resume_step = resume_step

    @rank_zero_only
    def log_hyperparams(self, params: Any, metrics: dict[str, Any] | None = None, step: int | None = None) -> None:
        """Logs a nested config. Metrics are compared by their curves, so that none is logged here."""
        from torch.utils.tensorboard.summary import hparams

        config = dict(params) if isinstance(params, Mapping) else vars(params)
        self.hparams.update(config)
        if self._resume_step is not None:
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog

            start = Event(session_log=SessionLog(status=SessionLog.START))
            self.experiment.file_writer.add_event(start, self._resume_step)
        self.experiment.add_text("config", f"```yaml\n{yaml.safe_dump(config, sort_keys=False)}```")
        monitor = (config.get("checkpoint") or {}).get("monitor")
        values = {name: _plain(value) for name, value in flatten(config).items()}
        for summary in hparams(values, dict.fromkeys(filter(None, (monitor, "val/acc", "test/acc")), 0.0)):
            self.experiment.file_writer.add_summary(summary)


def _plain(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float) else as_text(value)
