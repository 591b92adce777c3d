"""Logs the norm of the gradients."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer


class GradientNorm(Callback):
    """Logs ``train/grad_norm``: the norm of all gradients before clipping, averaged over the steps of an epoch.

    Steps whose norm is infinite or NaN are left out of the average. In float16 they occur now and then, and the
    optimizer skips them.
    """

    def __init__(self) -> None:
        self._sum: Tensor | float = 0.0
        self._steps: Tensor | int = 0

    def state_dict(self) -> dict[str, Any]:
        return {"sum": torch.as_tensor(self._sum).cpu(), "steps": torch.as_tensor(self._steps).cpu()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # A state of another type or shape fails here, where it is known to come from the checkpoint.
        self._sum, self._steps = (torch.as_tensor(state_dict[name]).reshape(()) for name in ("sum", "steps"))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._sum = torch.as_tensor(self._sum, device=pl_module.device)
        self._steps = torch.as_tensor(self._steps, device=pl_module.device)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._sum, self._steps = 0.0, 0

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        norm = gradient_norm(pl_module).float()  # bfloat16 is too imprecise for a sum over an epoch
        is_finite = norm.isfinite()  # kept on the device, so that the step does not wait for it
        self._sum = self._sum + torch.where(is_finite, norm, 0.0)
        self._steps = self._steps + is_finite

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(self._steps, Tensor):
            return  # a module that optimizes manually may make no optimizer step in an epoch
        # The value is the same in each process. Without sync_dist, Lightning warns.
        pl_module.log("train/grad_norm", self._sum / self._steps, sync_dist=True)


def gradient_norm(module: LightningModule) -> Tensor:
    """Returns the Euclidean norm of all gradients of a module together, over all processes if the module is sharded."""
    norm = get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def local_part(tensor: Tensor) -> Tensor:
    """Returns this process's part of a tensor, which is the whole tensor unless it is sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
