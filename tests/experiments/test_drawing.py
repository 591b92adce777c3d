"""Settings that are drawn at random."""

import itertools
import math

import pytest

from resnet_lightning.experiments.drawing import Range, draws

LR = {"model.lr": Range(0.001, 1.0, is_log=True)}


def first(axes, count, seed=0):
    return list(itertools.islice(draws(axes, seed), count))


def test_the_draws_depend_on_the_seed_alone_and_more_of_them_continue_the_same_sequence():
    axes = {**LR, "data.batch_size": ["64", "128"]}
    assert first(axes, 20)[:10] == first(axes, 10)
    assert first(axes, 10) != first(axes, 10, seed=1)


def test_a_logarithmic_range_has_as_many_draws_in_each_decade():
    values = [float(draw["model.lr"]) for draw in first(LR, 3000)]
    assert 0.001 <= min(values) < 0.0011
    assert 0.9 < max(values) <= 1.0
    counts = [sum(low <= value < 10 * low for value in values) for low in (0.001, 0.01, 0.1)]
    assert all(900 < count < 1100 for count in counts), counts


def test_a_range_of_integers_includes_both_ends():
    axes = {"data.augment.rotate": Range(1, 4, is_int=True)}
    assert sorted(draw["data.augment.rotate"] for draw in first(axes, 10)) == ["1", "2", "3", "4"]  # no more


def test_a_linear_range_has_its_mean_in_the_middle():
    values = [float(draw["x"]) for draw in first({"x": Range(-1.0, 3.0)}, 1000)]
    assert math.isclose(sum(values) / len(values), 1.0, abs_tol=0.15)


@pytest.mark.parametrize("count", [6, 100])
def test_no_setting_is_drawn_twice(count):
    drawn = first({"a": ["1", "2", "3"], "b": ["x", "y"]}, count)
    assert len({tuple(draw.items()) for draw in drawn}) == len(drawn) == 6
