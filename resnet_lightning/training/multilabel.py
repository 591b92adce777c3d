"""Several labels for each image: the loss, the scores of an epoch, and the thresholds of the probabilities."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from ..build import build
from ..errors import InputError

NEUTRAL = 0.5
"""The threshold of a label on which no other can be chosen."""


class BinaryCrossEntropy(nn.Module):
    """The cross-entropy of each label by itself, ``torch.nn.BCEWithLogitsLoss``; the loss of an image is their mean.

    Label smoothing moves both answers to one half: 1 becomes ``1 - label_smoothing / 2``.
    """

    takes_probabilities = True
    has_value_for_each_image = True

    def __init__(self, name: str, options: Mapping[str, Any], label_smoothing: float) -> None:
        super().__init__()
        build(f"loss {name!r}", nn.BCEWithLogitsLoss, **options)  # rejects unknown options
        for option in options:
            hint = "give it as model.class_weights" if option == "pos_weight" else "leave it out of model.loss_args"
            raise InputError(f"loss {name!r}: {option} is not supported for several labels; {hint}")
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, targets: Tensor, training: bool) -> Tensor:
        """Returns the loss of each image (B,)."""
        return self._losses(logits, targets, None, training)

    def weighted(self, logits: Tensor, targets: Tensor, weights: Tensor, training: bool) -> tuple[Tensor, None]:
        """Returns the loss of each image (B,), in which a label that it has counts by its weight (K,)."""
        return self._losses(logits, targets, weights, training), None

    def _losses(self, logits: Tensor, targets: Tensor, weights: Tensor | None, training: bool) -> Tensor:
        smoothing = self.label_smoothing if training else 0.0
        targets = as_columns(targets, logits.shape[1]).to(logits.dtype) * (1 - smoothing) + smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="none")
        return losses.mean(1)


def as_columns(targets: Tensor, num_classes: int) -> Tensor:
    """Returns targets as (B, K): one label for each image (B,) is one of several."""
    return F.one_hot(targets, num_classes) if targets.ndim == 1 else targets


class CountsImages(Protocol):
    """What ``class_weights: balanced`` requires of a data module with several labels for each image."""

    @property
    def class_counts(self) -> Tensor:
        """The number of training images with each label (K,)."""

    @property
    def num_training_images(self) -> int: ...


def balanced_positive_weights(data: CountsImages | None, class_names: Sequence[str] = ()) -> list[float]:
    """Returns how much a label that an image has counts: the number of images without it for each image with it.

    Both answers then count the same, as in the example of ``torch.nn.BCEWithLogitsLoss``.

    Raises:
        InputError: if the data module does not count its images, or if all or none of them have a label.
    """
    counts, images = getattr(data, "class_counts", None), getattr(data, "num_training_images", None)
    if counts is None or images is None:
        source = "a loader" if data is None else f"a {type(data).__name__}"
        raise InputError(
            f"model.class_weights is balanced, but {source} has no class_counts and num_training_images; give the "
            "weights as numbers"
        )
    for label, count in enumerate(counts.tolist()):
        if count in (0, images):
            name = repr(class_names[label]) if label < len(class_names) else str(label)
            have = "no training image has" if not count else "all training images have"
            raise InputError(
                f"model.class_weights is balanced, but {have} the label {name}; give the weights as numbers"
            )
    return ((images - counts.double()) / counts.double()).tolist()


class LabelScores(Metric):
    """Keeps the probabilities and labels of an epoch, from which scores and thresholds are computed at its end."""

    full_state_update = False
    probabilities: list[Tensor]
    targets: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("probabilities", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Adds a batch: logits (B, K) and labels (B, K) or (B,). It may be empty: every process has to take part."""
        self.probabilities.append(logits.detach().float().sigmoid())
        self.targets.append(as_columns(targets, logits.shape[1]).float())

    def compute(self) -> tuple[Tensor, Tensor]:
        """Returns probabilities (N, K) and labels (N, K) of all processes."""
        return dim_zero_cat(self.probabilities), dim_zero_cat(self.targets)


def average_precisions(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Returns the average precision of each label (K,), NaN for one that no image has.

    It is the area under the curve of precision over recall, summed as a step function as in scikit-learn: the precision
    at each threshold, times the recall that it adds.

    Args:
        probabilities: (N, K).
        targets: (N, K), 1 for each label of an image.
    """
    if not len(targets):
        return torch.full((probabilities.shape[1],), torch.nan)
    ordered, rows = probabilities.double().sort(dim=0, descending=True)
    hits = (targets > NEUTRAL).gather(0, rows).double().cumsum(0)
    precision = hits / torch.arange(1, len(hits) + 1, device=hits.device)[:, None]
    is_end = torch.ones_like(hits, dtype=torch.bool)  # images of equal probability are taken together
    is_end[:-1] = ordered[:-1] != ordered[1:]
    reached = torch.where(is_end, hits, 0).cummax(0).values
    gained = reached.diff(dim=0, prepend=torch.zeros_like(reached[:1]))
    return (precision * gained).sum(0) / torch.where(hits[-1] > 0, hits[-1], torch.nan)


def f1_scores(probabilities: Tensor, targets: Tensor, thresholds: Tensor) -> Tensor:
    """Returns the F1 score of each label (K,), NaN for one that no image has and none is predicted to have."""
    predicted, present = probabilities >= thresholds, targets > NEUTRAL
    right = (predicted & present).sum(0).double()
    total = (predicted.sum(0) + present.sum(0)).double()
    return 2 * right / torch.where(total > 0, total, torch.nan)


def best_thresholds(probabilities: Tensor, targets: Tensor) -> list[float]:
    """Returns, for each label, the threshold with the largest F1 score; of equal ones that closest to one half.

    It lies in the middle between two probabilities. A label that no image has, or all have, gets one half.

    Args:
        probabilities: (N, K).
        targets: (N, K), 1 for each label of an image.
    """
    found = []
    for column, present in zip(probabilities.double().cpu().T, (targets > NEUTRAL).cpu().T, strict=True):
        total = int(present.sum())
        if total in (0, len(present)):
            found.append(NEUTRAL)
            continue
        ordered, rows = column.sort(descending=True)
        hits = present[rows].double().cumsum(0)
        f1 = 2 * hits / (torch.arange(1, len(hits) + 1) + total)
        following = torch.cat([ordered[1:], torch.zeros(1, dtype=ordered.dtype)])
        f1[ordered == following] = -1  # a threshold cannot divide equal probabilities
        middles = (ordered + following) / 2
        candidates = middles[f1 >= f1.max() - 1e-12]
        found.append(float(candidates[(candidates - NEUTRAL).abs().argmin()]))
    return found


def check_thresholds(thresholds: Any, num_classes: int) -> list[float]:
    """Returns given thresholds as one for each label.

    Raises:
        InputError: if they are not one number between 0 and 1, or one for each label.
    """
    each = list(thresholds) if isinstance(thresholds, Sequence) and not isinstance(thresholds, str) else [thresholds]
    values = each * num_classes if not isinstance(thresholds, Sequence) else each
    is_right = [isinstance(v, int | float) and not isinstance(v, bool) and 0 < v < 1 for v in values]
    if len(values) != num_classes or not all(is_right):
        raise InputError(
            f"model.thresholds is {thresholds!r}; give a number between 0 and 1, or {num_classes}, one for each label"
        )
    return [float(value) for value in values]
