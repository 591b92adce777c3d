"""The metrics that a config adds to loss and accuracy."""

import inspect
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torchmetrics
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from ..build import build, import_by_path
from ..errors import InputError, did_you_mean
from .multilabel import NEUTRAL, as_columns

_TAKEN = ("loss", "acc", "acc5", "images_per_second", "grad_norm")


class ConfiguredMetrics(nn.Module):
    """Metrics of torchmetrics, or of one's own, over the images of an epoch.

    Each is updated with class probabilities (B, C) float32 and labels (B,). A metric for two classes, such as
    ``BinaryF1Score``, gets the probability of class 1 (B,). It may return a number, a number for each class (C,), or a
    mapping of names to either. Its arguments ``num_classes`` and ``task`` are filled in.

    Args:
        config: by the name under which it is logged: the name of a class of torchmetrics, the dotted path of a
            ``torchmetrics.Metric``, or ``{class_path: ..., init_args: {...}}``.
        num_classes: C, the number of classes.
        multilabel: whether an image may have several labels: metrics then get the probability of each label (B, C) and
            the labels (B, C), and have ``num_labels`` and the task ``multilabel`` filled in.

    Raises:
        InputError: if there is no such class, if it rejects its arguments, or if it cannot be computed from class
            probabilities and labels.
    """

    def __init__(self, config: Mapping[str, Any], num_classes: int, multilabel: bool = False) -> None:
        super().__init__()
        self.multilabel = multilabel
        self._filled = {"num_labels": num_classes, "task": "multilabel"} if multilabel else {}
        self.num_classes = num_classes
        self._metrics = nn.ModuleList()  # a ModuleDict does not accept every name
        self._parts: dict[str, dict[str, int]] = {}  # by metric: the size of each of its results
        self._takes_positive: dict[str, bool] = {}
        for name, description in config.items():
            is_taken = name in _TAKEN or (multilabel and name in ("mAP", "f1"))
            if not re.fullmatch(r"[\w-]+", str(name)) or is_taken:
                why = "is taken" if is_taken else "may have letters, digits, _ and -"
                raise InputError(f"model.metrics: the name {name!r} {why}; give another name")
            self._try(str(name), _make(str(name), description, num_classes, **self._filled))
            # Once its arguments are checked: the check of each batch makes every step wait for the device.
            self._metrics.append(_make(str(name), description, num_classes, validate_args=False, **self._filled))

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Adds a batch: logits (B, C), and labels (B,) or class probabilities (B, C)."""
        if not self._metrics:
            return
        if self.multilabel:
            probabilities, labels = logits.float().sigmoid(), (as_columns(targets, self.num_classes) > NEUTRAL).long()
        else:
            probabilities = logits.float().softmax(1)
            labels = targets if targets.ndim == 1 else targets.argmax(1)
        for name, metric in self._by_name().items():
            if any(
                isinstance(s, Tensor) and s.dtype in (torch.bfloat16, torch.half) for s in metric.metric_state.values()
            ):
                metric.set_dtype(torch.float32)  # the states were converted together with the model
            metric.update(probabilities[:, 1] if self._takes_positive[name] else probabilities, labels)

    def compute(self, class_names: Sequence[str]) -> dict[str, Tensor]:
        """Returns the value of each name in ``names``, over all processes, and starts anew."""
        values: dict[str, Tensor] = {}
        for name, metric in self._by_name().items():
            for part, result in _results(name, metric.compute()).items():
                values.update(zip(self._names_of(part, result.numel(), class_names), result.flatten(), strict=True))
            metric.reset()
        return values

    def names(self, class_names: Sequence[str]) -> list[str]:
        """Returns the names under which the values are logged, without stage: ``f1``, or ``f1/cat`` for a class."""
        parts = [part for parts in self._parts.values() for part in parts.items()]
        return [name for part, size in parts for name in self._names_of(part, size, class_names)]

    def higher_is_better(self, name: str) -> bool | None:
        """Returns whether a larger value of a logged name is better; None if the metric does not declare it."""
        metric = self._by_name().get(name.partition("/")[0])
        return None if metric is None else metric.higher_is_better

    def _by_name(self) -> dict[str, Any]:
        return dict(zip(self._parts, self._metrics, strict=True))

    def _names_of(self, part: str, size: int, class_names: Sequence[str]) -> list[str]:
        if size == 1:
            return [part]
        known = class_names if len(class_names) == size else [str(label) for label in range(size)]
        return [f"{part}/{name}" for name in known]

    def _try(self, name: str, metric: Metric) -> None:
        """Computes a metric on random probabilities, to find out what it takes and returns."""
        # The number of images differs from that of classes, so that no metric takes one for the other.
        images = 8 if self.num_classes != 8 else 9
        labels = torch.arange(images) % self.num_classes
        generator = torch.Generator().manual_seed(0)
        probabilities = torch.randn(images, self.num_classes, generator=generator).softmax(1)
        inputs = (
            [probabilities, probabilities[:, 1]] if self.num_classes == 2 and not self.multilabel else [probabilities]
        )
        if self.multilabel:
            labels = torch.nn.functional.one_hot(labels, self.num_classes)
        reasons = []
        for takes_positive, predictions in enumerate(inputs):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    metric.reset()
                    metric.update(predictions, labels)
                    results = _results(name, metric.compute())
            except Exception as error:  # the code of others may raise anything
                reasons.append(" ".join(f"{type(error).__name__}: {error}".split())[:200])
                continue
            for part, result in results.items():
                if result.numel() != 1 and tuple(result.shape) != (self.num_classes,):
                    raise InputError(
                        f"model.metrics: {part} returns a tensor {tuple(result.shape)}; a metric has to return a "
                        "number, or one for each class"
                    )
            self._parts[name] = {part: result.numel() for part, result in results.items()}
            self._takes_positive[name] = bool(takes_positive)
            return
        raise InputError(
            f"model.metrics: {name} ({type(metric).__name__}) cannot be computed from class probabilities "
            f"({images}, {self.num_classes}) and labels {tuple(labels.shape)}: {reasons[0]}"
        )


def _results(name: str, value: Any) -> dict[str, Tensor]:
    """Returns the results of a metric by name: ``f1``, or ``f1/precision`` if it returns a mapping."""
    if isinstance(value, Mapping):
        return {f"{name}/{key}": torch.as_tensor(result) for key, result in value.items()}
    return {name: torch.as_tensor(value)}


def _make(name: str, description: Any, num_classes: int, **filled: Any) -> Metric:
    """Builds a metric from its description in the config; ``filled`` are arguments for metrics that have them."""
    if isinstance(description, str):
        description = {"class_path": description}
    is_mapping = isinstance(description, Mapping) and isinstance(description.get("class_path"), str)
    options = description.get("init_args") or {} if is_mapping else None
    if not isinstance(options, Mapping) or description.keys() - {"class_path", "init_args"}:
        raise InputError(
            f"model.metrics: {name} is {description!r}; give the name of a class, or "
            "{class_path: ..., init_args: ...}"
        )
    path = description["class_path"]
    factory = _find(name, path)
    accepted = inspect.signature(factory).parameters
    filled = {"num_classes": num_classes, "task": "multiclass", **filled}
    filled = {option: value for option, value in filled.items() if option in accepted}
    nested = {
        option: _make(f"{name}.{option}", value, num_classes) if _is_description(value) else value
        for option, value in options.items()
    }
    metric = build(f"metric {path!r}", factory, **{**filled, **nested})
    if isinstance(metric, MetricCollection):
        raise InputError(f"model.metrics: {name} is a MetricCollection; give each of its metrics a name of its own")
    if not isinstance(metric, Metric):
        raise InputError(f"model.metrics: {name} is a {type(metric).__name__}, which is no torchmetrics.Metric")
    return metric


def _is_description(value: Any) -> bool:
    return isinstance(value, Mapping) and "class_path" in value


def _find(name: str, path: str) -> Any:
    """Returns a class of torchmetrics by its name, or any callable by its dotted path."""
    if "." in path:
        return import_by_path(f"model.metrics: {name}", path)
    known = {
        known: found
        for module in (torchmetrics, torchmetrics.classification)
        for known, found in vars(module).items()
        if inspect.isclass(found) and issubclass(found, Metric)
    }
    if path not in known:
        raise InputError(f"model.metrics: {name} is {path!r}, which is unknown; {did_you_mean(path, known)}")
    return known[path]
