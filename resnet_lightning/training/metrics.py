"""Computes loss and accuracy over an epoch."""

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric


class EpochMetrics(nn.Module):
    """Mean loss and accuracy over the images of an epoch, accumulated on the device.

    Args:
        top_5: whether to compute top-5 accuracy too.
    """

    def __init__(self, *, top_5: bool = False) -> None:
        super().__init__()
        # The check for NaN would make every step wait for the device.
        self.loss = MeanMetric(nan_strategy="disable")
        self.acc = MeanMetric(nan_strategy="disable")
        self.acc5 = MeanMetric(nan_strategy="disable") if top_5 else None

    def update(self, losses: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Adds the values of a batch, which may be empty.

        Args:
            losses: the loss of each image (B,).
            logits: (B, num_classes).
            targets: labels (B,) or class probabilities (B, num_classes).
        """
        for metric in self.by_name().values():
            # Converting the model to bfloat16 also converts its metrics, and bfloat16 cannot count beyond 256. The
            # dtype of the sums is checked too: after a move to another device, `metric.dtype` is always float32.
            if {metric.dtype, metric.weight.dtype} != {torch.float32}:
                metric.set_dtype(torch.float32)
        if not len(targets):
            return
        # One value per image: without the check for NaN, MeanMetric ignores weights, such as the size of the batch.
        self.loss.update(losses)
        self.acc.update(top_k_hits(logits, targets, 1))
        if self.acc5 is not None:
            self.acc5.update(top_k_hits(logits, targets, 5))

    def by_name(self) -> dict[str, MeanMetric]:
        """Returns the metrics by the names under which they are logged: ``loss``, ``acc``, ``acc5``, without stage."""
        named: dict[str, MeanMetric | None] = {"loss": self.loss, "acc": self.acc, "acc5": self.acc5}
        return {name: metric for name, metric in named.items() if metric is not None}


def top_k_hits(logits: Tensor, targets: Tensor, k: int) -> Tensor:
    """Returns 1 for each image whose label is among the k classes with the largest logits, otherwise 0 (B,).

    If targets are class probabilities (mixup, CutMix), it returns the sum of the target probabilities of these k
    classes.

    Args:
        logits: (B, num_classes).
        targets: labels (B,) or class probabilities (B, num_classes).
        k: the number of classes with the largest logits to look at.
    """
    predicted = logits.topk(k).indices if k > 1 else logits.argmax(1, keepdim=True)
    if targets.ndim == 1:
        return (predicted == targets[:, None]).any(1).float()
    return targets.gather(1, predicted).sum(1)
