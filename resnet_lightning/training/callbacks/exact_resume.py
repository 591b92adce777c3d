"""Adds to checkpoints what Lightning leaves out, so that a resumed run equals the uninterrupted one."""

import logging
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor
from torch.distributed.tensor import DTensor
from torchmetrics import Metric

from ..finetuning import frozen_of, restore_frozen, save_frozen
from ..gathering import gather
from ..random_states import random_states, restore_random_states
from ..state_checks import check_optimizer_state, malformed, restoring
from .gradient_norm import local_part

_log = logging.getLogger(__name__)

_RECORD = "record for exact resume"


class ExactResume(Callback):
    """Makes a resumed run bitwise equal to the uninterrupted one.

    It saves and restores the random states, the gradients accumulated for an unfinished optimizer step, the states of
    metrics in an unfinished epoch, the last logged values of all metrics, and what fine-tuning callbacks have frozen.
    If the number of processes has changed, it does so for the logged values and for what is frozen only, and the run is
    no longer exactly the same.

    It does not save the order of the images. The loaders of this package compute it from seed, epoch and step, and
    ``LoaderReplay`` takes care of other loaders.

    It must come after all callbacks that draw random numbers when training starts.
    """

    def __init__(self) -> None:
        self._state: dict[str, Any] | None = None
        self._frozen: dict[str, Any] = {}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        own = {"random": random_states(pl_module.device), "metrics": _metric_states(pl_module)}
        batches: Any = trainer.fit_loop.epoch_loop.batch_progress
        # A module that optimizes manually accumulates gradients as it likes.
        is_accumulating = batches.current.completed % trainer.accumulate_grad_batches and not batches.is_last_batch
        if is_accumulating or not pl_module.automatic_optimization:
            own["gradients"] = {
                n: local_part(p.grad).cpu() for n, p in pl_module.named_parameters() if p.grad is not None
            }
        states = gather(trainer, own)
        logged = {name: value.cpu() for name, value in trainer.callback_metrics.items()}
        checkpoint["exact_resume"] = {"processes": states, "logged": logged}
        save_frozen(trainer, pl_module, checkpoint)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._frozen = frozen_of(checkpoint)
        self._state = checkpoint.get("exact_resume")
        is_whole = isinstance(self._state, dict) and {"logged", "processes"} <= self._state.keys()
        if self._state is not None and not is_whole:
            raise malformed(_RECORD)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        restore_frozen(trainer, pl_module, self._frozen)
        self._frozen = {}
        if self._state is None:
            return
        # Where a scaler skips the first steps in float16, the optimizer has no state yet.
        steps = 0 if str(trainer.precision).startswith("16") else trainer.global_step
        with restoring("state of the optimizer"):
            for optimizer in trainer.optimizers:
                check_optimizer_state(optimizer, steps)
        with restoring(_RECORD):
            self._restore(trainer, pl_module, self._state)
        self._state = None
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping) and callback.wait_count >= callback.patience:
                trainer.should_stop = True  # early stopping ended the run here; Lightning does not restore that
        epochs: Any = trainer.fit_loop.epoch_progress.current
        if epochs.ready == epochs.processed and trainer.fit_loop.restarting:
            # The checkpoint is from the end of an epoch. With `max_steps`, Lightning treats every checkpoint as one
            # from inside an epoch, and would train an epoch without batches.
            trainer.fit_loop.epoch_loop.restarting = False

    def _restore(self, trainer: Trainer, pl_module: LightningModule, state: dict[str, Any]) -> None:
        # Schedules, early stopping and the choice of the best checkpoint read these at the end of the epoch.
        trainer.callback_metrics.update({name: v.to(pl_module.device) for name, v in state["logged"].items()})
        if len(state["processes"]) == trainer.world_size:
            own = state["processes"][trainer.global_rank]
            restore_random_states(own["random"], pl_module.device)
            _restore_metrics(pl_module, own["metrics"])
            parameters = dict(pl_module.named_parameters())
            for name, gradient in own.get("gradients", {}).items():
                parameters[name].grad = _sharded_like(parameters[name], gradient.to(parameters[name].device, copy=True))
        elif trainer.is_global_zero:
            _log.warning(
                "the checkpoint was saved by %d processes, but this run has %d: it resumes, but not exactly",
                len(state["processes"]),
                trainer.world_size,
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # In a resumed epoch, Lightning does not step schedules that monitor a metric, since it lacks the metrics. Here
        # they were restored.
        trainer.fit_loop._restarting = False


def _sharded_like(parameter: Tensor, local: Tensor) -> Tensor:
    """Returns the tensor that is sharded like a parameter and has this local part; undoes ``local_part``."""
    if not isinstance(parameter, DTensor):
        return local
    mesh, placements = parameter.device_mesh, parameter.placements
    return DTensor.from_local(local, mesh, placements, shape=parameter.shape, stride=parameter.stride())


def _metrics(module: LightningModule) -> dict[str, Metric]:
    return {name: part for name, part in module.named_modules() if isinstance(part, Metric)}


def _metric_states(module: LightningModule) -> dict[str, dict[str, Any]]:
    """Returns the states of the metrics that contain values which are not logged yet.

    It leaves out the metrics of a validation that has just ended: these are computed and are about to be reset.
    """
    return {
        name: {state: _to_cpu(value) for state, value in metric.metric_state.items()}
        for name, metric in _metrics(module).items()
        if metric.update_called and metric._computed is None
    }


def _restore_metrics(module: LightningModule, states: dict[str, dict[str, Any]]) -> None:
    metrics = _metrics(module)
    for name, values in states.items():
        if name in metrics:
            metrics[name]._update_count = 1  # at 0, the metric would warn that it was never updated
            for state, value in values.items():
                now = getattr(metrics[name], state)
                if isinstance(now, Tensor) and now.shape != value.shape:  # it would be broadcast
                    raise ValueError(f"{name}.{state}")
                setattr(metrics[name], state, _to(value, module.device))


def _to_cpu(value: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
    return _to(value, torch.device("cpu"))


def _to(value: Tensor | list[Tensor], device: torch.device) -> Tensor | list[Tensor]:
    # Copied, since the metric updates its own state in place.
    return [v.to(device, copy=True) for v in value] if isinstance(value, list) else value.to(device, copy=True)
