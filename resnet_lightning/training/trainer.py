"""The trainer of a run: which callbacks, loggers and plugins it gets, and in which order."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lightning import Callback, Trainer
from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.callbacks import Checkpoint, LearningRateMonitor, ProgressBar
from lightning.pytorch.loggers import Logger
from rich.console import Console

from ..errors import InputError
from ..runs import folder as runs
from ..runs.checkpoint_io import WholeCheckpoints
from . import tuner
from .callbacks import (
    BestCheckpoint,
    Evaluation,
    ExactResume,
    FiniteLoss,
    FirstBatch,
    GradientNorm,
    LastCheckpoint,
    PredictionWriter,
    RunProgress,
    RunRecord,
    Throughput,
)

_Callback = TypeVar("_Callback", bound=Callback)


def training_trainer(
    options: Mapping[str, Any], console: Console, record: RunRecord | None, best: BestCheckpoint | None
) -> Trainer:
    """The trainer of ``fit``.

    Args:
        options: the arguments of ``Trainer``; ours are added to its callbacks, loggers and plugins.
        console: where the progress is shown.
        record: what the run's folder gets besides metrics and checkpoints; None for a run that keeps nothing.
        best: which checkpoint is the best; None if the run does not validate.

    Raises:
        InputError: if the accelerator, the strategy or their combination does not exist.
    """
    folder = record.folder if record else None
    loggers = _loggers(options)
    if folder and options["logger"] is not False:
        loggers.insert(0, runs.csv_logger(folder))
    callbacks = _with_progress(options, console)
    if loggers and not any(isinstance(callback, LearningRateMonitor) for callback in callbacks):
        callbacks.append(LearningRateMonitor(logging_interval="epoch"))
    callbacks += [Throughput(), GradientNorm(), FiniteLoss()]
    if folder and record:
        # After all callbacks that draw random numbers when training starts.
        callbacks += [ExactResume(), record, FirstBatch(folder), Evaluation(folder)]
        if options["enable_checkpointing"] is not False:
            callbacks = _with_checkpoints(callbacks, folder / "checkpoints", best)
    return _trainer(options, callbacks, loggers)


def evaluating_trainer(options: Mapping[str, Any], console: Console, predictions: PredictionWriter | None) -> Trainer:
    """The trainer of ``validate``, ``test`` and ``predict``.

    Args:
        options: the arguments of ``Trainer``.
        console: where the progress is shown.
        predictions: what ``predict`` writes.

    Raises:
        InputError: if the accelerator, the strategy or their combination does not exist.
    """
    callbacks = _with_progress(options, console)
    return _trainer(options, [*callbacks, *([predictions] if predictions else [])], _loggers(options))


def tuning_trainer(options: Mapping[str, Any]) -> Trainer:
    """The trainer for ``tuner``: a short training that keeps, logs and shows nothing.

    Raises:
        InputError: if the accelerator, the strategy or their combination does not exist.
    """
    nothing = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "callbacks": None}
    length = {"max_steps": tuner.STEPS, "max_epochs": -1}
    return _checked_trainer({**options, **nothing, **length, "enable_progress_bar": False})


def find_callback(trainer: Trainer, kind: type[_Callback]) -> _Callback | None:
    """Returns the first callback of a class, if there is one."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, kind)), None)


def _with_progress(options: Mapping[str, Any], console: Console) -> list[Callback]:
    callbacks: list[Callback] = as_list(options["callbacks"])
    if options["enable_progress_bar"] is not False and not any(isinstance(c, ProgressBar) for c in callbacks):
        callbacks.append(RunProgress(console=console))
    return callbacks


def _with_checkpoints(callbacks: Sequence[Callback], folder: Path, best: BestCheckpoint | None) -> list[Callback]:
    """Puts ``LastCheckpoint`` first, since it saves before anything happens to the next batch, and the best last."""
    last = next((callback for callback in callbacks if isinstance(callback, LastCheckpoint)), LastCheckpoint())
    last.folder = folder
    callbacks = [last, *(callback for callback in callbacks if callback is not last)]
    if best is None:
        return callbacks
    best.dirpath = best.dirpath or str(folder)  # the constructor would make the path absolute
    return [*callbacks, best]


def _loggers(options: Mapping[str, Any]) -> list[Logger]:
    return [logger for logger in as_list(options["logger"]) if isinstance(logger, Logger)]


def _trainer(options: Mapping[str, Any], callbacks: Iterable[Callback], loggers: Sequence[Logger]) -> Trainer:
    plugins = as_list(options["plugins"])
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins.append(WholeCheckpoints())
    if _is_started_by_slurm() and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
        # `LastCheckpoint` requeues the job where a run can be resumed. Lightning would also do it outside of training,
        # and leave a checkpoint in `runs/` that each new run on SLURM would then start from.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    callbacks = list(callbacks)
    ours = {
        "logger": list(loggers) or False,
        "callbacks": callbacks,
        "enable_model_summary": bool(options["enable_model_summary"]),  # one line shows the model's size instead
        "plugins": plugins,
        # Lightning would add a checkpoint callback with file names of its own if there is none.
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
    }
    return _checked_trainer({**options, **ours})


def _checked_trainer(options: Mapping[str, Any]) -> Trainer:
    try:
        return Trainer(**options)
    except (ValueError, TypeError) as error:  # an accelerator or a strategy that does not exist
        raise InputError(f"trainer: {error}") from error


def _is_started_by_slurm() -> bool:
    """Whether SLURM starts the processes. Inside of a job, torchrun may do so instead."""
    return SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()


def as_list(value: Any) -> list[Any]:
    """Returns the items of an option that may be one item, a list or nothing."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]
