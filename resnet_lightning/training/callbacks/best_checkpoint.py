"""The best checkpoint of a run."""

from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from ...runs.checkpoint_io import save_together


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ``ModelCheckpoint``, except that a metric that is NaN or infinite is never the best.

    A run that is resumed in another folder, or was moved there, keeps the best score so far if its file still exists.
    """

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        return current is not None and bool(torch.isfinite(current)) and super().check_monitor_top_k(trainer, current)

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        save_together(trainer, lambda: super(BestCheckpoint, self)._save_checkpoint(trainer, filepath))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        paths = {path: self._current_path(path) for path in state_dict["best_k_models"]}
        if paths and all(paths.values()):
            scores = {paths[path]: score for path, score in state_dict["best_k_models"].items()}
            own = {"dirpath": self.dirpath, "best_k_models": scores, "last_model_path": ""}
            named = {name: paths.get(state_dict[name], "") for name in ("best_model_path", "kth_best_model_path")}
            super().load_state_dict({**state_dict, **own, **named})

    def _current_path(self, path: str) -> str:
        """Where a checkpoint at ``path`` is now; empty if it is gone."""
        moved = str(Path(self.dirpath or ".") / Path(path).name)
        return next((found for found in (path, moved) if Path(found).is_file()), "")
