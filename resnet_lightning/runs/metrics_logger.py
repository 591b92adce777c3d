"""The logger that writes ``metrics.csv``, and one that writes nothing; modules call other loggers' methods on both."""

import functools
import logging
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import DummyLogger, rank_zero_experiment

from .subprocesses import is_first_process

_log = logging.getLogger(__name__)

# What modules write to TensorBoard, as ``self.logger.experiment.add_image(...)``, and to W&B, as
# ``self.logger.log_image(...)``. A table of numbers takes none of it.
_OF_TENSORBOARD = (
    "add_audio add_custom_scalars add_embedding add_figure add_graph add_histogram add_hparams add_image "
    "add_image_with_boxes add_images add_mesh add_pr_curve add_scalar add_scalars add_tensor add_text add_video"
).split()
_OF_WANDB = "log_audio log_image log_table log_text log_video watch".split()


class MetricsLogger(CSVLogger):
    """Lightning's CSV logger, which leaves out what a table cannot hold, such as images, with one line for each kind.

    Lightning's own examples call the methods of TensorBoard's or W&B's logger, whatever logger a run has.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), name="", version="")
        self._left_out: set[str] = set()
        for name in _OF_WANDB:
            setattr(self, name, functools.partial(self._leave_out, name))

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        writer = super().experiment
        for name in () if hasattr(writer, _OF_TENSORBOARD[0]) else _OF_TENSORBOARD:
            setattr(writer, name, functools.partial(self._leave_out, name))
        return writer

    def _leave_out(self, method: str, *args: Any, **options: Any) -> None:
        if method not in self._left_out and is_first_process():
            overlay = "wandb" if method in _OF_WANDB else "tensorboard"
            _log.info("metrics.csv takes numbers only: %s is left out; for it, give --overlay %s", method, overlay)
        self._left_out.add(method)


class Unlogged(DummyLogger):
    """Lightning's logger that has every method and writes nothing, for commands that record no run.

    Args:
        folder: where profilers write.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = folder

    @property
    def save_dir(self) -> str:
        return self._folder
