"""Loss and accuracy of an epoch."""

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric


class EpochMetrics(nn.Module):
    """Mean loss and accuracy over the images of an epoch, accumulated on the device.

    Args:
        top_5: also measure top-5 accuracy.
    """

    def __init__(self, *, top_5: bool = False) -> None:
        super().__init__()
        # The check for NaN would wait for the device at every step.
        self.loss = MeanMetric(nan_strategy="disable")
        self.acc = MeanMetric(nan_strategy="disable")
        self.acc5 = MeanMetric(nan_strategy="disable") if top_5 else None

    def update(self, losses: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Adds a batch, which may be empty.

        Args:
            losses: the loss of each image (B,).
            logits: (B, num_classes).
            targets: labels (B,) or class probabilities (B, num_classes).
        """
        for metric in self.by_name().values():
            # Converting the model to bfloat16 converts its metrics too, and bfloat16 cannot count beyond 256. After a
            # move to another device, `dtype` is float32 whatever the sums are.
            if {metric.dtype, metric.weight.dtype} != {torch.float32}:
                metric.set_dtype(torch.float32)
        if not len(targets):
            return
        # One value per image: without the check for NaN, MeanMetric ignores its weights.
        self.loss.update(losses)
        self.acc.update(top_k_hits(logits, targets, 1))
        if self.acc5 is not None:
            self.acc5.update(top_k_hits(logits, targets, 5))

    def by_name(self) -> dict[str, MeanMetric]:
        """The metrics by the names under which they are logged, without the stage: ``loss``, ``acc``, ``acc5``."""
        named: dict[str, MeanMetric | None] = {"loss": self.loss, "acc": self.acc, "acc5": self.acc5}
        return {name: metric for name, metric in named.items() if metric is not None}


def top_k_hits(logits: Tensor, targets: Tensor, k: int) -> Tensor:
    """Whether the class of each image is among its k most likely ones, as 0 or 1 (B,).

    Where targets are class probabilities (mixup, CutMix), the probability mass of the k most likely classes.

    Args:
        logits: (B, num_classes).
        targets: labels (B,) or class probabilities (B, num_classes).
        k: how many classes count as a hit.
    """
    predicted = logits.topk(k).indices if k > 1 else logits.argmax(1, keepdim=True)
    if targets.ndim == 1:
        return (predicted == targets[:, None]).any(1).float()
    return targets.gather(1, predicted).sum(1)
