"""The pictures of runs: no text covers another, and nothing is cut off."""

import itertools

import numpy as np
import pytest

from resnet_lightning.runs import figures
from resnet_lightning.runs.figures.style import PAGE


def test_names_of_clusters_at_one_place_do_not_overlap() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 10
    figure = figures.embedding(rng.normal(size=(200, 2)), labels, [f"class number {k}" for k in range(10)])
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 10
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    window = figure.axes[0].get_window_extent()
    assert all(window.x0 - 1 <= box.x0 and box.x1 <= window.x1 + 1 for box in boxes)


def test_names_of_a_hundred_classes_do_not_overlap() -> None:
    rng = np.random.default_rng(0)
    names = [f"class number {k}" for k in range(100)]
    figure = figures.embedding(rng.normal(size=(300, 2)), np.arange(300) % 100, names)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert 20 < len(boxes) < 100
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]


@pytest.mark.parametrize("classes", [1, 2, 10])
def test_all_texts_of_a_confusion_matrix_are_inside_the_picture(classes: int) -> None:
    names = [f"{k} a class with quite a long name" for k in range(classes)]
    figure = figures.confusion_matrix(np.eye(classes, dtype=np.int64) * 12_345, names)
    figure.draw_without_rendering()
    width, height = figure.bbox.width, figure.bbox.height
    axes = figure.axes[0]
    for text in [*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label]:
        box = text.get_window_extent()
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0, text.get_text()


def test_an_empty_place_in_a_grid_has_the_color_of_the_page() -> None:
    white = np.full((8, 8), 255, np.uint8)
    grid = figures.images_in_a_grid([white, None, white, white], columns=2, row_names=["first", "second"])
    pixels = np.array(grid)
    page = [int(PAGE[place : place + 2], 16) for place in (1, 3, 5)]
    is_white = (pixels == 255).all(-1)
    assert is_white.sum() == 3 * 128 * 128
    assert (pixels[20:140, -140:-20] == page).all()


def test_a_long_caption_continues_in_a_second_line() -> None:
    image = np.zeros((8, 8), np.uint8)
    one, two = (figures.images_in_a_grid([image], [name]).height for name in ("cat", "a domestic short-haired cat"))
    three = figures.images_in_a_grid([image], ["a domestic short-haired cat" * 20]).height
    assert one < two == three


CURVES_FAR_APART = {
    "train/acc": [(0, 0.148), (1, 0.141)],
    "val/acc": [(0, 0.0), (1, 0.0625)],
    "train/loss": [(0, 0.69), (1, 0.64)],
    "val/loss": [(0, 1e4), (1, 1e3)],
}


@pytest.mark.parametrize("monitored", ["val/acc", "val/loss"])
@pytest.mark.filterwarnings("error:constrained_layout")
def test_learning_curves_that_lie_far_apart_leave_room_for_axes_and_legends(monitored: str) -> None:
    figure = figures.learning_curves(CURVES_FAR_APART, best=(monitored, 1))
    figure.draw_without_rendering()
    for axes in figure.axes:
        legend = axes.get_legend()
        assert legend is not None
        for box in axes.get_window_extent(), legend.get_window_extent():
            assert 0 <= box.x0 < box.x1 <= figure.bbox.width
            assert 0 <= box.y0 < box.y1 <= figure.bbox.height
        assert axes.get_window_extent().height > 0.5 * figure.bbox.height


def test_learning_curves_show_all_accuracies() -> None:
    axes = figures.learning_curves(CURVES_FAR_APART).axes[0]
    low, high = axes.get_ylim()
    values = [value for line in axes.get_lines() for value in np.asarray(line.get_ydata(), dtype=float)]
    assert len(values) == 4
    assert all(low <= value <= high for value in values)
