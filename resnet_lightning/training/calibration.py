"""Calibrated probabilities: a temperature that divides the logits, fitted on validation images (Guo et al. 2017)."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..runs.reliability import Reliability, reliability

KEY = "calibration"
"""The entry of a checkpoint."""

_LARGEST = 10_000.0
_ROWS = 4096  # at a time


@dataclass(frozen=True)
class Calibration:
    """A temperature, and what it changed on the images that it was fitted on.

    Args:
        temperature: what the logits are divided by.
        images: the number of images that it was fitted on.
        loss: their mean negative log-likelihood, without and with the temperature.
        error: their expected calibration error, without and with it.
        mistakes: how many of them are classified wrongly.
        error_by_chance: what the first error would be below in 19 of 20 cases if the model were calibrated already.
        of: the name of the checkpoint that was calibrated.
    """

    temperature: float
    images: int
    loss: tuple[float, float]
    error: tuple[float, float]
    mistakes: int
    error_by_chance: float
    of: str

    def as_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint stores."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def of_checkpoint(cls, checkpoint: Mapping[str, Any]) -> Self | None:
        """Returns the calibration in a checkpoint; None if there is none.

        Raises:
            InputError: if it is malformed.
        """
        stored = checkpoint.get(KEY)
        if stored is None:
            return None
        try:
            pairs = [tuple(map(float, stored[name])) for name in ("loss", "error")]
            (loss_0, loss_1), (error_0, error_1) = pairs
            temperature, chance = (float(stored[name]) for name in ("temperature", "error_by_chance"))
            images, mistakes = int(stored["images"]), int(stored["mistakes"])
            of = str(stored["of"])
            found = cls(temperature, images, (loss_0, loss_1), (error_0, error_1), mistakes, chance, of)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError("the checkpoint's calibration is malformed; run `lightning calibrate` again") from error
        if not (math.isfinite(temperature) and temperature > 0):
            raise InputError(
                f"the checkpoint's temperature is {temperature}, and not a number above 0; run `lightning calibrate` "
                "again"
            )
        return found


def calibrate(logits: Tensor, labels: Tensor, of: str) -> Calibration:
    """Fits the temperature with the smallest negative log-likelihood (Guo et al. 2017, section 4.2).

    See ``fit_temperature`` for what makes it finite.

    Args:
        logits: (N, K).
        labels: (N,).
        of: the name of the checkpoint.

    Raises:
        InputError: if none can be fitted.
    """
    logits, labels = logits.double().cpu(), labels.cpu()
    temperature = fit_temperature(logits, labels)
    scaled = logits, logits / temperature
    before, after = (_reliability(values, labels) for values in scaled)
    losses = [float(F.cross_entropy(values, labels)) for values in scaled]
    mistakes = int((logits.argmax(1) != labels).sum())
    errors = before.error, after.error
    return Calibration(temperature, len(labels), (losses[0], losses[1]), errors, mistakes, before.error_by_chance, of)


def _reliability(logits: Tensor, labels: Tensor) -> Reliability:
    confidences, predictions = logits.softmax(1).max(1)
    return reliability(confidences.numpy(), (predictions == labels).numpy())


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Returns the temperature with the smallest mean cross-entropy of logits (N, K) and labels (N,).

    The label of an image counts (N + 1) / (N + 2), and the most likely other class the rest, as if two images more had
    been seen, one of them classified wrongly (Platt 1999, section 2.2). Otherwise the best temperature would be 0 if
    all images are classified correctly. The loss is convex in the inverse temperature, so that the zero of its
    derivative is found by bisection.

    Raises:
        InputError: if logits are not finite, or no temperature from 0.0001 to 10,000 is the best.
    """
    if not bool(logits.isfinite().all()):
        raise InputError("the network returns NaN or infinite logits for validation images; train it again")
    rest = 1 / (len(labels) + 2)
    of_label = logits.gather(1, labels[:, None]).squeeze(1)
    of_other = logits.scatter(1, labels[:, None], -math.inf).amax(1)
    target = float(((1 - rest) * of_label + rest * of_other).sum())

    def slope(inverse: float) -> float:
        """The derivative of the summed loss by the inverse temperature."""
        parts = logits.split(_ROWS)
        return sum(float(((part * inverse).softmax(1) * part).sum()) for part in parts) - target

    low, high = -math.log(_LARGEST), math.log(_LARGEST)  # of the inverse temperature
    if not slope(math.exp(low)) < 0 < slope(math.exp(high)):
        raise InputError("the network is no better than chance on the validation images; train it first")
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) < 0 else (low, middle)
    return math.exp(-(low + high) / 2)
