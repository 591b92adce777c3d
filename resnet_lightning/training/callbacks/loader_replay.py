"""Lets any data loader continue where an interrupted run stopped."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ...data.loading.on_device import DeviceLoader
from ..gathering import gather
from ..random_states import random_states, restore_random_states
from ..state_checks import restoring

_log = logging.getLogger(__name__)

_CPU = torch.device("cpu")
_RECORD = "record of the data loaders"


class LoaderReplay(Callback):
    """Makes a resumed run read the same batches as the uninterrupted one, from loaders that cannot resume on their own.

    The order of such a loader follows from the random states at the start of an epoch. They are saved. In a resumed
    run, the loader starts the epoch with them again, and the batches that were trained on before are read and dropped.

    Loaders of this package, and loaders with a ``state_dict``, continue on their own and are left alone. A
    random generator that only the user's data set holds is not restored, nor are numbers that the module itself draws
    in ``on_train_epoch_start``.

    It must come after ``ExactResume``.
    """

    def __init__(self) -> None:
        self._is_needed = False
        self._is_started = False  # whether the loaders have started the epoch that comes next
        self._reads_here = False  # whether a loader reads, and may draw random numbers, in this process
        self._batches = 0  # trained on in this epoch
        self._epoch_start: dict[str, Any] = {}
        self._before_batch: dict[str, Any] | None = None
        self._saved: list[dict[str, Any]] | None = None  # of each process, in the checkpoint that the run resumes from

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if not self._is_needed:
            return
        own = {
            "batches": self._batches,
            "epoch_start": self._epoch_start,
            "before_batch": self._before_batch,
            "generators": _generator_states(_loaders(trainer)),
        }
        checkpoint["loader_replay"] = gather(trainer, own)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._saved = checkpoint.get("loader_replay")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loaders = _loaders(trainer)
        self._is_needed = not any(_continues(loader) for loader in loaders)
        self._reads_here = any(getattr(loader, "num_workers", 0) == 0 for loader in loaders)
        saved, self._saved = self._saved, None
        self._batches, self._before_batch = 0, None
        if not self._is_needed:
            return
        own = None
        with restoring(_RECORD):
            if saved and len(saved) == trainer.world_size:
                own = saved[trainer.global_rank]
                _check(own)
        epochs: Any = trainer.fit_loop.epoch_progress.current
        self._is_started = True
        if own is None or epochs.ready == epochs.processed:  # at the start of an epoch
            if own is not None:
                with restoring(_RECORD):
                    _restore_generators(loaders, own["generators"])
            self._remember_epoch_start(loaders)
            # Lightning has started the loaders already, but the random states at that time are unknown.
            iter(_fetcher(trainer))
            return
        self._batches, self._epoch_start = own["batches"], own["epoch_start"]
        if self._batches < trainer.num_training_batches:
            self._replay(trainer, loaders, epochs.processed, own["before_batch"])

    def _replay(
        self, trainer: Trainer, loaders: Sequence[Any], epoch: int, before_batch: dict[str, Any] | None
    ) -> None:
        """Starts the epoch again, and drops the batches that were trained on before."""
        now = random_states(_CPU)
        with restoring(_RECORD):
            restore_random_states(self._epoch_start["random"], _CPU)
            _restore_generators(loaders, self._epoch_start["generators"])
        for loader in loaders:
            for sampler in (getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
                set_epoch = getattr(sampler, "set_epoch", None)
                if set_epoch:
                    set_epoch(epoch)
        if trainer.is_global_zero:
            _log.info("reads the %d batches again that this epoch was trained on before", self._batches)
        fetcher = _fetcher(trainer)
        iter(fetcher)
        for _ in range(self._batches):
            next(fetcher)
        fetcher.fetched = 0  # Lightning adds the batches of the interrupted epoch itself
        with restoring(_RECORD):
            restore_random_states(before_batch or now, _CPU)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batches = 0
        if self._is_needed and not self._is_started:
            self._remember_epoch_start(_loaders(trainer))
        self._is_started = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._batches += 1
        self._remember_before_batch()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._remember_before_batch()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._is_started = False

    def _remember_epoch_start(self, loaders: Sequence[Any]) -> None:
        self._epoch_start = {"random": random_states(_CPU), "generators": _generator_states(loaders)}

    def _remember_before_batch(self) -> None:
        # A checkpoint is written after the next batch has been read.
        if self._is_needed and self._reads_here:
            self._before_batch = random_states(_CPU)


def _check(own: dict[str, Any]) -> None:
    """Raises a ``ValueError`` or ``KeyError`` if this is not what ``on_save_checkpoint`` has saved of a process."""
    if not isinstance(own["batches"], int) or own["batches"] < 0 or not isinstance(own["generators"], list):
        raise ValueError("batches")
    if own["epoch_start"] and not {"random", "generators"} <= own["epoch_start"].keys():
        raise ValueError("epoch_start")
    _ = own["before_batch"]


def _fetcher(trainer: Trainer) -> Any:
    return trainer.fit_loop._data_fetcher


def _loaders(trainer: Trainer) -> list[Any]:
    return _fetcher(trainer).combined_loader.flattened


def _continues(loader: Any) -> bool:
    """Whether a loader can resume inside an epoch on its own."""
    return isinstance(loader, DeviceLoader) or hasattr(loader, "load_state_dict")


def _generators(loaders: Sequence[Any]) -> list[torch.Generator]:
    """Returns the random generators of loaders and of their samplers, each once."""
    found: list[torch.Generator] = []
    for loader in loaders:
        sampler, batch_sampler = getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)
        for owner in (loader, sampler, batch_sampler, getattr(batch_sampler, "sampler", None)):
            generator = getattr(owner, "generator", None)
            if isinstance(generator, torch.Generator) and all(generator is not other for other in found):
                found.append(generator)
    return found


def _generator_states(loaders: Sequence[Any]) -> list[Tensor]:
    return [generator.get_state() for generator in _generators(loaders)]


def _restore_generators(loaders: Sequence[Any], states: Sequence[Tensor]) -> None:
    for generator, state in zip(_generators(loaders), states, strict=False):
        generator.set_state(state)
