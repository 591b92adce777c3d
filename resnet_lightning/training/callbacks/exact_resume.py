"""What Lightning leaves out of a checkpoint, so that a resumed run is the run that was never interrupted."""

import logging
import random
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor
from torch.distributed.tensor import DTensor
from torchmetrics import Metric

_log = logging.getLogger(__name__)


class ExactResume(Callback):
    """Saves and restores random states, gradients of a step that has not ended, metrics of an epoch that has not, and
    the metrics that were last logged.

    With it a run that goes on from a checkpoint is bitwise the uninterrupted one, as long as the number of processes
    stays the same; with another number, all but the metrics that were logged begins anew. The order of the images is
    the loader's matter: here it is a function of (seed, epoch, step).

    It has to come after all callbacks that draw random numbers when training starts.
    """

    def __init__(self) -> None:
        self._state: dict[str, Any] | None = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        own = {"random": _random_states(pl_module.device), "metrics": _metric_states(pl_module)}
        batches: Any = trainer.fit_loop.epoch_loop.batch_progress
        if batches.current.completed % trainer.accumulate_grad_batches and not batches.is_last_batch:
            own["gradients"] = {n: _local(p.grad).cpu() for n, p in pl_module.named_parameters() if p.grad is not None}
        of_all: list[Any] = [own]
        if trainer.world_size > 1:
            of_all = [None] * trainer.world_size
            torch.distributed.all_gather_object(of_all, own)
        logged = {name: value.cpu() for name, value in trainer.callback_metrics.items()}
        checkpoint["exact_resume"] = {"processes": of_all, "logged": logged}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._state = checkpoint.get("exact_resume")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._state is None:
            return
        # What schedules, early stopping and the choice of the best read at the end of the epoch.
        trainer.callback_metrics.update({name: v.to(pl_module.device) for name, v in self._state["logged"].items()})
        if len(self._state["processes"]) == trainer.world_size:
            own = self._state["processes"][trainer.global_rank]
            _restore_random_states(own["random"], pl_module.device)
            _restore_metrics(pl_module, own["metrics"])
            parameters = dict(pl_module.named_parameters())
            for name, gradient in own.get("gradients", {}).items():
                parameters[name].grad = _like(parameters[name], gradient.to(parameters[name].device, copy=True))
        elif trainer.is_global_zero:
            _log.warning(
                "the checkpoint is of %d processes and this run has %d: it goes on, but not as exactly the same run",
                len(self._state["processes"]),
                trainer.world_size,
            )
        self._state = None
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping) and callback.wait_count >= callback.patience:
                trainer.should_stop = True  # it had ended here, which Lightning forgets
        epochs: Any = trainer.fit_loop.epoch_progress.current
        if epochs.ready == epochs.processed and trainer.fit_loop.restarting:
            # With `max_steps`, Lightning takes every checkpoint for one from inside an epoch, and would train an
            # empty one.
            trainer.fit_loop.epoch_loop.restarting = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning does not step schedules that watch a metric in an epoch that was resumed, for want of the metrics.
        trainer.fit_loop._restarting = False


def _random_states(device: torch.device) -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state(legacy=True)
    states = {
        "torch": torch.get_rng_state(),
        "numpy": (kind, np.asarray(keys).tolist(), *rest),  # plain, for weights_only=True
        "python": random.getstate(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _restore_random_states(states: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(states["torch"])
    np.random.set_state(states["numpy"])
    random.setstate(states["python"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def _local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process has."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _like(parameter: Tensor, local: Tensor) -> Tensor:
    """What this process has of a tensor that is split up as a parameter is."""
    if not isinstance(parameter, DTensor):
        return local
    mesh, placements = parameter.device_mesh, parameter.placements
    return DTensor.from_local(local, mesh, placements, shape=parameter.shape, stride=parameter.stride())


def _metrics(module: LightningModule) -> dict[str, Metric]:
    return {name: part for name, part in module.named_modules() if isinstance(part, Metric)}


def _metric_states(module: LightningModule) -> dict[str, dict[str, Any]]:
    """Of the metrics that have counted something which is not logged yet.

    Those of a validation that is just over are: they have a result, and are about to be reset.
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
            metrics[name]._update_count = 1  # or it would warn that it had never been updated
            for state, value in values.items():
                setattr(metrics[name], state, _to(value, module.device))


def _to_cpu(value: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
    return _to(value, torch.device("cpu"))


def _to(value: Tensor | list[Tensor], device: torch.device) -> Tensor | list[Tensor]:
    # A copy: the metric goes on counting in its own.
    return [v.to(device, copy=True) for v in value] if isinstance(value, list) else value.to(device, copy=True)
