"""Images with several labels: from a table to scores, predictions and exports."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn
from torchmetrics.functional.classification import multilabel_average_precision, multilabel_f1_score

from resnet_lightning import ImageClassifier, InputError, TableDataModule
from resnet_lightning.cli.main import main
from resnet_lightning.training.losses import ClassifierLoss
from resnet_lightning.training.multilabel import average_precisions, best_thresholds, f1_scores
from runs_alike import assert_same_run, with_callbacks

LABELS = ("red", "green", "blue")


def write_table(folder: Path, count: int = 60) -> None:
    """Images in which each label is a bright channel; the first one has no label."""
    draw = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(count):
        marks = draw.random(3) < (0.5, 0.4, 0.15) if number else np.zeros(3, bool)
        pixels = draw.integers(0, 90, (12, 12, 3)) + 150 * marks
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"{number:02}.png")
        rows.append([f"images/{number:02}.png", marks])
    with (folder / "labels.csv").open("w", newline="") as file:
        names = [";".join(name for name, mark in zip(LABELS, marks, strict=True) if mark) for _, marks in rows]
        csv.writer(file).writerows(
            [["file", "label"], *([row[0], cell] for row, cell in zip(rows, names, strict=True))]
        )
    with (folder / "columns.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", *LABELS], *([name, *map(int, marks)] for name, marks in rows)])


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    write_table(folder)
    return folder


def test_both_forms_of_a_table_give_the_same_labels_in_equal_shares(tables):
    by_column = TableDataModule(tables / "columns.csv", label_columns=list(LABELS), val_split=0.2)
    joined = TableDataModule(tables / "labels.csv", label_separator=";", classes=LABELS, val_split=0.2)
    assert joined.all_classes == tuple(sorted(LABELS))
    whole = torch.tensor(
        [[mark == "1" for mark in row[1:]] for row in csv.reader((tables / "columns.csv").read_text().splitlines())][1:]
    )
    for split in "train", "val", "test":
        found, other = by_column.split(split), joined.split(split)
        assert torch.equal(found.targets[found.indices], other.targets[other.indices])
        share = found.targets[found.indices].mean(0)
        assert torch.allclose(share, whole.float().mean(0), atol=2 / len(found)), split
    assert torch.equal(
        by_column.class_counts, by_column.split("train").targets[by_column.split("train").indices].sum(0)
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label_columns": ["red", "gren"]}, "data.label_columns has 'gren', which"),
        ({"label_columns": ["red", "file"]}, "has 'images/00.png' as 'file'; data.label_columns hold 0 or 1"),
        ({"label_columns": list(LABELS), "label_separator": ";"}, "data.label_separator is ';', but label_columns are"),
        ({"label_columns": list(LABELS), "sampling": "balanced"}, "data.sampling is balanced, which needs one label"),
    ],
    ids=str,
)
def test_a_wrong_table_of_labels_is_named_in_one_line(tables, options, words):
    with pytest.raises(InputError) as error:
        TableDataModule(tables / "columns.csv", **options)
    assert words in str(error.value)


def random_epoch() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    probabilities = (torch.rand(80, 4, generator=draw) * 20).round() / 20  # with ties
    return probabilities, (torch.rand(80, 4, generator=draw) < torch.tensor([0.1, 0.3, 0.6, 0.9])).float()


def test_average_precision_and_f1_are_those_of_torchmetrics():
    probabilities, targets = random_epoch()
    expected = multilabel_average_precision(probabilities, targets.long(), 4, average=None)
    torch.testing.assert_close(average_precisions(probabilities, targets).float(), expected)
    for threshold in 0.32, 0.71:
        expected = multilabel_f1_score(probabilities, targets.long(), 4, threshold=threshold, average=None)
        torch.testing.assert_close(f1_scores(probabilities, targets, torch.full((4,), threshold)).float(), expected)


def test_no_threshold_has_a_larger_f1_than_the_chosen_one():
    probabilities, targets = random_epoch()
    chosen = f1_scores(probabilities, targets, torch.tensor(best_thresholds(probabilities, targets)))
    for threshold in torch.linspace(0.001, 0.999, 200):
        assert (f1_scores(probabilities, targets, threshold.expand(4)) <= chosen + 1e-9).all()
    assert best_thresholds(probabilities, torch.zeros_like(targets)) == [0.5] * 4


def test_the_loss_is_that_of_torch_with_positive_weights_and_smoothed_to_one_half():
    logits, targets = torch.randn(6, 3), torch.randint(0, 2, (6, 3)).float()
    loss = ClassifierLoss("BCEWithLogitsLoss", {}, 3, 0.2, multilabel=True)
    loss.set_class_weights([1.0, 2.0, 5.0])
    weighted = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 2.0, 5.0]))
    for training, expected in (False, targets), (True, targets * 0.8 + 0.1):
        losses, weights = loss(logits, targets, training)
        assert weights is None
        torch.testing.assert_close(losses.mean(), weighted(logits, expected))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": "CrossEntropyLoss"}, "loss 'CrossEntropyLoss' needs one label for each image"),
        ({"loss": "MultiMarginLoss"}, "loss 'MultiMarginLoss' takes one label for each image"),
        ({"loss": "MSELoss", "class_weights": [1.0, 2.0, 3.0]}, "takes no model.class_weights"),
        ({"thresholds": 1.5}, "model.thresholds is 1.5; give a number between 0 and 1, or 3"),
        ({"thresholds": [0.5, 0.5]}, "model.thresholds is [0.5, 0.5]"),
        ({"thresholds": 0.3, "multilabel": False}, "model.thresholds is given, but each image has one label"),
        ({"metrics": {"mAP": "AUROC"}}, "the name 'mAP' is taken"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_several_labels_are_refused(options, words):
    with pytest.raises(InputError) as error:
        ImageClassifier("resnet20", num_classes=3, **{"multilabel": True, **options})
    assert words in str(error.value)


def fit(folder: Path, name: str, *more: str) -> list[str]:
    data = ["--data", "TableDataModule", "--data.table", str(folder / "columns.csv"), "--data.label_columns"]
    data += ["[red,green,blue]", "--data.batch_size", "12", "--data.augment", "{mixup: 0.2}"]
    model = ["--model.backbone", "resnet_lightning.models.cifar.cifar_resnet", "--model.backbone_args", "{depth: 8}"]
    model += ["--model.lr", "0.05", "--model.class_weights", "balanced", "--trainer.max_epochs", "8"]
    Path("small.yaml").write_text("checkpoint: {monitor: val/mAP}\n")
    return ["fit", "--config", "small.yaml", *data, *model, "--resume", name, *more]


def check_card(best: str, score: float) -> None:
    """The card of the weights has the F1 score, not the accuracy of single labels."""
    assert main(["export", best, "--format", "safetensors", "--output", "card/net.safetensors"]) == 0
    card = Path("card/MODEL_CARD.md").read_text()
    (measured,) = yaml.safe_load(card.split("---")[1])["model-index"][0]["results"][0]["metrics"]
    assert measured == {"type": "f1", "value": pytest.approx(score, abs=1e-5)}
    assert "which assigns any of 3 labels to colour images" in card


@pytest.mark.slow
@pytest.mark.usefixtures("in_an_empty_folder", "without_figures")
def test_a_run_learns_resumes_predicts_exports_and_reports(tables, capsys):
    onnxruntime = pytest.importorskip("onnxruntime", reason="runs ONNX: pip install -e '.[dev]'")
    stop = with_callbacks("more", Seen={"folder": "seen", "stop_at": [3, 1]})
    assert main(fit(tables, "stopped", *stop)) == 143
    assert main(fit(tables, "stopped", "--trainer.callbacks", "null")) == 0
    assert main(fit(tables, "whole")) == 0
    assert_same_run("stopped", "whole")
    assert "test mean average precision" in capsys.readouterr().out

    evaluation = json.loads(Path("whole/evaluation.json").read_text())
    assert evaluation["scores"]["mean average precision"]["value"] > 0.8
    rows = {row["name"]: row for row in evaluation["by_class"]}
    wrong = sum(row["missed"] + row["wrongly_predicted"] for row in rows.values())
    assert {m["of_label"] for m in evaluation["mistakes"]} <= set(LABELS)
    assert len(evaluation["mistakes"]) == wrong or len(evaluation["mistakes"]) >= 10
    assert Path("whole/pictures/worst_mistakes.png").exists() == bool(wrong)

    best = "whole/checkpoints/best.ckpt"
    thresholds = ImageClassifier.load_from_checkpoint(best).thresholds
    assert thresholds.tolist() == pytest.approx([rows[name]["threshold"] for name in LABELS])
    assert main(["predict", "--ckpt_path", best, "--data.predict_folder", str(tables / "images")]) == 0
    (file,) = Path("runs").rglob("predictions.csv")
    shown = " ".join(capsys.readouterr().out.split())
    rows = list(csv.DictReader(file.read_text().splitlines()))
    for row in rows:
        above = [n for n, t in zip(LABELS, thresholds, strict=True) if float(row[f"probability_{n}"]) >= float(t)]
        assert row["labels"] == ";".join(above)
    for name in LABELS:
        assert f"{name} {sum(name in row['labels'].split(';') for row in rows)}" in shown

    assert main(["export", best, "--format", "torch_export", "--output", "net.pt2"]) == 0
    extra = {"thresholds": "", "class_names": ""}
    program = torch.export.load("net.pt2", extra_files=extra).module()
    assert json.loads(extra["thresholds"]) == pytest.approx(thresholds.tolist())
    probabilities, labels = program(torch.randint(0, 255, (4, 12, 12, 3), dtype=torch.uint8))
    assert torch.equal(labels, probabilities >= thresholds)

    assert main(["export", best, "--format", "onnx", "--output", "net.onnx"]) == 0
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), np.uint8)
    probabilities, labels = session.run(["probabilities", "labels"], {"images": pixels})
    assert (labels == (probabilities >= thresholds.numpy())).all()
    assert labels.any()
    assert not labels.all()

    check_card(best, evaluation["scores"]["macro F1"]["value"])
    capsys.readouterr()
    assert main(["test", "--ckpt_path", best]) == 0
    score = evaluation["scores"]["macro F1"]
    assert f"test macro F1 │ {score['value']:.2%} [" in " ".join(capsys.readouterr().out.split())
    assert main(["calibrate", best]) == 2
    assert "several labels here" in capsys.readouterr().err
    assert main(["report", "whole", "--output", "page.html"]) == 0
    page = Path("page.html").read_text()
    assert "average precision" in page
    assert "macro F1" in page
    assert "3 of 3 labels have fewer than 30 test images" in page
    assert "threshold" in page
