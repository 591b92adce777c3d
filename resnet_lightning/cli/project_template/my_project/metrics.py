"""A metric: any ``torchmetrics.Metric`` that is updated with probabilities and labels."""

import torch
from torch import Tensor
from torchmetrics import Metric


class Confidence(Metric):
    """The mean probability of the class that is predicted.

    Far above the accuracy, it shows a network that is too sure of itself.
    """

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """Adds a batch: probabilities (B, C) and labels (B,)."""
        self.total += probabilities.amax(1).sum()
        self.count += len(labels)

    def compute(self) -> Tensor:
        return self.total / self.count
