"""What a run was started with, kept where it can be found again."""

from pathlib import Path
from typing import Any

import yaml
from lightning import Callback, LightningModule, Trainer


class RunRecord(Callback):
    """Writes the config into the run's folder, hands it to the loggers, and puts it into every checkpoint.

    With it goes the data module's state, under a name that is the same for all data modules.

    Args:
        name: of the run, such as ``"digits"``.
        config: the whole config as YAML.
        folder: the run's folder.
    """

    def __init__(self, name: str, config: str, folder: Path) -> None:
        self.name = name
        self.config = config
        self.folder = folder

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "config.yaml").write_text(self.config)
            for logger in trainer.loggers:
                logger.log_hyperparams(yaml.safe_load(self.config))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        data = getattr(trainer, "datamodule", None)
        state = data.state_dict() if data is not None else {}
        checkpoint["run"] = {"name": self.name, "config": self.config, "data": state}
