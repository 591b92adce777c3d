import numpy as np
import pytest
import torch

from distributions import assert_equally_likely, assert_uncorrelated, assert_uniform
from resnet_lightning.data.augmentation.draws import Draws, key

N = 20_000
GOLDEN = 0x9E3779B97F4A7C15


def python_mix(x):
    """The finalizer of splitmix64 on Python's unlimited integers."""
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


def test_keys_are_those_of_splitmix64():
    for parts in [(), (7,), (0, 0), (1, 2, 3), (2**63 - 1, 5), (2**64 - 1,), (-1, 4)]:
        assert key(*parts) == python_key(*parts)
        assert 0 <= key(*parts) < 2**63
    assert key(0) == 0xE220A8397B1DCDAF % 2**63  # the published first output


def test_keys_differ_with_the_number_and_the_order_of_their_parts():
    assert len({key(*parts) for parts in [(), (0,), (0, 0), (1,), (0, 1), (1, 0), (1, 0, 0)]}) == 7


def test_a_key_can_seed_a_torch_generator():
    seed = key(2**64 - 1, 12)
    assert torch.Generator().manual_seed(seed).initial_seed() == seed


@pytest.mark.parametrize(("seed", "epoch", "purpose"), [(0, 0, 0), (42, 1, 9), (2**32 - 1, 199, 3)])
def test_uniform_numbers_equal_those_of_integer_arithmetic(seed, epoch, purpose):
    indices = torch.tensor([0, 1, 2, 59_999, 2**40 + 3, 2**62])
    draws = Draws(indices, seed, epoch)
    expected = [[python_uniform(i, (seed, epoch), purpose, n) for i in indices.tolist()] for n in range(4)]
    assert draws.uniform(purpose, 4).tolist() == expected
    assert draws.uniform(purpose, 2).tolist() == expected[:2]
    assert draws.uniform_of_run(purpose).tolist() == [python_uniform(i, (seed,), purpose, 0) for i in indices.tolist()]


@pytest.mark.parametrize("n", [7, 0])
def test_draws_have_one_column_per_image_in_single_precision(n):
    draws = Draws(torch.arange(n), 0, 0)
    assert len(draws) == n
    assert draws.uniform(0).shape == (1, n)
    assert draws.uniform(0, 3).shape == (3, n)
    assert draws.uniform_of_run(0).shape == (n,)
    assert draws.uniform(0).dtype == draws.uniform_of_run(0).dtype == np.float32


def test_draws_depend_on_the_index_and_not_on_the_position_in_the_batch():
    indices = torch.arange(1000) * 31 + 5
    whole, of_run = Draws(indices, 1, 2).uniform(3, 2), Draws(indices, 1, 2).uniform_of_run(3)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(Draws(indices[order], 1, 2).uniform(3, 2), whole[:, order])
    assert np.array_equal(Draws(indices[order], 1, 2).uniform_of_run(3), of_run[order])
    parts = [Draws(part, 1, 2).uniform(3, 2) for part in indices.split(7)]
    assert np.array_equal(np.concatenate(parts, 1), whole)


def test_draws_neither_read_nor_advance_the_global_generator():
    expected = Draws(torch.arange(100), 1, 2).uniform(3)
    torch.manual_seed(123)
    before = torch.get_rng_state()
    assert np.array_equal(Draws(torch.arange(100), 1, 2).uniform(3), expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_differ_for_another_image_seed_epoch_purpose_or_number():
    def numbers(seed, epoch, purpose, number):
        return Draws(torch.arange(N), seed, epoch).uniform(purpose, number + 1)[number]

    first = numbers(0, 0, 0, 0)
    assert len(np.unique(first)) > 0.99 * N
    for other in np.eye(4, dtype=int).tolist():
        assert (numbers(*other) != first).mean() > 0.999


@pytest.mark.parametrize(
    ("seed", "epoch", "purpose", "stride"), [(0, 0, 0, 1), (1, 199, 3, 2), (12345, 7, 9, 1024), (0, 1, 4, 7)]
)
def test_draws_are_uniform_over_the_images(seed, epoch, purpose, stride):
    draws = Draws(torch.arange(N) * stride, seed, epoch)
    for values in [*draws.uniform(purpose, 2), draws.uniform_of_run(purpose)]:
        assert 0 <= values.min() <= values.max() < 1
        assert_uniform(values, 0, 1, cells=256)


def test_draws_of_one_image_are_uniform_over_the_epochs_and_over_the_seeds():
    image = torch.tensor([17])
    for values in (
        [Draws(image, 5, epoch).uniform(1)[0, 0] for epoch in range(2000)],
        [Draws(image, seed, 5).uniform(1)[0, 0] for seed in range(2000)],
        [Draws(image, seed, 5).uniform_of_run(1)[0] for seed in range(2000)],
    ):
        assert_equally_likely(np.histogram(values, 32, (0, 1))[0])


def test_draws_of_other_images_seeds_epochs_purposes_and_numbers_are_uncorrelated():
    rows = []
    for seed in (0, 1):
        for epoch in (0, 1, 2):
            draws = Draws(torch.arange(N), seed, epoch)
            rows += [*draws.uniform(0, 3), *draws.uniform(1, 3)]
        rows += [draws.uniform_of_run(0), draws.uniform_of_run(1)]
    rows += [np.roll(rows[0], lag) for lag in (1, 2, 128)]
    assert_uncorrelated(rows)


def test_draws_of_the_run_are_equal_in_every_epoch_and_differ_with_the_seed():
    first = Draws(torch.arange(N), 0, 0).uniform_of_run(1)
    for epoch in (1, 77):
        assert np.array_equal(Draws(torch.arange(N), 0, epoch).uniform_of_run(1), first)
    for other in (Draws(torch.arange(N), 1, 0).uniform_of_run(1), Draws(torch.arange(N), 0, 0).uniform(1)[0]):
        assert (other != first).mean() > 0.999
