import itertools
import math

import numpy as np
import pytest
import torch
from torchvision.transforms import RandomErasing, RandomResizedCrop

from distributions import assert_equally_likely, assert_uncorrelated, assert_uniform
from resnet_lightning.data.augmentation.boxes import draw_boxes
from resnet_lightning.data.augmentation.draws import Draws

N = 20_000
CROPPED = (0.08, 1.0), (3 / 4, 4 / 3)
ERASED = (0.02, 1 / 3), (0.3, 1 / 0.3)


def draws(n=N, seed=0):
    return Draws(torch.arange(n), seed, 1)


def sides(n, height, width):
    return np.full(n, height), np.full(n, width)


def many_sides(n=N, seed=0):
    """Images of all shapes, most of them of no extreme one."""
    return np.random.default_rng(seed).integers(1, 200, (2, n))


def largest_distance(a, b):
    """Between the distributions of two samples (Kolmogorov & Smirnov)."""
    places = np.unique(np.concatenate([a, b]))
    below = [np.searchsorted(np.sort(sample), places, side="right") / len(sample) for sample in (a, b)]
    return np.abs(below[0] - below[1]).max()


def box_by_torchvisions_recipe(numbers, height, width, area, aspect, or_else_middle):
    """One image's box, step by step: ten areas, ten aspects, a row and a column are its numbers."""
    for share, shape in zip(numbers[:10], numbers[10:20], strict=True):
        wanted = (area[0] + (area[1] - area[0]) * share) * height * width
        ratio = math.exp(math.log(aspect[0]) + (math.log(aspect[1]) - math.log(aspect[0])) * shape)
        rows, columns = round(math.sqrt(wanted / ratio)), round(math.sqrt(wanted * ratio))
        if 0 < rows <= height and 0 < columns <= width:
            top, left = numbers[20] * (height - rows + 1), numbers[21] * (width - columns + 1)
            return math.floor(top), math.floor(left), rows, columns
    if not or_else_middle:
        return None
    rows, columns = height, width
    if width / height < aspect[0]:
        rows = round(width / aspect[0])
    elif width / height > aspect[1]:
        columns = round(height * aspect[1])
    return (height - rows) // 2, (width - columns) // 2, rows, columns


@pytest.mark.parametrize(
    ("area", "aspect", "or_else_middle"), [(*CROPPED, True), (*ERASED, False), ((0.5, 1.0), (0.2, 5.0), True)]
)
def test_boxes_equal_those_of_a_loop_over_tries(area, aspect, or_else_middle):
    heights, widths = many_sides(2000)
    numbers = draws(2000).uniform(4, 22).astype(float).T.tolist()
    found = draw_boxes(draws(2000), 4, heights, widths, area, aspect, or_else_middle=or_else_middle)
    nothing = 0
    for i in range(2000):
        expected = box_by_torchvisions_recipe(numbers[i], int(heights[i]), int(widths[i]), area, aspect, or_else_middle)
        if expected is None:
            nothing += 1
            assert (found.height[i], found.width[i]) == (0, 0)
        else:
            assert tuple(int(values[i]) for values in found) == expected
    assert (nothing > 0) == (not or_else_middle)  # extreme shapes were among them


@pytest.mark.parametrize(
    ("area", "aspect", "or_else_middle"),
    [(*CROPPED, True), (*ERASED, False), ((0.0, 0.001), (1.0, 1.0), False), ((0.9, 1.0), (0.1, 10.0), True)],
)
def test_boxes_always_fit_inside(area, aspect, or_else_middle):
    heights, widths = many_sides()
    top, left, rows, columns = draw_boxes(draws(), 3, heights, widths, area, aspect, or_else_middle=or_else_middle)
    assert {values.dtype for values in (top, left, rows, columns)} == {np.dtype(np.int64)}
    some = rows > 0
    assert np.array_equal(some, columns > 0)
    assert some.all() or not or_else_middle
    assert min(top[some].min(), left[some].min(), rows.min(), columns.min()) >= 0
    assert ((top + rows)[some] <= heights[some]).all()
    assert ((left + columns)[some] <= widths[some]).all()


@pytest.mark.parametrize(("area", "aspect"), [CROPPED, ERASED, ((0.5, 0.5), (2.0, 2.0))])
def test_area_and_aspect_are_within_their_limits_up_to_rounding(area, aspect):
    heights, widths = many_sides()
    _, _, rows, columns = draw_boxes(draws(), 3, heights, widths, area, aspect, or_else_middle=False)
    some = rows > 0
    rows, columns, whole = rows[some], columns[some], (heights * widths)[some]
    # Each side was rounded by half a pixel at most.
    assert ((rows + 0.5) * (columns + 0.5) >= area[0] * whole * (1 - 1e-6)).all()
    assert ((rows - 0.5) * (columns - 0.5) <= area[1] * whole * (1 + 1e-6)).all()
    assert ((columns + 0.5) / (rows - 0.5) >= aspect[0] * (1 - 1e-6)).all()
    assert ((columns - 0.5) / (rows + 0.5) <= aspect[1] * (1 + 1e-6)).all()


def test_area_is_uniform_and_so_is_the_logarithm_of_the_aspect():
    # So large an image that rounding does not show, and boxes so small that all fit at the first try.
    _, _, rows, columns = draw_boxes(
        draws(), 5, *sides(N, 20_000, 10_000), (0.01, 0.1), (0.5, 2.0), or_else_middle=False
    )
    share, ratio = rows * columns / 2e8, np.log2(columns / rows)
    assert_uniform(share, 0.01, 0.1, cells=40, slack=1e-3)
    assert_uniform(ratio, -1, 1, cells=40, slack=1e-2)
    assert_uncorrelated([share, ratio])


@pytest.mark.parametrize(("which", "height", "width"), [("resized crop", 60, 120), ("erasing", 64, 64)])
def test_boxes_are_distributed_as_those_of_torchvision(which, height, width):
    torch.manual_seed(0)
    n, image = 4000, torch.zeros(3, height, width)
    if which == "resized crop":
        area, aspect = CROPPED
        theirs = [RandomResizedCrop.get_params(image, list(area), list(aspect)) for _ in range(n)]
    else:
        area, aspect = ERASED
        theirs = [RandomErasing.get_params(image, area, aspect)[:4] for _ in range(n)]
    ours = draw_boxes(draws(), 3, *sides(N, height, width), area, aspect, or_else_middle=which == "resized crop")
    ours, theirs = np.array(ours, np.float64), np.array(theirs, np.float64).T
    assert (ours[2] > 0).all()
    # RandomErasing's ratio is height to width, but its logarithm is symmetric.
    (_, _, rows, columns), (_, _, their_rows, their_columns) = ours, theirs
    bound = 2.2 * math.sqrt(1 / n + 1 / N)  # passed by one pair of equal distributions in some ten thousand
    share, their_share = rows * columns / (height * width), their_rows * their_columns / (height * width)
    assert share.mean() == pytest.approx(their_share.mean(), abs=5 * share.std() * math.sqrt(1 / n + 1 / N))
    assert largest_distance(share, their_share) < bound
    assert largest_distance(np.log(columns / rows), np.log(their_columns / their_rows)) < bound
    for place in (0, 1):
        assert largest_distance(ours[place], theirs[place]) < bound


def test_all_positions_are_equally_likely():
    top, left, rows, columns = draw_boxes(draws(), 3, *sides(N, 20, 12), (0.25, 0.25), (0.6, 0.6), or_else_middle=False)
    assert set(rows) == {10}
    assert set(columns) == {6}
    counts = np.bincount(top * 7 + left, minlength=77)
    assert len(counts) == 77
    assert_equally_likely(counts)


def test_the_middle_box_where_none_fits_is_that_of_torchvision():
    area, aspect = (1.5, 1.5), (3 / 4, 4 / 3)  # larger than the image, so that none ever fits
    shapes = np.array(list(itertools.product([1, 2, 3, 10, 31, 40, 500], [1, 2, 7, 30, 40, 1000])))
    expected = [RandomResizedCrop.get_params(torch.zeros(1, *shape), list(area), list(aspect)) for shape in shapes]
    found = draw_boxes(draws(len(shapes)), 3, *shapes.T, area, aspect, or_else_middle=True)
    assert np.array_equal(np.array(found).T, np.array(expected))


def test_an_extreme_shape_that_no_try_fits_gives_the_middle_or_nothing():
    area, aspect = (0.9, 1.0), (3 / 4, 4 / 3)
    middle = draw_boxes(draws(50), 3, *sides(50, 10, 100), area, aspect, or_else_middle=True)
    assert [set(values) for values in middle] == [{0}, {43}, {10}, {13}]
    nothing = draw_boxes(draws(50), 3, *sides(50, 10, 100), area, aspect, or_else_middle=False)
    assert set(nothing.height) == set(nothing.width) == {0}


def test_a_box_depends_only_on_its_image():
    heights, widths = many_sides(500)
    whole = np.array(draw_boxes(draws(500), 3, heights, widths, *CROPPED, or_else_middle=True))
    order = np.random.default_rng(0).permutation(500)
    shuffled = Draws(torch.from_numpy(order), 0, 1)
    found = draw_boxes(shuffled, 3, heights[order], widths[order], *CROPPED, or_else_middle=True)
    assert np.array_equal(np.array(found), whole[:, order])
    other = draw_boxes(draws(500), 4, heights, widths, *CROPPED, or_else_middle=True)
    assert (np.array(other) != whole).any(0).mean() > 0.8  # where none fits, the middle is the middle
