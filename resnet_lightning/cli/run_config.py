"""Changes to a parsed config before its objects are built, which apply to one run only."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning import Callback, LightningDataModule

from ..data import PredictionDataModule
from ..runs.wandb_logger import make_resumable, wandb_is_usable
from ..training.callbacks import MovingAverage
from ..training.trainer import as_list


def complete(config: Namespace, command: str, folder: Path | None, checkpoint: dict[str, Any] | None) -> None:
    """Changes the config of a subcommand in place.

    Args:
        config: the options of the subcommand.
        command: its name.
        folder: of the run; None in runs that keep nothing.
        checkpoint: what the run starts from.
    """
    if checkpoint is not None:
        if command == "predict":
            _predict_without_training_data(config, checkpoint.get("run"))
        # It holds all weights. The file that the model was once initialized from may be gone.
        (config.model.backbone_args or {}).pop("pretrained", None)
    if config.checkpoint.save_on_train_epoch_end is None and (config.checkpoint.monitor or "").startswith("val/"):
        # Right after the validation, not amid the other work at the end of an epoch: only there a run resumes exactly.
        config.checkpoint.save_on_train_epoch_end = False
    for callback in as_list(config.trainer.callbacks):
        if getattr(callback, "class_path", "").endswith(".EMAWeightAveraging"):
            callback.class_path = _path_of(MovingAverage)
    for logger in as_list(config.trainer.logger):
        if getattr(logger, "class_path", "").endswith(".WandbLogger"):
            logger.init_args.save_dir = str(folder or config.trainer.default_root_dir)
            if command == "fit" and folder:
                make_resumable(logger, folder)
            if logger.init_args.get("mode") is None and not wandb_is_usable():
                logger.init_args.mode = "offline"


def _predict_without_training_data(config: Namespace, run: dict[str, Any] | None) -> None:
    """Replaces the data set by the folder of images alone: the checkpoint stores all else that is needed of it."""
    options = config.data.get("init_args") or Namespace()
    is_ours = config.data.class_path.startswith("resnet_lightning.")  # another class may read images in its own way
    if run is None or not is_ours or not options.get("predict_folder"):
        return
    arguments = PredictionDataModule.options_for(run["data"], options.as_dict())
    config.data = Namespace(class_path=_path_of(PredictionDataModule), init_args=Namespace(**arguments))


def _path_of(kind: type[Callback | LightningDataModule]) -> str:
    return f"{kind.__module__}.{kind.__name__}"
