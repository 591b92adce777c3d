"""The loss of a classifier: found by its name, weighted by class, and smoothed in training only."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..build import build, import_by_path
from ..errors import InputError, did_you_mean
from .loss_adapter import LossAdapter
from .multilabel import BinaryCrossEntropy, as_columns

BALANCED = "balanced"


class CountsClasses(Protocol):
    """What ``class_weights: balanced`` requires of a data module."""

    @property
    def class_counts(self) -> Tensor:
        """The number of training images of each class (C,)."""


class ClassifierLoss(nn.Module):
    """Computes the loss of each image from logits (B, C) and targets: labels (B,) or class probabilities (B, C).

    Args:
        loss: a class of ``torch.nn``, or the dotted path of a class, of a function of logits and targets, or of a
            function that returns a loss; see ``LossAdapter``. In Python, also a module or a function.
        options: its other arguments.
        num_classes: C, the number of classes.
        label_smoothing: the fraction of the target that is spread over all classes, in training only.
        multilabel: whether an image may have several labels: the loss then gets targets (B, C).

    Raises:
        InputError: if there is no such loss, if it rejects its options, or if it cannot be computed from logits and
            labels.
    """

    def __init__(
        self,
        loss: str | Callable[..., Any],
        options: Mapping[str, Any],
        num_classes: int,
        label_smoothing: float,
        multilabel: bool = False,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.multilabel = multilabel
        # Not a buffer: a moving average of the model would average it too. Checkpoints have it as a hyperparameter.
        self.class_weights: Tensor | None = None
        self.name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
        factory = _find(loss) if isinstance(loss, str) else loss
        self.own: CrossEntropy | BinaryCrossEntropy | LossAdapter
        if multilabel and factory in (nn.CrossEntropyLoss, nn.NLLLoss, nn.KLDivLoss):
            raise InputError(
                f"loss {self.name!r} needs one label for each image, and these images may have several; leave "
                "model.loss out, which is BCEWithLogitsLoss then"
            )
        if multilabel and factory is nn.BCEWithLogitsLoss:
            self.own = BinaryCrossEntropy(self.name, options, label_smoothing)
        elif factory is nn.CrossEntropyLoss:
            self.own = CrossEntropy(self.name, options, label_smoothing)
        else:
            if inspect.isclass(factory) and factory.__module__.startswith("torch.nn."):
                options = _torch_options(self.name, options)
            self.own = LossAdapter(self.name, factory, options, num_classes, label_smoothing)
            if multilabel and not self.own.takes_probabilities:
                raise InputError(
                    f"loss {self.name!r} takes one label for each image, and these may have several; leave "
                    "model.loss out, which is BCEWithLogitsLoss then"
                )

    def forward(self, logits: Tensor, targets: Tensor, training: bool = False) -> tuple[Tensor, Tensor | None]:
        """Returns the loss of each image (B,), and how much each image counts (B,); None if all count the same.

        The losses are already multiplied by these weights. Their mean is the sum of the losses, divided by the sum of
        the weights.

        Args:
            logits: (B, C).
            targets: labels (B,) or class probabilities (B, C).
            training: whether to smooth the labels.

        Raises:
            InputError: if the targets have another form, or are probabilities and the loss takes labels only.
        """
        self._check_targets(logits, targets)
        if targets.ndim == 2 and not self.own.takes_probabilities:
            raise InputError(
                f"loss {self.name!r} takes labels only, but mixup and cutmix give class probabilities; leave them out "
                "of data.augment, or give another loss"
            )
        if targets.ndim == 2 and not targets.is_floating_point():
            targets = targets.to(logits.dtype)
        if self.multilabel:
            targets = as_columns(targets, self.num_classes).to(logits.dtype)
        if self.class_weights is None:
            return self.own(logits, targets, training), None
        # Class weights are float32, or float64 for logits in float64.
        dtype = torch.promote_types(logits.dtype, torch.float32)
        if (self.class_weights.device, self.class_weights.dtype) != (logits.device, dtype):
            self.class_weights = self.class_weights.to(logits.device, dtype)
        return self.own.weighted(logits.to(dtype), targets, self.class_weights, training)

    def _check_targets(self, logits: Tensor, targets: Tensor) -> None:
        is_whole = not targets.is_floating_point() and not targets.is_complex()
        if targets.shape == logits.shape[:1] and (is_whole or self.multilabel):
            return
        if targets.shape != logits.shape:
            count, classes = logits.shape
            found = f"{tuple(targets.shape)} {str(targets.dtype).removeprefix('torch.')}"
            raise InputError(
                f"the targets of a batch are {found}; for {count} images and {classes} classes, give labels "
                f"({count},) of whole numbers, or probabilities ({count}, {classes})"
            )

    def set_class_weights(self, weights: Sequence[float] | str) -> None:
        """Sets how much an image of each class counts (C,).

        Raises:
            InputError: if they are not one positive number for each class, or the loss is a single number, which cannot
                be weighted by class.
        """
        if isinstance(weights, str) or len(weights) != self.num_classes:
            given = repr(weights) if isinstance(weights, str) else f"{len(weights)} numbers"
            raise InputError(
                f"model.class_weights is {given}; give one number for each of the {self.num_classes} classes, or "
                f"{BALANCED}"
            )
        for weight in weights:
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
                raise InputError(f"model.class_weights contains {weight!r}; give positive, finite numbers")
        self.check_can_be_weighted()
        self.class_weights = torch.tensor([float(weight) for weight in weights])

    def check_can_be_weighted(self) -> None:
        """Raises an InputError if the loss is a single number for a batch, which cannot be weighted by class."""
        if self.multilabel and not isinstance(self.own, BinaryCrossEntropy):
            raise InputError(
                f"loss {self.name!r} takes no model.class_weights for images of several labels; leave them out, or "
                "leave model.loss out"
            )
        if not self.own.has_value_for_each_image:
            raise InputError(
                f"loss {self.name!r} returns one number for the whole batch, which model.class_weights cannot weight; "
                "return one for each image, or leave class_weights out"
            )


class CrossEntropy(nn.Module):
    """Cross-entropy in the definition of ``torch.nn.CrossEntropyLoss``, also of its class weights and its smoothing."""

    takes_probabilities = True
    has_value_for_each_image = True

    def __init__(self, name: str, options: Mapping[str, Any], label_smoothing: float) -> None:
        super().__init__()
        build(f"loss {name!r}", nn.CrossEntropyLoss, **_torch_options(name, options))  # rejects unknown options
        for option in options:
            if option != "label_smoothing":
                raise InputError(f"loss {name!r}: {option} is not supported; leave it out of model.loss_args")
        if options and label_smoothing:
            raise InputError("label_smoothing is in model.loss_args, and model.label_smoothing is given; give one")
        self.label_smoothing: float = options.get("label_smoothing", label_smoothing)
        is_number = isinstance(self.label_smoothing, int | float) and not isinstance(self.label_smoothing, bool)
        if not is_number or not 0 <= self.label_smoothing < 1:
            raise InputError(f"label_smoothing is {self.label_smoothing!r}; give a number from 0 up to 1")

    def forward(self, logits: Tensor, targets: Tensor, training: bool) -> Tensor:
        """Returns the loss of each image (B,)."""
        return self._losses(logits, targets, None, training)

    def weighted(
        self, logits: Tensor, targets: Tensor, weights: Tensor, training: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Returns the weighted loss of each image (B,) and how much it counts (B,).

        As in torch, mixed images count the same: the mean of their losses is over their number.
        """
        losses = self._losses(logits, targets, weights, training)
        return losses, weights[targets] if targets.ndim == 1 else None

    def _losses(self, logits: Tensor, targets: Tensor, weights: Tensor | None, training: bool) -> Tensor:
        smoothing = self.label_smoothing if training else 0.0
        return F.cross_entropy(logits, targets, weights, label_smoothing=smoothing, reduction="none")


def balanced_weights(data: CountsClasses | None, class_names: Sequence[str] = ()) -> list[float]:
    """Returns weights in inverse proportion to the number of training images: N / (C * images of the class).

    This is scikit-learn's ``class_weight="balanced"``. The mean weight of the training images is 1.

    Args:
        data: a data module that has ``class_counts``.
        class_names: the names of the classes, for the error message.

    Raises:
        InputError: if the data module does not have it, if it draws the classes equally often, or if a class has no
            training images.
    """
    counts: Tensor | None = getattr(data, "class_counts", None)
    if counts is None:
        source = "a loader" if data is None else f"a {type(data).__name__}"
        raise InputError(
            f"model.class_weights is {BALANCED}, but {source} has no class_counts, the number of training images of "
            "each class; give the weights as numbers"
        )
    if getattr(data, "sampling", None) == BALANCED:
        raise InputError(
            f"model.class_weights and data.sampling are both {BALANCED}: small classes would count too much, once by "
            "their weight and once by their repeated images; leave one of them out"
        )
    for label, count in enumerate(counts.tolist()):
        if not count:
            name = repr(class_names[label]) if label < len(class_names) else str(label)
            raise InputError(
                f"model.class_weights is {BALANCED}, but class {name} has no training images; give the weights as "
                "numbers, or leave the class out of data.classes"
            )
    return (counts.sum().double() / (len(counts) * counts.double())).tolist()


def _find(name: str) -> Callable[..., Any]:
    """Returns a loss of ``torch.nn`` by its name, or any callable by its dotted path."""
    if "." in name:
        return import_by_path("loss", name)
    known = {known for known in vars(nn) if known.endswith("Loss")}
    if name not in known:
        raise InputError(f"unknown loss {name!r}; {did_you_mean(name, known)}")
    found: Callable[..., Any] = getattr(nn, name)
    return found


def _torch_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of a loss of torch, which takes tensors where a config has lists."""
    if "weight" in options:
        raise InputError(f"loss {name!r}: weights of the classes belong in model.class_weights, not in model.loss_args")
    return {
        option: torch.tensor(value, dtype=torch.float32) if isinstance(value, list) else value
        for option, value in options.items()
    }
