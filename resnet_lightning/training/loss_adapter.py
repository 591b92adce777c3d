"""Computes losses other than cross-entropy, whose targets and results have different forms."""

import copy
import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..build import build
from ..errors import InputError, did_you_mean

# The names under which losses take their label smoothing.
_SMOOTHING = ("label_smoothing", "smoothing")

# The names of arguments that are targets, besides those that begin like them.
_TARGETS = ("y", "gt", "truth", "ground_truth", "true")


class LossAdapter(nn.Module):
    """Calls a loss as ``loss(logits, targets)`` and returns the loss of each image.

    Which targets it takes is tried once, with random logits. It may take

    - labels (B,) and probabilities (B, C), with the same result for labels and for these labels as one-hot vectors;
    - probabilities only, such as ``BCEWithLogitsLoss``: labels are converted to one-hot vectors;
    - labels only, such as ``MultiMarginLoss``. It is not computed for mixed images.

    It may return one number for each image (B,), one for each image and class (B, C), or one for the batch. Its
    arguments ``reduction`` and ``num_classes`` are filled in. Its parameters are trained.

    If it has an argument ``label_smoothing`` or ``smoothing``, it smoothes the labels itself, and a second instance
    without smoothing evaluates. A loss with parameters or buffers has no second instance.

    Args:
        name: the name of the loss, for messages.
        factory: a class, a function that returns a loss, a function of logits and targets, or a module.
        options: the arguments of the factory.
        num_classes: C, the number of classes.
        label_smoothing: the fraction of the target that is spread over all classes, in training only.

    Attributes:
        takes_probabilities: whether it can be computed for mixed images.
        has_value_for_each_image: whether it returns more than one number for a batch.

    Raises:
        InputError: if the options are rejected, or the loss cannot be computed from logits and labels.
    """

    def __init__(
        self,
        name: str,
        factory: Callable[..., Any],
        options: Mapping[str, Any],
        num_classes: int,
        label_smoothing: float,
    ) -> None:
        super().__init__()
        self.name = name
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing  # what is left to smooth here
        self._takes_log_probabilities = factory in (nn.NLLLoss, nn.KLDivLoss, F.nll_loss, F.kl_div)
        self._sums_over_classes = factory in (nn.KLDivLoss, F.kl_div)  # the divergence is a sum over the classes
        accepted = _arguments(factory)
        options = dict(options)
        if options.pop("reduction", "mean") not in ("none", "mean"):
            raise InputError(f"loss {name!r} is averaged over the images; leave reduction out of model.loss_args")
        smoothing = next((argument for argument in _SMOOTHING if argument in accepted), None)
        if smoothing and label_smoothing:
            if smoothing in options:
                raise InputError(f"{smoothing} is in model.loss_args, and model.label_smoothing is given; give one")
            options[smoothing] = label_smoothing
            self.label_smoothing = 0.0
        self.trained = self._instance(factory, accepted, options)
        self.evaluated: Callable[..., Any] | None = None
        if smoothing and options.get(smoothing, accepted[smoothing].default) and not _has_state(self.trained):
            self.evaluated = self._instance(factory, accepted, {**options, smoothing: 0.0})
        self._check_order()
        self._try_targets()
        if self.label_smoothing and not self.takes_probabilities:
            raise InputError(f"loss {name!r} takes labels only and cannot smooth them; leave out model.label_smoothing")

    def _instance(
        self, factory: Callable[..., Any], accepted: Mapping[str, inspect.Parameter], options: Mapping[str, Any]
    ) -> Callable[..., Any]:
        filled = {"num_classes": self.num_classes, "reduction": "none"}
        options = {**{option: value for option, value in filled.items() if option in accepted}, **options}
        if isinstance(factory, nn.Module):
            if options:
                raise InputError(f"loss {self.name!r} is a module already; leave out model.loss_args")
            return factory
        required = [p for p in accepted.values() if p.default is p.empty and p.kind is not p.KEYWORD_ONLY]
        if not inspect.isclass(factory) and len([p for p in required if p.name not in options]) >= 2:
            for option in options:
                if option not in accepted and not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
                    raise InputError(f"loss {self.name!r} takes no option {option!r}; {did_you_mean(option, accepted)}")
            return functools.partial(factory, **options)
        loss = build(f"loss {self.name!r}", factory, **options)
        if not callable(loss):
            raise InputError(f"loss {self.name!r} returned a {type(loss).__name__}, which cannot be called")
        return loss

    def forward(self, logits: Tensor, targets: Tensor, training: bool) -> Tensor:
        """Returns the loss of each image (B,); if the loss is one number, it is repeated."""
        if not len(targets):
            return logits.new_zeros(0)
        smoothing = self.label_smoothing if training else 0.0
        if targets.ndim == 1 and (smoothing or not self.takes_labels):
            targets = F.one_hot(targets, self.num_classes).to(logits.dtype)
        if smoothing:
            targets = targets * (1 - smoothing) + smoothing / self.num_classes
        if self._takes_log_probabilities:
            logits = logits.log_softmax(1)
        loss = self.trained if training or self.evaluated is None else self.evaluated
        return self._for_each_image(loss(logits, targets), len(logits))

    def weighted(self, logits: Tensor, targets: Tensor, weights: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        """Returns the weighted loss of each image (B,), and its weight (B,): that of its class, or of its mixture."""
        of_image = weights[targets] if targets.ndim == 1 else targets.to(weights.dtype) @ weights
        return self(logits, targets, training) * of_image, of_image

    def _for_each_image(self, loss: Tensor, images: int) -> Tensor:
        if not loss.ndim:
            return loss.expand(images)
        loss = loss.flatten(1) if loss.ndim > 1 else loss[:, None]
        return loss.sum(1) if self._sums_over_classes else loss.mean(1)

    def _check_order(self) -> None:
        """Rejects a loss that takes the targets first: torch may compute it from probabilities the other way round."""
        called = self.trained.forward if isinstance(self.trained, nn.Module) else self.trained
        names = [name for name in _arguments(called) if name != "self"][:2]
        if len(names) == 2 and _names_targets(names[0]) and not _names_targets(names[1]):
            raise InputError(
                f"loss {self.name!r} takes {names[0]} before {names[1]}, but it is called with logits and targets; "
                "change their order, or their names"
            )

    # Trying which targets it takes.

    def _try_targets(self) -> None:
        # The number of images differs from that of classes, so that no loss takes one for the other.
        images = 5 if self.num_classes != 5 else 6
        labels = torch.arange(images) % self.num_classes
        self.takes_labels = self.takes_probabilities = True
        self.has_value_for_each_image = False
        for_labels = self._try(labels)
        for_probabilities = self._try(F.one_hot(labels, self.num_classes).float())
        if isinstance(for_labels, str) and isinstance(for_probabilities, str):
            raise InputError(
                f"loss {self.name!r} cannot be computed from logits ({images}, {self.num_classes}) and labels "
                f"({images},): {for_labels}"
            )
        self.takes_labels = not isinstance(for_labels, str)
        # Some losses take any tensor as labels. Only equal results show that probabilities are taken as such.
        self.takes_probabilities = not isinstance(for_probabilities, str) and (
            isinstance(for_labels, str) or torch.allclose(for_labels, for_probabilities, rtol=1e-3, atol=1e-5)
        )

    def _try(self, targets: Tensor) -> Tensor | str:
        """Returns the losses of random logits (B,), or why they cannot be computed."""
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            logits = torch.randn(len(targets), self.num_classes, requires_grad=True)
            inputs = logits.log_softmax(1) if self._takes_log_probabilities else logits
            loss = copy.deepcopy(self.evaluated or self.trained)  # which may have a state
            try:
                value = loss(inputs, targets)
                if not isinstance(value, Tensor):
                    return f"it returned a {type(value).__name__}, not a tensor"
                if value.ndim and len(value) != len(targets):
                    return f"it returned a tensor {tuple(value.shape)}, not one number for each image"
                if not value.requires_grad:
                    return "its result has no gradient"
                self.has_value_for_each_image |= value.ndim > 0
                return self._for_each_image(value, len(targets)).detach()
            except Exception as error:  # the code of others may raise anything
                return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _arguments(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    if isinstance(factory, nn.Module):
        return {}
    try:
        return inspect.signature(factory).parameters
    except (ValueError, TypeError):  # written in C
        return {}


def _names_targets(name: str) -> bool:
    return name.lower() in _TARGETS or name.lower().startswith(("target", "label", "y_true"))


def _has_state(loss: Any) -> bool:
    return isinstance(loss, nn.Module) and any(True for _ in (*loss.parameters(), *loss.buffers()))
