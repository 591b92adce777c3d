"""A figure of the test images in feature space."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from ...runs import figures
from ..batches import images_and_targets
from ..data_protocol import image_data


class Embedding(Callback):
    """Plots the test images in the plane of the first two principal components of the last linear layer's inputs.

    Args:
        path: the PNG file.
        images: the maximum number of images. With several processes, only those of the first process are drawn.
    """

    def __init__(self, path: str | os.PathLike[str], images: int = 2000) -> None:
        self.path = Path(path)
        self.images = images
        self._features: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._hook: Any = None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._features, self._labels = [], []
        heads = [module for module in pl_module.modules() if isinstance(module, nn.Linear)]
        if heads:
            self._hook = heads[-1].register_forward_pre_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if sum(map(len, self._features)) < self.images:
            self._features.append(inputs[0].detach().flatten(1).float().cpu())

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._labels.append(images_and_targets(batch)[1].cpu())

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._hook:
            self._hook.remove()
        if not self._features or not trainer.is_global_zero:
            return
        features = torch.cat(self._features)[: self.images]
        labels = torch.cat(self._labels)[: len(features)]
        data = image_data(trainer)
        names = data.class_names if data else [str(label) for label in range(int(labels.max()) + 1)]
        points = principal_components(features)
        figure = figures.embedding(points.numpy(), labels.numpy(), names, shares_of_variance(points, features))
        figures.save(figure, self.path)


def principal_components(features: Tensor, count: int = 2) -> Tensor:
    """Projects features (N, D) on their first principal components (N, count), deterministically."""
    centered = features.double() - features.double().mean(0)
    u, s, _ = torch.linalg.svd(centered, full_matrices=False)
    return (u * s)[:, :count]


def shares_of_variance(points: Tensor, features: Tensor) -> list[float]:
    """Returns the share of the variance of features (N, D) that each of their principal components (N, K) has."""
    total = (features.double() - features.double().mean(0)).square().sum()
    return (points.square().sum(0) / total.clamp(min=1e-300)).tolist()
