"""Trains the head of a network first, and its stages from the epochs that a config states."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lightning import Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import nn

from ..errors import InputError, did_you_mean
from ..models.freezing import find_stages

Schedule = Mapping[int, str | Sequence[str]]

_STEM = "stem"


class Unfreezing:
    """Which stages of a network are trained, as a function of the epoch.

    All stages are frozen at first, and only the head is trained: the network learns the new classes before its features
    change. A stage that is named is trained from the beginning of its epoch; one that is not stays frozen. The running
    statistics of frozen stages stay as they are.

    The stages are those of ``freeze_first_stages``, such as ``layer1`` to ``layer4``; what comes before them is the
    ``stem``.

    Args:
        model: the network; its stages are frozen.
        schedule: the names of the stages by the epoch, counted from 0, from which they are trained.

    Raises:
        InputError: if there is no such stage, if one is named twice or frozen by another option, or if an epoch is no
            whole number.
    """

    def __init__(self, model: nn.Module, schedule: Schedule) -> None:
        parts = find_stages(model)
        self._modules = {
            _STEM if not number else next(iter(part)): list(part.values()) for number, part in enumerate(parts)
        }
        self._parameters: dict[str, list[nn.Parameter]] = {
            name: [p for module in modules for p in module.parameters() if p.requires_grad]
            for name, modules in self._modules.items()
        }
        if self._parameters:  # such as the position embedding of a transformer
            of_none = [p for p in model.parameters(recurse=False) if p.requires_grad]
            self._parameters[_STEM] += of_none
        self.start_of: dict[str, int] = {}
        for epoch, names in schedule.items():
            self._add(epoch, [names] if isinstance(names, str) else names)
        self._trained: set[str] = set(self._modules)
        self.set_epoch(0)
        if not any(p.requires_grad for p in model.parameters()):
            raise InputError(
                "model.unfreeze trains the head from the beginning, which this network lacks; name a stage for epoch 0"
            )

    def _add(self, key: Any, names: Any) -> None:
        if isinstance(key, bool) or not str(key).isdecimal():
            raise InputError(
                f"model.unfreeze has the epoch {key!r}; give a whole number of at least 0, as in {{5: layer4}}"
            )
        if not isinstance(names, Sequence) or not names or not all(isinstance(name, str) for name in names):
            raise InputError(f"model.unfreeze: epoch {key} has {names!r}; give the name of a stage, or a list of names")
        for name in names:
            if name not in self._modules:
                raise InputError(
                    f"model.unfreeze: there is no stage {name!r} in this network; {did_you_mean(name, self._modules)}"
                )
            if name in self.start_of:
                raise InputError(f"model.unfreeze names {name!r} twice; give it one epoch")
            if not self._parameters[name]:
                raise InputError(
                    f"model.unfreeze names {name!r}, which frozen_stages or lr_factors freezes; leave one of them out"
                )
            self.start_of[name] = int(key)

    @property
    def last_epoch(self) -> int:
        """The epoch of the last change; 0 if there is none."""
        return max(self.start_of.values(), default=0)

    @property
    def frozen(self) -> list[nn.Module]:
        """The modules that are frozen now; they have to be put into eval mode again after each ``train()``."""
        return [module for name, modules in self._modules.items() if name not in self._trained for module in modules]

    def set_epoch(self, epoch: int) -> list[str]:
        """Freezes and unfreezes the stages for an epoch.

        Returns:
            The stages whose state has changed.
        """
        trained = {name for name, start in self.start_of.items() if start <= epoch}
        changed = [name for name in self._modules if (name in trained) != (name in self._trained)]
        self._trained = trained
        for name in changed:
            self._require_gradients(name, name in trained)
            for module in self._modules[name] if name not in trained else ():
                module.eval()
        return changed

    @contextmanager
    def all_that_will_be_trained(self) -> Iterator[None]:
        """Lets all stages of the schedule require gradients, so that the optimizer is built for them."""
        for name in self.start_of:
            self._require_gradients(name, True)
        try:
            yield
        finally:
            for name in self.start_of:
                self._require_gradients(name, name in self._trained)

    def _require_gradients(self, name: str, required: bool) -> None:
        for parameter in self._parameters[name]:
            parameter.requires_grad_(required)

    def in_words(self) -> str:
        """Returns which stages are trained now, and which will be, in one line."""
        trained = ", ".join(["the head", *(name for name in self._modules if name in self._trained)])
        later = [f"{name} from epoch {start}" for name, start in self.start_of.items() if name not in self._trained]
        frozen = [name for name in self._modules if name not in self.start_of]
        parts = [f"{trained} trained", ", ".join(later), f"{', '.join(frozen)} frozen" if frozen else ""]
        return "; ".join(part for part in parts if part)


def check_trainer(unfreezing: Unfreezing, trainer: Trainer, total_steps: float = math.inf) -> None:
    """Checks that a trainer can unfreeze stages in the epochs of a schedule.

    Args:
        unfreezing: the schedule.
        trainer: the trainer, which limits the number of epochs.
        total_steps: the number of optimizer steps; infinite if it is not known.

    Raises:
        InputError: if its strategy shards the weights, or if a stage would be trained only after the end.
    """
    if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
        name = type(trainer.strategy).__name__
        raise InputError(
            f"model.unfreeze needs one device or the strategy ddp, not {name}; give --trainer.strategy ddp"
        )
    if trainer.fast_dev_run:  # type: ignore[attr-defined]  # one batch, of whatever training
        return
    epochs: float = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else math.inf
    if math.isfinite(total_steps) and math.isfinite(trainer.num_training_batches):
        epochs = min(epochs, total_steps * trainer.accumulate_grad_batches / max(trainer.num_training_batches, 1))
    if unfreezing.last_epoch >= max(epochs, 1):
        raise InputError(
            f"model.unfreeze has the epoch {unfreezing.last_epoch}, but this run has {math.ceil(epochs)} epochs, which "
            "are counted from 0; give an earlier epoch, or raise trainer.max_epochs"
        )


def wrap_again(strategy: DDPStrategy) -> None:
    """Wraps a module for DDP once more.

    DDP averages the gradients of those parameters that require one when it wraps a module.
    """
    strategy.model = strategy.lightning_module
    strategy.configure_ddp()
