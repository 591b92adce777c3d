import math

import numpy as np
import pytest
import torch

from resnet_lightning.data.augmentation.draws import Draws, key

N = 50_000
GOLDEN = 0x9E3779B97F4A7C15


def python_mix(x):
    """The finaliser of splitmix64 on Python's unlimited integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
    return x ^ (x >> 31)


def python_key(*parts):
    state = 0
    for part in parts:
        state = python_mix((state + part + GOLDEN) % 2**64)
    return state % 2**63


def python_uniform(index, of, purpose, number):
    image = python_mix((index * GOLDEN + python_key(*of)) % 2**64)
    return (python_mix((image + python_key(purpose, number)) % 2**64) >> 40) / 2**24


def chi_square(counts):
    """Its mean is the number of cells less 1, its variance twice that."""
    expected = counts.sum() / len(counts)
    return ((counts - expected) ** 2 / expected).sum()


def chi_square_bound(cells):
    return cells - 1 + 5 * math.sqrt(2 * (cells - 1))


@pytest.mark.parametrize("parts", [(), (7,), (0, 0), (1, 2, 3), (2**63 - 1, 5), (2**64 - 1,), (-1, 4)])
def test_keys_are_those_of_splitmix64(parts):
    assert key(*parts) == python_key(*parts)
    assert 0 <= key(*parts) < 2**63


def test_the_first_key_is_the_published_first_output_of_splitmix64():
    assert key(0) == 0xE220A8397B1DCDAF % 2**63


def test_keys_differ_with_the_number_and_the_order_of_their_parts():
    assert len({key(*parts) for parts in [(), (0,), (0, 0), (1,), (0, 1), (1, 0), (1, 0, 0)]}) == 7


def test_a_key_is_fit_to_seed_a_generator():
    seed = key(2**64 - 1, 12)
    assert torch.Generator().manual_seed(seed).initial_seed() == seed


@pytest.mark.parametrize("seed", [0, 42, 2**32 - 1])
@pytest.mark.parametrize("epoch", [0, 1, 199])
@pytest.mark.parametrize("purpose", [0, 9])
def test_uniform_equals_integer_arithmetic(seed, epoch, purpose):
    indices = torch.tensor([0, 1, 2, 59_999, 2**40 + 3, 2**62])
    draws = Draws(indices, seed, epoch)
    expected = [[python_uniform(i, (seed, epoch), purpose, n) for i in indices.tolist()] for n in range(4)]
    assert draws.uniform(purpose, 4).tolist() == expected
    assert draws.uniform_of_run(purpose).tolist() == [python_uniform(i, (seed,), purpose, 0) for i in indices.tolist()]


def test_draws_have_a_column_for_each_image_and_single_precision():
    draws = Draws(torch.arange(7), 0, 0)
    assert len(draws) == 7
    assert draws.uniform(0).shape == (1, 7)
    assert draws.uniform(0, 3).shape == (3, 7)
    assert draws.uniform_of_run(0).shape == (7,)
    assert draws.uniform(0).dtype == draws.uniform_of_run(0).dtype == np.float32


def test_no_images_have_no_draws():
    draws = Draws(torch.arange(0), 0, 0)
    assert len(draws) == 0
    assert draws.uniform(0, 3).shape == (3, 0)


def test_fewer_numbers_are_the_first_of_more():
    draws = Draws(torch.arange(100), 3, 4)
    assert np.array_equal(draws.uniform(2, 2), draws.uniform(2, 5)[:2])


def test_draws_depend_on_the_index_and_not_on_the_place_in_the_batch():
    indices = torch.arange(1000) * 31 + 5
    whole, of_run = Draws(indices, 1, 2).uniform(3, 2), Draws(indices, 1, 2).uniform_of_run(3)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(Draws(indices[order], 1, 2).uniform(3, 2), whole[:, order])
    assert np.array_equal(Draws(indices[order], 1, 2).uniform_of_run(3), of_run[order])
    parts = [Draws(part, 1, 2).uniform(3, 2) for part in indices.split(7)]
    assert np.array_equal(np.concatenate(parts, 1), whole)


def test_draws_neither_read_nor_move_the_global_generators():
    expected = Draws(torch.arange(100), 1, 2).uniform(3)
    torch.manual_seed(123)
    before = torch.get_rng_state()
    assert np.array_equal(Draws(torch.arange(100), 1, 2).uniform(3), expected)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("other", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)])
def test_draws_differ_for_another_seed_epoch_purpose_or_number(other):
    def numbers(seed, epoch, purpose, number):
        return Draws(torch.arange(N), seed, epoch).uniform(purpose, number + 1)[number]

    assert (numbers(*other) != numbers(0, 0, 0, 0)).mean() > 0.999


def test_neighbouring_images_have_different_draws():
    values = Draws(torch.arange(N), 0, 0).uniform(0)[0]
    assert (values[1:] != values[:-1]).mean() > 0.999
    assert len(np.unique(values)) > 0.99 * N


@pytest.mark.parametrize(("seed", "epoch", "purpose"), [(0, 0, 0), (1, 199, 3), (12345, 7, 9)])
@pytest.mark.parametrize("stride", [1, 2, 1024])
def test_uniform_is_uniform(seed, epoch, purpose, stride):
    draws = Draws(torch.arange(N) * stride, seed, epoch)
    for values in np.array([*draws.uniform(purpose, 2), draws.uniform_of_run(purpose)], np.float64):
        assert values.min() >= 0
        assert values.max() < 1
        assert values.mean() == pytest.approx(1 / 2, abs=5 * math.sqrt(1 / 12 / N))
        assert values.var() == pytest.approx(1 / 12, abs=5 * math.sqrt(1 / 180 / N))
        assert chi_square(np.histogram(values, 256, (0, 1))[0]) < chi_square_bound(256)


def test_one_image_is_drawn_uniformly_over_the_epochs_and_over_the_seeds():
    image = torch.tensor([17])
    for values in (
        [Draws(image, 5, epoch).uniform(1)[0, 0] for epoch in range(5000)],
        [Draws(image, seed, 5).uniform(1)[0, 0] for seed in range(5000)],
        [Draws(image, seed, 5).uniform_of_run(1)[0] for seed in range(5000)],
    ):
        assert chi_square(np.histogram(values, 32, (0, 1))[0]) < chi_square_bound(32)


def test_draws_of_other_images_seeds_epochs_purposes_and_numbers_are_uncorrelated():
    rows = []
    for seed in (0, 1):
        for epoch in (0, 1, 2):
            draws = Draws(torch.arange(N), seed, epoch)
            rows += [*draws.uniform(0, 3), *draws.uniform(1, 3)]
        rows += [draws.uniform_of_run(0), draws.uniform_of_run(1)]
    rows += [np.roll(rows[0], lag) for lag in (1, 2, 128)]
    correlation = np.corrcoef(np.array(rows, np.float64))
    off_diagonal = correlation[~np.eye(len(rows), dtype=bool)]
    assert np.abs(off_diagonal).max() < 5 / math.sqrt(N)


def test_draws_of_the_run_are_the_same_in_every_epoch_and_others_for_another_seed():
    first = Draws(torch.arange(N), 0, 0).uniform_of_run(1)
    for epoch in (1, 2, 77):
        assert np.array_equal(Draws(torch.arange(N), 0, epoch).uniform_of_run(1), first)
    other = Draws(torch.arange(N), 1, 0).uniform_of_run(1)
    assert (other != first).mean() > 0.999
    assert abs(np.corrcoef(first, other)[0, 1]) < 5 / math.sqrt(N)
    assert (Draws(torch.arange(N), 0, 0).uniform(1)[0] != first).mean() > 0.999
