"""Builds the trainer of a run, with its callbacks in the right order, its loggers and its plugins."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lightning import Callback, Trainer
from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.callbacks import Checkpoint, LearningRateMonitor, ModelCheckpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from rich.console import Console

from ..errors import InputError
from ..runs import folder as runs
from ..runs.checkpoint_io import WholeCheckpoints
from ..runs.metrics_logger import Unlogged
from ..runs.place import Place
from . import tuner
from .callbacks import (
    Agreement,
    BestCheckpoint,
    DataSummary,
    Evaluation,
    ExactResume,
    FiniteLoss,
    FirstBatch,
    GradientNorm,
    LastCheckpoint,
    LoaderReplay,
    MonitoredMetric,
    MultilabelEvaluation,
    RunProgress,
    RunRecord,
    Throughput,
)
from .processes import is_one_of_slurm, is_started_by_slurm, number_of_processes
from .trainer_names import check_names

_Callback = TypeVar("_Callback", bound=Callback)


def training_trainer(
    options: Mapping[str, Any], console: Console, record: RunRecord | None, best: BestCheckpoint | None
) -> Trainer:
    """Returns the trainer of ``fit``.

    Args:
        options: the arguments of ``Trainer``. The package adds its own callbacks, loggers and plugins to them.
        console: where to show the progress.
        record: the callback that records the run in its folder; None for a run that saves nothing.
        best: the callback that saves the best checkpoint; None if the run does not validate.

    Raises:
        InputError: if ``Trainer`` does not accept the options, such as an accelerator that does not exist.
    """
    folder = record.folder if record else None
    loggers = _loggers(options)
    if folder and options["logger"] is not False:
        loggers.append(runs.csv_logger(folder))  # last: `self.logger` of a module is the first, the user's own
    # The user's callbacks may monitor the norm.
    callbacks: list[Callback] = [GradientNorm(), *_with_progress(options, console)]
    if loggers and not any(isinstance(callback, LearningRateMonitor) for callback in callbacks):
        callbacks.append(LearningRateMonitor(logging_interval="epoch"))
    agreement = Agreement()
    callbacks += [DataSummary(console), Throughput(), FiniteLoss(agreement)]
    if folder and record:
        # ExactResume comes after all callbacks that draw random numbers when training starts.
        callbacks += [ExactResume(), LoaderReplay(), record, FirstBatch(folder), Evaluation(folder)]
        callbacks.append(MultilabelEvaluation(folder))
        if options["enable_checkpointing"] is not False:
            callbacks = _with_checkpoints(callbacks, folder / "checkpoints", best, agreement)
    trainer = _trainer(options, callbacks, loggers)
    if folder and trainer.profiler.dirpath is None:  # type: ignore[attr-defined]
        trainer.profiler.dirpath = folder  # type: ignore[attr-defined]  # not that of the user's logger
    return trainer


def evaluating_trainer(options: Mapping[str, Any], console: Console, own: Sequence[Callback]) -> Trainer:
    """Returns the trainer of ``validate``, ``test`` and ``predict``.

    Args:
        options: the arguments of ``Trainer``.
        console: where to show the progress.
        own: the callbacks of this command, such as the one that writes the predictions.

    Raises:
        InputError: if ``Trainer`` does not accept the options, such as an accelerator that does not exist.
    """
    callbacks = _with_progress(options, console)
    loggers = _loggers(options) or [Unlogged(options.get("default_root_dir") or ".")]  # a module may log by itself
    return _trainer(options, [*callbacks, *own], loggers)


def tuning_trainer(options: Mapping[str, Any]) -> Trainer:
    """Returns the trainer for ``tuner``, for a short training that saves, logs and shows nothing.

    Raises:
        InputError: if ``Trainer`` does not accept the options, such as an accelerator that does not exist.
    """
    nothing: dict[str, Any] = {"enable_checkpointing": False, "enable_model_summary": False, "callbacks": None}
    nothing["logger"] = Unlogged(options.get("default_root_dir") or ".")  # a module may log by itself
    nothing["plugins"] = [*as_list(options["plugins"]), WholeCheckpoints()]  # the tuner restores the weights
    length = {"max_steps": tuner.STEPS, "max_epochs": -1}
    return _checked_trainer({**options, **nothing, **length, "enable_progress_bar": False})


def find_callback(trainer: Trainer, kind: type[_Callback]) -> _Callback | None:
    """Returns the trainer's first callback of a class; None if there is none."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, kind)), None)


def _with_progress(options: Mapping[str, Any], console: Console) -> list[Callback]:
    callbacks: list[Callback] = as_list(options["callbacks"])
    if options["enable_progress_bar"] is not False and not any(isinstance(c, ProgressBar) for c in callbacks):
        callbacks.append(RunProgress(console=console))
    return callbacks


def _with_checkpoints(
    callbacks: Sequence[Callback], folder: Path, best: BestCheckpoint | None, agreement: Agreement
) -> list[Callback]:
    """Adds the callbacks that write checkpoints: ``LastCheckpoint`` first, as it must be, and the best one last."""
    last = next((callback for callback in callbacks if isinstance(callback, LastCheckpoint)), LastCheckpoint())
    last.folder, last.agreement, last.place = folder, agreement, Place.of_a_run(folder.parent)
    callbacks = [last, *(callback for callback in callbacks if callback is not last)]
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            callback.dirpath = str(folder)  # not that of the user's logger
    if best is None:
        return callbacks
    best.dirpath = best.dirpath or str(folder)  # the constructor would make the path absolute
    return [*callbacks, MonitoredMetric(best), best]


def _loggers(options: Mapping[str, Any]) -> list[Logger]:
    return [logger for logger in as_list(options["logger"]) if isinstance(logger, Logger)]


def _trainer(options: Mapping[str, Any], callbacks: Iterable[Callback], loggers: Sequence[Logger]) -> Trainer:
    plugins = as_list(options["plugins"])
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins.append(WholeCheckpoints())
    if is_started_by_slurm() and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
        plugins.append(_slurm_environment(options))
    callbacks = list(callbacks)
    changed = {
        "logger": list(loggers) or False,
        "callbacks": callbacks,
        "enable_model_summary": bool(options["enable_model_summary"]),  # one line shows the model's size instead
        "plugins": plugins,
        # Without any checkpoint callback, Lightning would add one, with file names of its own.
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
    }
    return _checked_trainer({**options, **changed})


def _slurm_environment(options: Mapping[str, Any]) -> ClusterEnvironment:
    if not is_one_of_slurm(number_of_processes(options["accelerator"], options["devices"], options["num_nodes"])):
        return LightningEnvironment()
    # `LastCheckpoint` requeues the job if the run can be resumed. Lightning would also requeue it outside of training,
    # and leave a checkpoint in `runs/` from which each new run on SLURM would then start.
    try:
        return SLURMEnvironment(auto_requeue=False)
    except RuntimeError as error:  # it requires other options of sbatch
        raise InputError(f"SLURM: {error}") from error


def _checked_trainer(options: Mapping[str, Any]) -> Trainer:
    check_names(options)
    try:
        return Trainer(**options)
    except (ValueError, TypeError) as error:  # such as an accelerator that does not exist
        raise InputError(f"trainer: {error}") from error


def as_list(value: Any) -> list[Any]:
    """Returns the value of an option as a list: the option may be a list, a single item or None."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]
