"""Computes loss and accuracy over an epoch."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from .configured_metrics import ConfiguredMetrics
from .multilabel import NEUTRAL, LabelScores, as_columns, average_precisions, f1_scores

LABEL_SCORES = ("mAP", "f1")
"""The scores of several labels for each image: the means over the labels of average precision and F1."""


class WeightedMean(MeanMetric):
    """Mean of values that are already multiplied by their weights.

    ``MeanMetric`` applies weights only together with a check for NaN, which makes every step wait for the device.
    """

    def __init__(self) -> None:
        super().__init__(nan_strategy="disable")

    def update(self, values: Tensor, weights: Tensor | None = None) -> None:  # type: ignore[override]
        """Adds the values of a batch (B,), and their weights (B,); without weights, all count the same."""
        if weights is None:
            super().update(values)
        else:
            self.mean_value += values.sum()
            self.weight += weights.sum()


class EpochMetrics(nn.Module):
    """Mean loss and accuracy over the images of an epoch, accumulated on the device.

    Args:
        top_5: whether to compute top-5 accuracy too.
        configured: further metrics to update. They are not in ``by_name``, since they may have many values.
        thresholds: that of each label (C,), if an image may have several: an image is then right if all of its labels
            are. None for one label for each image.
        labels: the scores of several labels, at the end of the epoch.
    """

    def __init__(
        self,
        *,
        top_5: bool = False,
        configured: ConfiguredMetrics | None = None,
        thresholds: Tensor | None = None,
        labels: LabelScores | None = None,
    ) -> None:
        super().__init__()
        self.thresholds = thresholds
        self.labels = labels
        self.configured = configured
        self.loss = WeightedMean()
        self.acc = WeightedMean()
        self.acc5 = WeightedMean() if top_5 else None

    def update(self, losses: Tensor, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        """Adds the values of a batch, which may be empty.

        Args:
            losses: the loss of each image (B,), multiplied by its weight.
            logits: (B, num_classes).
            targets: labels (B,) or class probabilities (B, num_classes).
            weights: how much the loss of each image counts (B,); None if all count the same.
        """
        for metric in self.by_name().values():
            # Converting the model to bfloat16 also converts its metrics, and bfloat16 cannot count beyond 256. The
            # dtype of the sums is checked too: after a move to another device, `metric.dtype` is always float32.
            if {metric.dtype, metric.weight.dtype} != {torch.float32}:
                metric.set_dtype(torch.float32)
        if self.labels is not None:
            self.labels.update(logits, targets)
        if not len(targets):
            return
        self.loss.update(losses, weights)
        if self.thresholds is None:
            self.acc.update(top_k_hits(logits, targets, 1))
        else:
            self.acc.update(all_right(logits, targets, self.thresholds))
        if self.acc5 is not None:
            self.acc5.update(top_k_hits(logits, targets, 5))
        if self.configured is not None:
            self.configured.update(logits, targets)

    def by_name(self) -> dict[str, WeightedMean]:
        """Returns the metrics by the names under which they are logged: ``loss``, ``acc``, ``acc5``, without stage."""
        named: dict[str, WeightedMean | None] = {"loss": self.loss, "acc": self.acc, "acc5": self.acc5}
        return {name: metric for name, metric in named.items() if metric is not None}

    def compute_labels(self, choose: Callable[[Tensor, Tensor], None] | None = None) -> dict[str, Tensor]:
        """Returns the scores of several labels, over all processes, and starts anew; none without such labels.

        Args:
            choose: gets probabilities (N, K) and labels (N, K) first, to choose the thresholds.
        """
        if self.labels is None or self.thresholds is None:
            return {}
        probabilities, targets = self.labels.compute()
        self.labels.reset()
        if choose:
            choose(probabilities, targets)
        f1 = f1_scores(probabilities, targets, self.thresholds.to(probabilities.device))
        values = average_precisions(probabilities, targets).nanmean(), f1.nanmean()
        return dict(zip(LABEL_SCORES, (value.float() for value in values), strict=True))

    def names(self, class_names: Sequence[str]) -> list[str]:
        """Returns the names under which values are logged, without stage: also ``f1``, or ``f1/cat`` for a class."""
        own = LABEL_SCORES if self.labels is not None else ()
        return [*self.by_name(), *own, *(self.configured.names(class_names) if self.configured else [])]


def all_right(logits: Tensor, targets: Tensor, thresholds: Tensor) -> Tensor:
    """Returns 1 for each image of which all labels are predicted and no others, otherwise 0 (B,).

    Args:
        logits: (B, K).
        targets: (B, K), mixed or not, or one label for each image (B,).
        thresholds: (K,), the probability above which a label is predicted.
    """
    present = as_columns(targets, logits.shape[1]) > NEUTRAL
    return ((logits.float().sigmoid() >= thresholds.to(logits.device)) == present).all(1).float()


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
