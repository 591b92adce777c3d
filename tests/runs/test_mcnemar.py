"""McNemar's test of two runs on the same test images."""

import json
import math
import shutil

import pytest
import torch
import yaml

from resnet_lightning import DigitsDataModule, ImageClassifier
from resnet_lightning.cli.main import main
from resnet_lightning.runs.mcnemar import ImageComparison, mcnemar
from resnet_lightning.runs.paired import sign_test
from resnet_lightning.runs.reader import read_run
from resnet_lightning.runs.results_by_image import ResultsByImage


def test_the_images_that_only_one_has_right_decide():
    first, second = ResultsByImage("a", "1" * 20 + "0" * 5 + "-"), ResultsByImage("a", "0" * 12 + "1" * 11 + "00-")
    # 12 against 3: twice the sum of the binomial probabilities of 0 to 3 in 15.
    expected = 2 * (1 + 15 + 105 + 455) / 2**15
    assert mcnemar(first, second) == ImageComparison(25, 12, 3, pytest.approx(expected))
    assert mcnemar(first, first) == ImageComparison(25, 0, 0, 1.0)


def test_other_images_are_not_compared():
    first = ResultsByImage("a", "1101")
    assert mcnemar(first, ResultsByImage("b", "1101")) is None
    assert mcnemar(first, ResultsByImage("a", "110-")) is None
    assert mcnemar(first, ResultsByImage("a", "110")) is None


@pytest.mark.parametrize(("better", "worse"), [(3, 12), (40, 40), (900, 1000)])
def test_the_sign_test_is_the_sum_of_binomial_probabilities(better, worse):
    n = better + worse
    tail = sum(math.comb(n, k) for k in range(min(better, worse) + 1))
    assert sign_test(better, worse) == min(1.0, 2 * tail / 2**n)


def test_many_images_take_no_time():
    assert sign_test(24_000, 26_000) == pytest.approx(3.8e-19, rel=0.1)  # 8.94 deviations of a normal distribution


def test_the_results_by_image_are_those_of_the_best_checkpoint(digits_run):
    checkpoint = digits_run / "checkpoints/best.ckpt"
    data = torch.load(checkpoint, weights_only=True)["run"]["data"]
    images, labels = DigitsDataModule().read("test")
    pixels = (images[:, None] / 255 - torch.tensor(data["mean"])) / torch.tensor(data["std"])
    net = ImageClassifier.load_from_checkpoint(checkpoint, weights_only=True).eval()
    with torch.inference_mode():
        right = net(pixels.float()).argmax(1) == labels
    assert read_run(digits_run).evaluation.by_image.right == "".join(str(int(mark)) for mark in right)


@pytest.fixture
def two_runs(digits_run, tmp_path):
    """A run and a copy with another learning rate that has 12 images right in place of others that are wrong."""
    folders = []
    for name, lr, mark in (("a", 0.1, "0"), ("b", 0.2, "1")):
        folder = tmp_path / name
        shutil.copytree(digits_run, folder, ignore=shutil.ignore_patterns("*.ckpt", "pictures"))
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["model"]["lr"] = lr
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        edit(folder, lambda by_image, mark=mark: {**by_image, "right": mark * 12 + by_image["right"][12:]})
        folders.append(folder)
    return folders


def edit(folder, change) -> None:
    evaluation = json.loads((folder / "evaluation.json").read_text())
    evaluation["by_image"] = change(evaluation["by_image"])
    (folder / "evaluation.json").write_text(json.dumps(evaluation))


def report(folders, tmp_path, capsys) -> tuple[str, str]:
    page = tmp_path / "report.html"
    assert main(["report", *map(str, folders), "--output", str(page)]) == 0
    return " ".join(capsys.readouterr().out.split()), page.read_text()


def test_the_report_compares_two_runs(two_runs, tmp_path, capsys):
    said, page = report(two_runs, tmp_path, capsys)
    sentence = "differ: of 360 test images, 0 only run 1 has right, 12 only run 2; p = 0.00049."
    n = len(read_run(two_runs[0]).evaluation.by_image.right)
    sentence = sentence.replace("360", str(n))
    swapped = sentence.replace("0 only run 1", "12 only run 2", 1).replace("12 only run 2; p", "0 only run 1; p")
    assert sentence in said or swapped in said
    assert sentence in page or swapped in page


def test_the_report_does_not_compare_other_images(two_runs, tmp_path, capsys):
    edit(two_runs[1], lambda by_image: {**by_image, "fingerprint": "other"})
    said, page = report(two_runs, tmp_path, capsys)
    assert "were not tested on the same images" in said
    assert "were not tested on the same images" in page


@pytest.mark.parametrize("damage", [[1], {"fingerprint": "a"}, {"fingerprint": 3, "right": "1"}, "x"])
def test_damaged_results_are_noted(two_runs, damage, tmp_path, capsys):
    edit(two_runs[1], lambda by_image: damage)
    report(two_runs, tmp_path, capsys)
    assert read_run(two_runs[1]).notes == ("evaluation.json is damaged",)
