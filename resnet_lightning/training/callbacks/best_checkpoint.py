"""The best checkpoint of a run."""

import contextlib
import itertools
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from ...checkpoint_file import read_checkpoint
from ...errors import InputError
from ...runs.checkpoint_io import save_together
from ..state_checks import malformed

_log = logging.getLogger(__name__)


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ``ModelCheckpoint``, with three differences.

    A metric that is NaN or infinite is never the best.

    If several checkpoints are kept (``save_top_k``), each has its own name, such as ``best-epoch=3-step=80.ckpt``, and
    ``best.ckpt`` is always the best of them.

    A resumed run keeps the best scores so far whose files still hold what they held then: the run's folder may have
    been moved or copied, and a file may be missing, damaged or overwritten since. What ``last.ckpt`` counts among the
    best is kept until the next ``last.ckpt``, even if a better one replaces it before.
    """

    _resumes = True  # whether a state that is loaded is that of a training
    _steps: dict[str, int] | None = None  # by path, the step at which it was saved
    _resumable: frozenset[str] = frozenset()  # the best checkpoints according to `last.ckpt`
    _displaced: tuple[str, ...] = ()  # those of them that a killed process has replaced or removed

    @property
    def best_path(self) -> str:
        """The path of the best checkpoint; empty if none is saved yet."""
        return self._link if self.best_model_path and self._keeps_several else self.best_model_path

    @property
    def _keeps_several(self) -> bool:
        return self.save_top_k not in (0, 1)

    @property
    def _link(self) -> str:
        """The name that the best of several checkpoints has besides its own."""
        name = self.filename if self.filename and "{" not in self.filename else "best"
        return os.path.join(self.dirpath or ".", f"{name}{self.FILE_EXTENSION}")

    def format_checkpoint_name(
        self,
        metrics: dict[str, Tensor],
        filename: str | None = None,
        ver: int | None = None,
        prefix: str | None = None,
    ) -> str:
        own = self.filename
        if self._keeps_several and own and "{step" not in own:
            own = f"{own}-{{step}}" if "{" in own else f"{own}-{{epoch}}-{{step}}"
        return super().format_checkpoint_name(metrics, filename or own, ver, prefix)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        return current is not None and bool(torch.isfinite(current)) and super().check_monitor_top_k(trainer, current)

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        steps = self._steps or {}
        kept = {path: step for path, step in steps.items() if path in self.best_k_models}
        self._steps = {**kept, filepath: trainer.global_step}
        unchanged = self.best_k_models.keys() - {filepath}  # Lightning replaces or removes the others now
        for path in self._resumable - unchanged if trainer.is_global_zero else ():
            with contextlib.suppress(OSError):  # it is missing, or the disk is full
                _link(path, _kept(path))
        self._resumable &= unchanged
        save_together(trainer, lambda: super(BestCheckpoint, self)._save_checkpoint(trainer, filepath))
        if filepath == self.best_model_path:
            self._update_link(trainer)

    def _update_link(self, trainer: Trainer) -> None:
        if not (self._keeps_several and trainer.is_global_zero):
            return
        link = Path(self._link)
        link.parent.mkdir(parents=True, exist_ok=True)  # a new run that starts from a checkpoint has saved none yet
        _link(self.best_model_path, link)

    # Resuming.

    def after_last_checkpoint(self, trainer: Trainer) -> None:
        """Removes what only the ``last.ckpt`` before this one counted among the best."""
        self._resumable = frozenset(filter(self._is_in_folder, self.best_k_models))
        folders = {Path(path).parent for path in self._resumable} if trainer.is_global_zero else set()
        for path in itertools.chain(*(folder.glob(f"*{self.FILE_EXTENSION}.kept") for folder in folders)):
            path.unlink(missing_ok=True)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self._resumes = stage == "fit"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        for path in self._displaced if trainer.is_global_zero else ():
            _kept(path).replace(path)
        self._displaced = ()
        if self.best_model_path:
            self._update_link(trainer)  # it may be newer than the checkpoint that the run resumed from

    def follow_folder(self, trainer: Trainer, folder: Path | None) -> None:
        """Keeps the best checkpoints in the run's folder where it is now, if they are in it; None if it is nowhere."""
        if folder is None or self.dirpath is None or os.path.isdir(self.dirpath):
            return
        old = str(self.dirpath)
        self.dirpath = str(folder / Path(old).name)
        moved = {path: _moved(path, old, self.dirpath) for path in self.best_k_models}
        self.best_k_models = {moved[path]: score for path, score in self.best_k_models.items()}
        self._steps = {moved.get(path, path): step for path, step in (self._steps or {}).items()}
        self._resumable = frozenset(_moved(path, old, self.dirpath) for path in self._resumable)
        self.best_model_path = _moved(self.best_model_path, old, self.dirpath)
        self.kth_best_model_path = _moved(self.kth_best_model_path, old, self.dirpath)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "steps": dict(self._steps or {})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if not self._resumes:  # the test of the best checkpoint, whose state is older than this one
            return
        if self.monitor is None:
            paths = self._paths_now(state_dict["best_model_path"], state_dict)
            self.best_model_path = next((path for path in paths if Path(path).is_file()), "")
            return
        models = state_dict["best_k_models"]
        if not isinstance(models, dict) or not all(isinstance(path, str) for path in models):
            raise malformed("record of the best checkpoints")
        steps: dict[str, int] = state_dict.get("steps", {})  # older checkpoints have none
        found: dict[str, Tensor] = {}
        self._steps, displaced = {}, []
        for path, score in models.items():
            for now in self._paths_now(path, state_dict):
                names = (now, _kept(now)) if self._is_in_folder(now) else (now,)
                file = next((f for f in names if self._was_saved_with(f, score, steps.get(path))), None)
                if file is not None:
                    found[now] = score
                    self._steps |= {now: steps[path]} if path in steps else {}
                    displaced += [now] if file != now else []
                    break
        self._resumable, self._displaced = frozenset(filter(self._is_in_folder, found)), tuple(displaced)
        lost = len(models) - len(found)
        if lost:
            _warn(
                f"{lost} of the best checkpoints so far cannot be kept: missing, damaged or overwritten since; the "
                f"best {self.monitor} is that of the others and of the epochs from here on"
            )
        if found:
            self._set_best(found)

    def _set_best(self, scores: Mapping[str, Tensor]) -> None:
        ranked = sorted(scores, key=lambda path: float(scores[path]), reverse=self.mode == "max")
        kept = ranked if self.save_top_k == -1 else ranked[: max(self.save_top_k, 1)]
        self.best_k_models = {path: scores[path] for path in scores if path in kept}
        self.best_model_path, self.best_model_score = kept[0], scores[kept[0]]
        if len(kept) == self.save_top_k or self.save_top_k == -1:
            self.kth_best_model_path, self.kth_value = kept[-1], scores[kept[-1]]

    def _paths_now(self, path: str, state: Mapping[str, Any]) -> list[str]:
        """Where a checkpoint may be now: at its place in the folder of this run, or where it was."""
        if not path:
            return []
        return [_moved(path, state.get("dirpath"), self.dirpath), path]

    def _is_in_folder(self, path: str) -> bool:
        """Whether a checkpoint is in the folder of this run, and not that of a run from which this one has started."""
        return self.dirpath is not None and Path(self.dirpath).absolute() in Path(path).absolute().parents

    def _was_saved_with(self, path: str | Path, score: Tensor, step: int | None) -> bool:
        """Whether a file is the checkpoint that was saved with that score, at that step if it is known."""
        with contextlib.suppress(InputError, LookupError, TypeError, ValueError, AttributeError):
            saved = read_checkpoint(path)
            own = saved["callbacks"][self.state_key]["current_score"]
            return step in (None, saved["global_step"]) and isinstance(score, Tensor) and float(own) == float(score)
        return False


def with_moved_paths(state: Mapping[str, Any], folder: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Returns the state of any ``ModelCheckpoint`` for the folder that its files were moved or copied to.

    If no file is there, the state stays as it is.
    """
    old = state.get("dirpath")
    moved = {path: _moved(path, old, folder) for path in state.get("best_k_models", {})}
    scores = {now: state["best_k_models"][path] for path, now in moved.items() if Path(now).is_file()}
    best = _moved(state.get("best_model_path", ""), old, folder)
    if folder is None or old is None or os.path.realpath(old) == os.path.realpath(folder) or not Path(best).is_file():
        return dict(state)
    others = {name: _moved(state.get(name, ""), old, folder) for name in ("kth_best_model_path", "last_model_path")}
    return {**state, "dirpath": folder, "best_model_path": best, "best_k_models": scores, **others}


def _kept(path: str) -> Path:
    """Returns the name of a best checkpoint while only ``last.ckpt`` counts it among the best."""
    return Path(f"{path}.kept")


def _link(path: str, link: Path) -> None:
    """Gives a file a second name, which another file may have had."""
    part = link.with_name(f"{link.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(path, part)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, part)
    part.replace(link)


def _moved(path: str, old: str | None, new: str | os.PathLike[str] | None) -> str:
    if not path:
        return ""
    name = os.path.relpath(path, old or Path(path).parent)
    return os.path.join(new or ".", Path(path).name if name.startswith(os.pardir) else name)


@rank_zero_only
def _warn(line: str) -> None:
    _log.warning(line)
