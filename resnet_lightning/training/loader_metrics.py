"""Metrics of several validation or test loaders."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from .metrics import EpochMetrics


class LoaderMetrics(nn.ModuleDict):
    """The metrics of the second and further loaders of a stage; the first loader's are those of the module itself.

    With one loader, a metric is named ``val/acc``. With several, that name is still the first loader's, so that
    checkpoints, early stopping and schedules monitor the first loader, and each loader has its own beside it:
    ``val/acc/dataloader_idx_0`` as Lightning names it, or ``val/acc/clean`` if the loaders are a dict with that key.
    """

    def __init__(self) -> None:
        super().__init__()
        self._loaders: dict[str, list[str]] = {}  # their names, by stage

    def start(self, stage: str, first: EpochMetrics, loaders: Any) -> None:
        """Prepares for an epoch of a stage.

        Args:
            stage: ``"val"`` or ``"test"``.
            first: the metrics of the first loader.
            loaders: the trainer's loaders of this stage: one loader, or a sequence or mapping of them.
        """
        if isinstance(loaders, Mapping):
            names = [str(key) for key in loaders]
        else:
            count = len(loaders) if isinstance(loaders, Sequence) else 1
            names = [f"dataloader_idx_{number}" for number in range(count)]
        self._loaders[stage] = names
        for number in range(1, len(names)):
            if f"{stage}_{number}" not in self:
                self[f"{stage}_{number}"] = deepcopy(first)
        for number in range(len(names)):
            leave_inference_mode(self.of(stage, first, number))

    def of(self, stage: str, first: EpochMetrics, dataloader_idx: int) -> EpochMetrics:
        """Returns the metrics of a loader."""
        found = self[f"{stage}_{dataloader_idx}"] if dataloader_idx else first
        assert isinstance(found, EpochMetrics)
        return found

    def by_name(self, stage: str, first: EpochMetrics) -> dict[str, Metric]:
        """Returns the metrics of all loaders by the names under which they are logged."""
        named: dict[str, Metric] = {f"{stage}/{name}": metric for name, metric in first.by_name().items()}
        names = self._loaders.get(stage, [])
        for number, loader in enumerate(names if len(names) > 1 else []):
            for name, metric in self.of(stage, first, number).by_name().items():
                named[f"{stage}/{name}/{loader}"] = metric
        return named

    def compute_configured(
        self,
        stage: str,
        first: EpochMetrics,
        class_names: Sequence[str],
        choose: Callable[[Tensor, Tensor], None] | None = None,
    ) -> dict[str, Tensor]:
        """Returns the values of the configured metrics of all loaders, named likewise, and resets these metrics.

        With several labels for each image, their scores come first. ``choose`` gets the probabilities and labels of the
        first loader, to choose the thresholds from.
        """
        values: dict[str, Tensor] = {}
        names = self._loaders.get(stage, [""])
        for number, loader in enumerate(names):
            metrics = self.of(stage, first, number)
            computed = metrics.compute_labels(None if number else choose)
            computed |= {} if metrics.configured is None else metrics.configured.compute(class_names)
            if not number:
                values.update({f"{stage}/{name}": value for name, value in computed.items()})
            if len(names) > 1:
                values.update({f"{stage}/{name}/{loader}": value for name, value in computed.items()})
        return values


def leave_inference_mode(module: nn.Module) -> None:
    """Makes the states of metrics that were reset in inference mode, as by ``trainer.validate``, usable outside it."""
    if torch.is_inference_mode_enabled():
        return
    for metric in module.modules():
        if isinstance(metric, Metric):
            for name, state in metric.metric_state.items():
                setattr(metric, name, _cloned(state) if isinstance(state, Tensor) else list(map(_cloned, state)))


def _cloned(state: Tensor) -> Tensor:
    return state.clone() if state.is_inference() else state
