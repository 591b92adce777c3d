"""Changes a parsed config for the current run only, before its objects are built."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning import Callback, LightningDataModule

from ..data import PredictionDataModule
from ..errors import InputError
from ..runs import mlflow_logger, tensorboard_logger
from ..runs.wandb_logger import make_resumable, wandb_is_usable
from ..training.callbacks import InitialLearningRateFinder, MovingAverage, ResumableWeightAveraging
from ..training.checkpoint_checks import is_measured_in_validation
from ..training.trainer import as_list

# Callbacks of Lightning that do not continue where they were when a run is resumed, and ours that do.
_RESUMABLE: dict[str, type[Callback]] = {
    "LearningRateFinder": InitialLearningRateFinder,
    "StochasticWeightAveraging": ResumableWeightAveraging,
}


def complete(config: Namespace, command: str, folder: Path | None, checkpoint: dict[str, Any] | None) -> None:
    """Changes the config of a subcommand in place.

    Args:
        config: the options of the subcommand.
        command: its name.
        folder: the run's folder; None if the run saves nothing.
        checkpoint: the checkpoint that the run starts from, if any.

    Raises:
        InputError: if the checkpoint of a run lacks its step.
    """
    if checkpoint is not None:
        if command == "predict":
            _predict_without_training_data(config, checkpoint.get("run"))
        # The checkpoint holds all weights, and the file of the pretrained weights may be gone.
        model = config.model.get("init_args", Namespace()) if "class_path" in config.model else config.model
        (model.get("backbone_args") or {}).pop("pretrained", None)
    if config.checkpoint.save_on_train_epoch_end is None:
        if is_measured_in_validation(config.checkpoint.monitor):
            # Save right after the validation. A checkpoint from the end of the epoch does not resume exactly.
            config.checkpoint.save_on_train_epoch_end = False
        elif (config.checkpoint.monitor or "").startswith("train/"):
            config.checkpoint.save_on_train_epoch_end = True  # in the validation, it is still that of the epoch before
    for callback in as_list(config.trainer.callbacks):
        name = getattr(callback, "class_path", "")
        if name.endswith(".EMAWeightAveraging"):
            callback.class_path = _path_of(MovingAverage)
        elif name.startswith("lightning.pytorch.") and (ours := _RESUMABLE.get(name.rpartition(".")[2])):
            callback.class_path = _path_of(ours)
    if checkpoint is not None and "run" in checkpoint and "global_step" not in checkpoint:
        raise InputError("the checkpoint is malformed: its 'global_step' is missing; use another one")
    step = checkpoint.get("global_step") if command == "fit" and checkpoint is not None else None
    _complete_loggers(config.trainer, command, folder, step)


def _complete_loggers(trainer: Namespace, command: str, folder: Path | None, step: int | None) -> None:
    """Lets the loggers of W&B, TensorBoard and MLflow write into the run's folder and continue a resumed run."""
    place = folder or Path(trainer.default_root_dir)
    kept = []
    for logger in as_list(trainer.logger):
        kind = getattr(logger, "class_path", "").removeprefix("lightning.pytorch.loggers.")
        if kind.endswith(".WandbLogger") or kind == "WandbLogger":
            logger.init_args.save_dir = str(place)
            if command == "fit" and folder:
                make_resumable(logger, folder)
            if logger.init_args.get("mode") is None and not wandb_is_usable():
                logger.init_args.mode = "offline"
        elif trainer.fast_dev_run and kind in ("TensorBoardLogger", "MLFlowLogger"):
            continue  # they write at once, and this run leaves nothing
        elif kind == "TensorBoardLogger":
            tensorboard_logger.prepare(logger, place, step)
        elif kind == "MLFlowLogger":
            mlflow_logger.prepare(logger, place)
        # A loop rather than a set: the same logger may come from the checkpoint's config and from an overlay.
        if logger not in kept:
            kept.append(logger)
    if isinstance(trainer.logger, list):
        trainer.logger = kept


def _predict_without_training_data(config: Namespace, run: dict[str, Any] | None) -> None:
    """Replaces the data set by the folder to predict: the checkpoint stores all other information that is needed."""
    if config.data is None:
        return
    options = config.data.get("init_args") or Namespace()
    is_ours = config.data.class_path.startswith("resnet_lightning.")  # the user's own class may read images differently
    if run is None or not is_ours or not options.get("predict_folder"):
        return
    arguments = PredictionDataModule.options_for(run["data"], options.as_dict())
    config.data = Namespace(class_path=_path_of(PredictionDataModule), init_args=Namespace(**arguments))


def _path_of(kind: type[Callback | LightningDataModule]) -> str:
    return f"{kind.__module__}.{kind.__name__}"
