import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score, multiclass_precision

from resnet_lightning.runs.scores import class_scores, scores, wilson_interval

CONFUSION = [[50, 3, 0, 0], [4, 90, 1, 0], [0, 0, 7, 0], [0, 2, 0, 0]]


def images_of(confusion):
    """Labels and predictions (N,) with this confusion matrix."""
    pairs = [(row, column) for row, line in enumerate(confusion) for column, n in enumerate(line) for _ in range(n)]
    return torch.tensor(pairs).T


def test_scores_are_those_of_torchmetrics():
    labels, predictions = images_of(CONFUSION)
    found = {name: score.value for name, score in scores(CONFUSION).items()}
    options = {"num_classes": 4, "average": "macro"}
    expected = {
        "accuracy": float((labels == predictions).float().mean()),
        "balanced accuracy": float(multiclass_accuracy(predictions, labels, **options)),
        "macro precision": float(multiclass_precision(predictions, labels, **options)),
        "macro F1": float(multiclass_f1_score(predictions, labels, **options)),
    }
    assert found == pytest.approx(expected)


def test_scores_of_classes_are_those_of_torchmetrics():
    labels, predictions = images_of(CONFUSION)
    rows = class_scores("abcd", CONFUSION)
    assert [(row.name, row.images) for row in rows] == [("a", 53), ("b", 95), ("c", 7), ("d", 2)]
    f1 = multiclass_f1_score(predictions, labels, num_classes=4, average="none")
    assert [row.f1 for row in rows] == pytest.approx(f1.tolist())
    assert rows[3].precision == 0
    assert rows[3].recall == 0


def test_a_class_without_images_and_predictions_does_not_count():
    confusion = [[5, 1, 0], [0, 4, 0], [0, 0, 0]]
    row = class_scores("abc", confusion)[2]
    assert (row.images, row.precision, row.recall, row.f1) == (0, None, None, None)
    assert scores(confusion)["balanced accuracy"].value == pytest.approx((5 / 6 + 1) / 2)
    assert scores([[0, 0], [0, 0]]) == {}


def test_wilsons_interval():
    assert wilson_interval(352, 355) == pytest.approx((0.9755, 0.9971), abs=5e-5)
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1.0), abs=5e-5)  # 1 / (1 + 1.96**2 / 10)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=5e-5)


def test_without_a_mistake_only_the_accuracy_has_an_interval():
    found = scores([[5, 0], [0, 5]])
    assert found["accuracy"].interval == pytest.approx((0.7225, 1.0), abs=5e-5)
    assert found["macro F1"].value == 1
    assert found["macro F1"].interval is None
    assert [str(found[name]) for name in ("accuracy", "macro F1")] == ["100.00% [72.2, 100.0]", "100.00%"]


def test_intervals_hold_the_true_score_in_95_of_100_tests():
    """400 tests of 300 images of a model whose probabilities of each cell are known."""
    probabilities = np.array([[0.45, 0.05], [0.1, 0.4]])
    recalls = probabilities.diagonal() / probabilities.sum(1)
    f1 = 2 * probabilities.diagonal() / (probabilities.sum(1) + probabilities.sum(0))
    truth = {"accuracy": 0.85, "balanced accuracy": recalls.mean(), "macro F1": f1.mean()}
    generator, held = np.random.default_rng(1), dict.fromkeys(truth, 0)
    for _ in range(400):
        found = scores(generator.multinomial(300, probabilities.ravel()).reshape(2, 2))
        for name, value in truth.items():
            low, high = found[name].interval
            held[name] += low <= value <= high
    assert all(368 <= count <= 394 for count in held.values()), held  # 380 expected, three standard deviations


def test_many_classes_have_the_same_intervals_each_time():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(200), 50)
    predictions = np.where(generator.random(10_000) < 0.75, labels, generator.integers(0, 200, 10_000))
    confusion = np.zeros((200, 200), np.int64)
    np.add.at(confusion, (labels, predictions), 1)
    found = scores(confusion)
    assert scores(confusion) == found
    low, high = found["balanced accuracy"].interval
    assert low < found["balanced accuracy"].value < high
    assert high - low < 0.03
