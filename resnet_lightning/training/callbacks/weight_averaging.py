"""Lightning's stochastic weight averaging, in a training that may be resumed."""

from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch.optim.swa_utils import SWALR

from ..state_checks import restoring


class ResumableWeightAveraging(StochasticWeightAveraging):
    """Continues with its schedule in the epoch in which a training is resumed.

    Lightning's callback waits for the next epoch, without any schedule until then, and its schedule then begins with a
    step of its own. The arguments are those of Lightning's callback.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if self._scheduler_state is None or self._initialized or self._average_model is None:
            return
        with restoring("stochastic weight average"):
            self._continue(trainer, pl_module)

    def _continue(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._initialized = True
        assert self._average_model is not None
        self._average_model = self._average_model.to(self._device or pl_module.device)
        self.n_averaged = torch.tensor(self._init_n_averaged, dtype=torch.long, device=pl_module.device)
        optimizer = trainer.optimizers[0]
        groups: list[dict[str, Any]] = [dict(group) for group in optimizer.param_groups]
        rates = self._swa_lrs if isinstance(self._swa_lrs, list) else [self._swa_lrs] * len(groups)
        self._swa_scheduler = SWALR(optimizer, swa_lr=rates)  # type: ignore[arg-type]  # it takes a list too
        self._swa_scheduler.load_state_dict(self._scheduler_state or {})
        for group, before in zip(optimizer.param_groups, groups, strict=True):  # a new schedule sets its first rate
            group.update(before)
        trainer.lr_scheduler_configs[:] = [LRSchedulerConfig(self._swa_scheduler)]
