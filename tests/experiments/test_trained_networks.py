"""The studies that look into trained networks, at their smoke budget: what they measure and write."""

import math
from pathlib import Path

import pytest

from resnet_lightning.cli.main import main
from resnet_lightning.experiments.studies import find_study, gradients, landscape, lesions
from resnet_lightning.experiments.studies.results import read_results

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_an_empty_folder")]


def results_of(name: str):
    """The results of a study at the smoke budget, whose numbers are all finite."""
    assert main(["study", name, "--folder", "study", "--trainer.accelerator", "cpu"]) == 0
    results = read_results("study")
    assert Path("study/figure.png").stat().st_size > 20_000
    page = Path("study/page.md").read_text()
    labels = [variant.label for variant in find_study(name).budgets["smoke"].variants]
    assert all(f"| {label} |" in page for label in labels)
    assert {row.variant for row in results.rows} == {one.variant for one in results.measured} == set(labels)
    assert all(math.isfinite(one.value) for one in results.measured)
    return results


def places(results, variant, quantity):
    return [at for at, _ in results.curve(variant, quantity)]


def mean(results, variant, quantity):
    return results.spread(variant, quantity).mean


def test_lesions():
    results = results_of("lesions")
    assert places(results, "plain-14", lesions.ONE) == places(results, "ResNet-14", lesions.ONE) == [1, 2, 4, 6]
    assert places(results, "ResNet-14", lesions.ONE_THAT_CHANGES_SHAPE) == [3, 5]
    assert places(results, "plain-14", lesions.ONE_THAT_CHANGES_SHAPE) == []
    intact = results.curve("ResNet-14", lesions.SEVERAL)[0][1].mean
    assert intact == pytest.approx(mean(results, "ResNet-14", "error"), abs=1e-3)  # all test images are in the sample
    assert mean(results, "plain-14", lesions.ONE) > mean(results, "ResNet-14", lesions.ONE) + 20
    assert mean(results, "plain-14", lesions.ONE) > 70


def test_gradients():
    results = results_of("gradients")
    for variant in "plain-14", "ResNet-14":
        assert places(results, variant, gradients.START) == list(range(1, 15))  # 13 convolutions and the head
        assert results.curve(variant, gradients.CORRELATION)[0][1].mean == pytest.approx(1)
    assert mean(results, "ResNet-14", gradients.NEIGHBORS) > mean(results, "plain-14", gradients.NEIGHBORS)
    assert places(results, "ResNet-14", gradients.PATH_NORM) == list(range(7))
    assert sum(spread.mean for _, spread in results.curve("ResNet-14", gradients.PATH_SHARE)) == pytest.approx(
        1, abs=1e-4
    )
    assert 0 < mean(results, "ResNet-14", gradients.LENGTH) < 6
    assert places(results, "plain-14", gradients.PATH_NORM) == []


def test_landscape():
    results = results_of("landscape")
    for variant in "plain-14", "ResNet-14":
        line = results.curve(variant, landscape.LOSS)
        assert [at for at, _ in line] == pytest.approx([i / 15 - 1 for i in range(31)], abs=1e-5)
        assert min(line, key=lambda point: point[1].mean)[0] == pytest.approx(0, abs=0.2)  # it has been trained
        assert line[0][1].mean > 2
        assert line[-1][1].mean > 2
