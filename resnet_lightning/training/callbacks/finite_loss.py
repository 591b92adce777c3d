"""Stops a training whose loss or weights are NaN or infinite."""

import math
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.parameter import is_lazy

from ...errors import InputError
from ..data_protocol import image_data
from ..gathering import gather
from .agreement import Agreement
from .gradient_norm import gradient_norm, local_part

_SHOWN = 8  # images of a batch that a message names


class FiniteLoss(Callback):
    """Ends the training at a step whose loss is NaN or infinite, before the optimizer step.

    A process on a GPU, and one of several, checks the loss one step later, so that no step waits for the device or for
    another process. No checkpoint is written in between.

    The loss is finite in the step that makes the weights infinite. They are checked before each checkpoint and at the
    end of the training.

    Args:
        agreement: by which several processes agree that a loss is not finite.

    Raises:
        InputError: naming the step, the learning rate, the gradient norm and the images of the batch.
    """

    def __init__(self, agreement: Agreement | None = None) -> None:
        self._agreement = agreement or Agreement()
        self._batch_idx = 0
        self._loss: _Loss | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.check(trainer)  # the previous step's loss, while its gradients still exist
        self._batch_idx = batch_idx

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self.check(trainer)  # of a step with several losses
        lr = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else math.nan
        self._loss = _Loss(loss, trainer.current_epoch, self._batch_idx, trainer.global_step, lr)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size > 1 and self._loss is not None:
            self._agreement.start(trainer, ~self._loss.loss.isfinite())
        elif trainer.strategy.root_device.type != "cuda":
            self.check(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        check_weights(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        check_weights(trainer)

    def check(self, trainer: Trainer) -> None:
        """Checks the newest loss, unless it was checked already."""
        loss, self._loss = self._loss, None
        if loss is None:
            return
        is_finite = math.isfinite(loss.value())
        if trainer.world_size > 1:
            (is_not_finite, *_) = self._agreement.result()
            if not is_not_finite:
                return
        elif is_finite:
            return
        # All processes take part: they must end together, and the gradient norm of a sharded model is a sum over them.
        message = _describe(trainer, loss)
        messages = gather(trainer, None if is_finite else message)
        raise InputError(next(message for message in messages if message))


def check_weights(trainer: Trainer) -> None:
    """Checks that the newest loss, all weights and the running statistics of norms are finite, in all processes.

    Raises:
        InputError: if not.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, FiniteLoss):
            callback.check(trainer)  # its message says more
    if trainer.strategy.reduce_boolean_decision(_is_finite(trainer.lightning_module)):
        return
    lr = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else 0.0
    raise InputError(
        f"the weights are NaN or infinite after step {trainer.global_step}: learning "
        f"rate {lr:.3g}; they were not saved; a smaller --model.lr may help"
    )


def _is_finite(module: LightningModule) -> bool:
    statistics = (b for name, b in module.named_buffers() if name.endswith(("running_mean", "running_var")))
    tensors = (local_part(t.detach()) for t in (*module.parameters(), *statistics) if not is_lazy(t))
    # One transfer from the device. The sum of a tensor could overflow; its extremes cannot.
    are_finite = [
        torch.stack(tensor.aminmax()).isfinite().all().to(module.device)
        for tensor in tensors
        if tensor.is_floating_point() and tensor.numel()
    ]
    return not are_finite or bool(torch.stack(are_finite).all())


class _Loss:
    """The loss of a step. It is copied from a GPU without waiting."""

    def __init__(self, loss: Tensor, epoch: int, batch_idx: int, step: int, lr: float) -> None:
        self.epoch, self.batch_idx, self.step, self.lr = epoch, batch_idx, step, lr
        self.loss = loss.detach()
        self._value = self.loss
        self._arrived = None
        if loss.device.type == "cuda":
            self._value = torch.empty_like(self._value, device="cpu", pin_memory=True)
            self._value.copy_(loss.detach(), non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def value(self) -> float:
        if self._arrived:
            self._arrived.synchronize()
        return float(self._value)


def _describe(trainer: Trainer, loss: _Loss) -> str:
    module = trainer.lightning_module
    norm = float(gradient_norm(module))
    indices_of = getattr(image_data(trainer), "training_indices", None)  # not every data module numbers its images
    indices = indices_of(loss.epoch, loss.batch_idx) if indices_of else []
    shown = ", ".join(map(str, indices[:_SHOWN])) + (f", ... ({len(indices)} in all)" if indices[_SHOWN:] else "")
    images = f", images {shown}" if indices else ""
    return (
        f"the loss is {loss.value()} at step {loss.step} (epoch {loss.epoch}, batch {loss.batch_idx}): "
        f"learning rate {loss.lr:.3g}, gradient norm {norm:.3g}{images}; a smaller --model.lr may help"
    )
