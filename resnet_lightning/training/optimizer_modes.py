"""Optimizers that need ``train()`` and ``eval()``, such as schedule-free ones.

Defazio et al. 2024, "The Road Less Scheduled": the gradient is computed at other weights than those that are evaluated.
In train mode, such an optimizer leaves the former in the model; in eval mode, the latter.
"""

from typing import Any

import torch
from lightning import Trainer
from torch import Tensor
from torch.optim import Optimizer

from .state_checks import restoring


def has_modes(optimizer: Optimizer) -> bool:
    """Whether an optimizer needs ``train()`` and ``eval()``."""
    return callable(getattr(optimizer, "train", None)) and callable(getattr(optimizer, "eval", None))


class OptimizerModes:
    """Switches the optimizers of a trainer between train and eval mode. Nothing happens to those that have no modes.

    The weights of train mode are kept while the optimizer is in eval mode, and saved in checkpoints. They come back bit
    by bit, so that neither a validation nor a checkpoint changes the training: the optimizer's own conversion rounds.
    """

    def __init__(self) -> None:
        self._is_training = False
        self._kept: list[Tensor] | None = None  # the weights of train mode
        self.is_used = False  # whether a trained optimizer has modes

    def train(self, trainer: Trainer) -> None:
        """Switches to train mode; to be called before each training step."""
        if self._is_training:
            return
        self._is_training = True
        for optimizer in _with_modes(trainer):
            self.is_used = True
            optimizer.train()
        if self._kept is not None:
            with torch.no_grad(), restoring("weights of train mode"):
                for weight, kept in zip(_weights(trainer), self._kept, strict=True):
                    weight.copy_(kept)
            self._kept = None

    def eval(self, trainer: Trainer) -> None:
        """Switches to eval mode; to be called before an evaluation and after the training."""
        if not self._is_training:
            return
        self._is_training = False
        optimizers = _with_modes(trainer)
        if optimizers:
            self._kept = [weight.detach().clone() for weight in _weights(trainer)]
        for optimizer in optimizers:
            optimizer.eval()

    def save(self, trainer: Trainer, checkpoint: dict[str, Any]) -> None:
        """Replaces the weights in a checkpoint by those of eval mode, and adds those of train mode."""
        was_training = self._is_training
        self.eval(trainer)
        weights = trainer.strategy.lightning_module_state_dict()
        checkpoint["state_dict"] = {name: tensor.clone() for name, tensor in weights.items()}
        if "optimizer_states" in checkpoint:
            states = [trainer.strategy.optimizer_state(optimizer) for optimizer in trainer.optimizers]
            checkpoint["optimizer_states"] = states
        if self._kept is not None:
            checkpoint["training_weights"] = self._kept
        if was_training:
            self.train(trainer)

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Reads the weights of train mode from a checkpoint, for ``train``."""
        self._kept = checkpoint.get("training_weights")


def _with_modes(trainer: Trainer) -> list[Any]:
    return [optimizer for optimizer in trainer.optimizers if has_modes(optimizer)]


def _weights(trainer: Trainer) -> list[Tensor]:
    groups = [group for optimizer in _with_modes(trainer) for group in optimizer.param_groups]
    return [parameter for group in groups for parameter in group["params"]]
