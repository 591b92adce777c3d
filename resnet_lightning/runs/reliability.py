"""How far the confidences of a model agree with its accuracy."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BINS = 15
_DRAWS = 200


@dataclass(frozen=True)
class Bin:
    """The test images whose confidence lies in an interval.

    Args:
        low: the lower end of the interval.
        high: its upper end.
        images: the number of images.
        right: how many of them are classified correctly.
        confidence: the mean confidence.
    """

    low: float
    high: float
    images: int
    right: int
    confidence: float

    @property
    def accuracy(self) -> float:
        return self.right / self.images


@dataclass(frozen=True)
class Reliability:
    """The confidences of a test beside its accuracy, in bins.

    Args:
        bins: those with images, by confidence.
        error_by_chance: the calibration error that a perfectly calibrated model stays below in 19 of 20 tests with
            these confidences: the error of a few images is never zero (Broecker and Smith 2007).
        temperature: that of the model, if it is calibrated.
        before: the bins without the temperature.
    """

    bins: list[Bin]
    error_by_chance: float
    temperature: float | None = None
    before: list[Bin] | None = None

    @property
    def error(self) -> float:
        """The expected calibration error."""
        return calibration_error(self.bins)

    @property
    def error_before(self) -> float | None:
        """The expected calibration error without the temperature; None if the model has none."""
        return None if self.before is None else calibration_error(self.before)

    def as_dict(self) -> dict[str, Any]:
        """Returns what ``evaluation.json`` has of it."""
        return asdict(self)

    @classmethod
    def parse(cls, read: Mapping[str, Any]) -> Self:
        """Reads what ``as_dict`` returns.

        Raises:
            KeyError, TypeError, ValueError: if it is damaged.
        """
        temperature = None if read["temperature"] is None else float(read["temperature"])
        before = None if read["before"] is None else _parse_bins(read["before"])
        return cls(_parse_bins(read["bins"]), float(read["error_by_chance"]), temperature, before)


def _parse_bins(read: Any) -> list[Bin]:
    bins = [
        Bin(float(row["low"]), float(row["high"]), int(row["images"]), int(row["right"]), float(row["confidence"]))
        for row in read
    ]
    if any(one.images < 1 or not 0 <= one.right <= one.images for one in bins):
        raise ValueError("a bin has no images")
    return bins


def reliability(
    confidences: Floats, right: npt.NDArray[np.bool_], temperature: float | None = None, before: Floats | None = None
) -> Reliability:
    """Puts the images of a test into bins by their confidence.

    Args:
        confidences: the probability of the predicted class (N,).
        right: whether the prediction is right (N,).
        temperature: that of the model, if it is calibrated.
        before: the confidences without the temperature (N,).
    """
    bins_before = None if before is None else in_bins(before, right)
    return Reliability(in_bins(confidences, right), _error_by_chance(confidences), temperature, bins_before)


def in_bins(confidences: Floats, right: npt.NDArray[np.bool_]) -> list[Bin]:
    """Returns the bins with images: of 15 of equal width, as in Guo et al. 2017, section 2."""
    places = _places(confidences)
    found = []
    for place in np.unique(places).tolist():
        inside = places == place
        mean = float(confidences[inside].mean())
        found.append(Bin(place / BINS, (place + 1) / BINS, int(inside.sum()), int(right[inside].sum()), mean))
    return found


def _places(confidences: Floats) -> npt.NDArray[np.int64]:
    return np.minimum((confidences * BINS).astype(np.int64), BINS - 1)


def calibration_error(bins: list[Bin]) -> float:
    """Returns the expected calibration error (Naeini et al. 2015; Guo et al. 2017, equation 3).

    It is the mean distance between confidence and accuracy of the bins, weighted by their images.
    """
    images = sum(one.images for one in bins)
    return sum(one.images * abs(one.accuracy - one.confidence) for one in bins) / max(images, 1)


def _error_by_chance(confidences: Floats) -> float:
    places, generator = _places(confidences), np.random.default_rng(0)
    summed = np.bincount(places, confidences, minlength=BINS)
    errors = []
    for _ in range(_DRAWS):
        right = generator.random(len(confidences)) < confidences
        errors.append(np.abs(np.bincount(places, right, minlength=BINS) - summed).sum() / len(confidences))
    return float(np.quantile(errors, 0.95))
