"""The temperature that calibrates probabilities."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from resnet_lightning import ImageClassifier
from resnet_lightning.errors import InputError
from resnet_lightning.runs.reliability import calibration_error, in_bins, reliability
from resnet_lightning.training.calibration import Calibration, calibrate, fit_temperature


def drawn(temperature: float, images: int = 4000, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, K) whose probabilities are right at a temperature, and labels (N,) drawn from these."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(images, classes, generator=generator, dtype=torch.float64)
    labels = (logits / temperature).softmax(1).multinomial(1, generator=generator).squeeze(1)
    return logits, labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_is_the_true_one_and_has_the_smallest_loss(temperature):
    logits, labels = drawn(temperature)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.1)
    best = F.cross_entropy(logits / found, labels)
    assert all(best < F.cross_entropy(logits / (found * factor), labels) for factor in (0.99, 1.01))


def test_a_calibrated_model_has_a_smaller_loss_and_error_than_before():
    logits, labels = drawn(3.0)
    found = calibrate(logits, labels, "best.ckpt")
    assert (found.images, found.of) == (4000, "best.ckpt")
    assert found.loss[1] < found.loss[0]
    assert found.error[1] < 0.03 < found.error[0]
    assert Calibration.of_checkpoint({"calibration": found.as_dict()}) == found


def test_without_mistakes_the_mean_confidence_is_that_of_one_mistake_more():
    """For two classes with equal margins, Platt's targets have a closed form: the confidence is (N + 1) / (N + 2)."""
    labels = torch.tensor([0, 1] * 25)
    logits = 3.0 * F.one_hot(labels, 2).double()
    found = calibrate(logits, labels, "best.ckpt")
    confidences = (logits / found.temperature).softmax(1).amax(1)
    assert confidences == pytest.approx(51 / 52)
    assert found.mistakes == 0


def test_logits_that_determine_no_temperature_are_one_line():
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    with pytest.raises(InputError, match="no better than chance"):
        fit_temperature(logits, logits.argmin(1))
    with pytest.raises(InputError, match="no better than chance"):
        fit_temperature(torch.zeros(50, 4), logits.argmin(1))
    with pytest.raises(InputError, match="NaN or infinite logits"):
        fit_temperature(logits * torch.nan, logits.argmax(1))


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"temperature": float("nan")}, {"loss": 3}, {"images": None}])
def test_a_calibration_that_is_malformed_is_refused(wrong):
    stored = {"temperature": 2.0, "images": 9, "loss": [1.0, 0.5], "error": [0.1, 0.0], "of": "best.ckpt"}
    stored |= {"mistakes": 1, "error_by_chance": 0.2}
    assert Calibration.of_checkpoint({"calibration": stored}).temperature == 2
    with pytest.raises(InputError, match="run `lightning calibrate` again"):
        Calibration.of_checkpoint({"calibration": {**stored, **wrong}})


def test_the_calibration_error_is_that_of_torchmetrics():
    logits, labels = drawn(2.0, images=500)
    probabilities = logits.softmax(1)
    confidences, predictions = probabilities.max(1)
    expected = multiclass_calibration_error(probabilities, labels, num_classes=5, n_bins=15, norm="l1")
    bins = in_bins(confidences.numpy(), (predictions == labels).numpy())
    assert calibration_error(bins) == pytest.approx(float(expected), abs=1e-6)
    assert sum(one.images for one in bins) == 500


def test_the_error_by_chance_is_what_calibrated_models_stay_below_in_19_of_20_tests():
    generator = np.random.default_rng(1)
    confidences = generator.uniform(0.5, 1, 300)
    below = 0
    for _ in range(200):
        found = reliability(confidences, generator.random(300) < confidences)
        below += found.error <= found.error_by_chance
    assert 178 <= below <= 199  # 190 expected


def test_a_classifier_divides_its_logits_by_the_temperature():
    model = ImageClassifier("resnet20", num_classes=3, in_chans=1).eval()
    images = torch.randn(4, 1, 8, 8)
    plain = model.predict_step(images, 0)
    model.calibration = Calibration(2.0, 9, (1.0, 0.5), (0.1, 0.0), 1, 0.2, "best.ckpt")
    with torch.no_grad():
        expected = (model(images) / 2).softmax(1)
    torch.testing.assert_close(model.predict_step(images, 0), expected)
    assert not torch.allclose(plain, expected)
