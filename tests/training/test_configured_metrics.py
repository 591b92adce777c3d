"""Metrics of a config: found by name and path, logged by class, monitored, and shown by every command."""

import json

import pytest
import torch
from torch import nn
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_f1_score,
    multiclass_auroc,
    multiclass_f1_score,
    multiclass_recall,
)

from resnet_lightning import DigitsDataModule, ImageClassifier, InputError
from resnet_lightning.cli.main import main
from resnet_lightning.training.configured_metrics import ConfiguredMetrics
from small_trainings import Batches, linear, make_trainer

NAMES = ["ant", "bee", "cat"]
LOGITS = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(40) % 3
PER_CLASS = {"class_path": "MulticlassRecall", "init_args": {"average": "none"}}


def values(config: dict, logits=LOGITS, labels=LABELS, class_names=NAMES) -> dict[str, float]:
    metrics = ConfiguredMetrics(config, logits.shape[1])
    metrics.update(logits[:30], labels[:30])
    metrics.update(logits[30:], labels[30:])
    found = {name: value.item() for name, value in metrics.compute(class_names).items()}
    assert list(found) == metrics.names(class_names)
    return found


def test_numbers_numbers_by_class_and_numbers_by_name():
    recall = multiclass_recall(LOGITS, LABELS, 3, average="none").tolist()
    hits = [float(((LOGITS.argmax(1) == LABELS) & (k == LABELS)).sum()) for k in range(3)]
    expected = {
        "f1": multiclass_f1_score(LOGITS, LABELS, 3, average="macro").item(),
        "task": multiclass_f1_score(LOGITS, LABELS, 3, average="micro").item(),
        "auc": multiclass_auroc(LOGITS, LABELS, 3).item(),
        **{f"recall/{name}": value for name, value in zip(NAMES, recall, strict=True)},
        **{f"hits/{name}": value for name, value in zip(NAMES, hits, strict=True)},
        "rates/images": 40,
        "rates/double": 80,
    }
    found = values(
        {
            "f1": {"class_path": "torchmetrics.classification.MulticlassF1Score", "init_args": {"average": "macro"}},
            "task": "F1Score",
            "auc": "MulticlassAUROC",
            "recall": PER_CLASS,
            "hits": "own_parts.Hits",
            "rates": "own_parts.Rates",
        }
    )
    assert found == pytest.approx(expected)


def test_two_classes_may_have_a_metric_of_one_probability():
    logits, labels = LOGITS[:, :2], LABELS % 2
    found = values({"f1": "BinaryF1Score", "auc": "BinaryAUROC"}, logits, labels, [])
    positive = logits.softmax(1)[:, 1]
    expected = {"f1": binary_f1_score(positive, labels).item(), "auc": binary_auroc(positive, labels).item()}
    assert found == pytest.approx(expected)


def test_logits_that_look_like_probabilities_are_converted_too():
    logits = torch.rand(40, 3, generator=torch.Generator().manual_seed(3))
    calibration = values({"ece": "MulticlassCalibrationError"}, logits)["ece"]
    confidence, predicted = logits.softmax(1).max(1)
    bins = (confidence * 15).long()
    gaps = [(confidence[bins == b] - (predicted == LABELS)[bins == b].float()).sum().abs() for b in range(15)]
    assert calibration == pytest.approx(sum(gaps).item() / 40, abs=1e-6)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"f1": "MulticlasF1Score"}, "model.metrics: f1 is 'MulticlasF1Score', which is unknown; did you mean 'Multi"),
        ({"f1": "own_parts.F1"}, "model.metrics: f1 'own_parts.F1' cannot be imported"),
        ({"f1": "torch.nn.ReLU"}, "f1 is a ReLU, which is no torchmetrics.Metric"),
        (
            {"f1": {"class_path": "MulticlassF1Score", "init_args": {"avrage": 1}}},
            "takes no option 'avrage'; did you mean 'average'",
        ),
        (
            {"a": {"class_path": "torchmetrics.MetricCollection", "init_args": {"metrics": {}}}},
            "give each of its metrics",
        ),
        ({"f1": {"class_path": "MulticlassF1Score", "init_args": {"average": "macr"}}}, "macr"),
        ({"f1": {"class": "MulticlassF1Score"}}, "give the name of a class, or {class_path: ..., init_args: ...}"),
        ({"f1": 3}, "model.metrics: f1 is 3; give the name of a class"),
        ({"acc": "MulticlassAccuracy"}, "the name 'acc' is taken; give another name"),
        ({"f/1": "MulticlassF1Score"}, "the name 'f/1' may have letters, digits, _ and -"),
        ({"map": "MeanSquaredError"}, "map (MeanSquaredError) cannot be computed from class probabilities (8, 3) and"),
        ({"matrix": "own_parts.Matrix"}, "matrix returns a tensor (2, 3); a metric has to return a number, or one for"),
    ],
    ids=str,
)
def test_a_wrong_metric_is_named_in_one_line(config, words):
    with pytest.raises(InputError) as error:
        ImageClassifier(nn.Linear(2, 3), num_classes=3, metrics=config)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_validation_and_test_log_them_over_all_images_and_training_does_not():
    model = ImageClassifier(linear(), metrics={"f1": "MulticlassF1Score", "recall": PER_CLASS}, lr=0.01)
    trainer = make_trainer(limit_train_batches=2, max_epochs=2)
    data = DigitsDataModule(batch_size=100)
    trainer.fit(model, data)
    split = data.split("val")
    logits = model(data.normalize(split.images[split.indices].permute(0, 3, 1, 2)))
    labels = split.targets[split.indices]
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    recall = multiclass_recall(logits, labels, 10, average="none").tolist()
    assert logged["val/f1"] == pytest.approx(multiclass_f1_score(logits, labels, 10, average="macro").item())
    assert [logged[f"val/recall/{k}"] for k in range(10)] == pytest.approx(recall)
    assert not [name for name in logged if name.startswith("train/") and ("f1" in name or "recall" in name)]
    (tested,) = trainer.test(model, data, verbose=False)
    assert {"test/f1", *(f"test/recall/{k}" for k in range(10))} < tested.keys()


def test_several_loaders_each_have_theirs():
    batches = [(torch.randn(30, 1, 8, 8), torch.arange(30) % 10) for _ in range(2)]
    model = ImageClassifier(linear(), metrics={"recall": PER_CLASS, "f1": "MulticlassF1Score"})
    trainer = make_trainer()
    trainer.validate(model, {"clean": Batches(batches[:1]), "noisy": Batches(batches[1:])}, verbose=False)
    expected = [multiclass_f1_score(model(x), y, 10, average="macro").item() for x, y in batches]
    found = {name: value.item() for name, value in trainer.callback_metrics.items()}
    names = ["val/f1", "val/f1/clean", "val/f1/noisy"]
    assert [found[name] for name in names] == pytest.approx([expected[0], *expected])
    assert "val/recall/3/noisy" in found


def test_metrics_of_a_model_in_bfloat16_count_exactly():
    metrics = ConfiguredMetrics({"hits": "own_parts.Hits"}, 3).to(torch.bfloat16)
    for _ in range(30):
        metrics.update(10 * torch.eye(3)[LABELS], LABELS)
    assert [v.item() for v in metrics.compute(NAMES).values()] == [30 * 14, 30 * 13, 30 * 13]


@pytest.mark.slow
def test_every_output_of_a_run_has_them(in_an_empty_folder, capsys, tmp_path):
    metrics = json.dumps({"f1": "MulticlassF1Score", "recall": PER_CLASS})
    options = ["--model.backbone", "own_parts.net", "--model.metrics", metrics, "--checkpoint.monitor", "val/recall/3"]
    short = ["--trainer.max_epochs", "2", "--trainer.limit_train_batches", "4", "--trainer.accelerator", "cpu"]
    assert main(["fit", "--data", "DigitsDataModule", *options, *short]) == 0
    printed = capsys.readouterr().out
    assert "test f1" in printed
    assert "test recall" in printed
    (folder,) = (tmp_path / "runs" / "run").iterdir()
    header = (folder / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"val/f1", "test/f1", "val/recall/3", "test/recall/9"} <= set(header)
    evaluation = json.loads((folder / "evaluation.json").read_text())["metrics"]
    assert {"test/f1", "test/recall/0"} <= evaluation.keys()

    assert main(["runs"]) == 0
    assert "test f1" in capsys.readouterr().out
    assert main(["report", str(folder), "--output", "report.html"]) == 0
    page = (tmp_path / "report.html").read_text()
    assert f"{evaluation['test/f1']:.4f}" in page
    assert f"{evaluation['test/recall/0']:.4f}" in page

    checkpoint = folder / "checkpoints" / "best.ckpt"
    assert torch.load(checkpoint, weights_only=True)["hyper_parameters"]["metrics"]["f1"] == "MulticlassF1Score"
    assert main(["test", "--ckpt_path", str(checkpoint), "--trainer.accelerator", "cpu"]) == 0
    assert "test/f1" in capsys.readouterr().out


def test_a_monitor_that_is_not_among_them_names_the_nearest(in_an_empty_folder, capsys):
    options = ["--model.metrics.f1", "MulticlassF1Score", "--checkpoint.monitor", "val/f2"]
    assert main(["fit", "--data", "DigitsDataModule", *options, "--trainer.max_epochs", "1"]) != 0
    assert "checkpoint.monitor is 'val/f2', which is not measured; did you mean 'val/f1'" in capsys.readouterr().err
