import math

import numpy as np
import pytest
import torch

from resnet_lightning.data.augmentation.mixup import beta, cutmix, mixup, one_hot

N = 100_000
# Integers and 1/2 have a cumulative distribution in closed form.
CUMULATIVE = {
    0.5: lambda x: 2 / math.pi * np.arcsin(np.sqrt(x)),
    1.0: lambda x: x,
    2.0: lambda x: 3 * x**2 - 2 * x**3,
    4.0: lambda x: sum(math.comb(7, k) * x**k * (1 - x) ** (7 - k) for k in range(4, 8)),
    8.0: lambda x: sum(math.comb(15, k) * x**k * (1 - x) ** (15 - k) for k in range(8, 16)),
    32.0: lambda x: sum(math.comb(63, k) * x**k * (1 - x) ** (63 - k) for k in range(32, 64)),
}


@pytest.mark.parametrize("alpha", CUMULATIVE)
def test_beta_inverts_the_cumulative_distribution(alpha):
    quantiles = np.linspace(0.001, 0.999, 999).astype(np.float32)
    np.testing.assert_allclose(CUMULATIVE[alpha](beta(quantiles, alpha).astype(np.float64)), quantiles, atol=1e-3)


@pytest.mark.parametrize("alpha", [0.1, 0.4, 2.0])
def test_beta_has_the_quantiles_and_moments_of_its_distribution(alpha):
    # Equally likely quantiles in place of random numbers: the result has no sampling noise.
    found = beta(((np.arange(N) + 0.5) / N).astype(np.float32), alpha).astype(np.float64)
    variance = 1 / (4 * (2 * alpha + 1))
    assert found.mean() == pytest.approx(0.5, abs=2e-5)
    assert ((found - 0.5) ** 2).mean() == pytest.approx(variance, rel=2e-3)
    assert ((found - 0.5) ** 4).mean() == pytest.approx(variance**2 * (3 - 6 / (2 * alpha + 3)), rel=4e-3)
    samples = np.random.default_rng(0).beta(alpha, alpha, N)
    places = np.linspace(0.002, 0.998, 500)
    ours, numpys = (np.searchsorted(np.sort(values), places, side="right") / N for values in (found, samples))
    assert np.abs(ours - numpys).max() < 2.2 / math.sqrt(N)


def test_beta_of_one_is_uniform():
    numbers = np.random.default_rng(0).random(10_000, np.float32)
    np.testing.assert_allclose(beta(numbers, 1.0), numbers, rtol=0, atol=1e-4)


@pytest.mark.parametrize("alpha", [0.001, 0.2, 1.0, 100.0])
def test_beta_is_symmetric_monotonic_and_between_0_and_1(alpha):
    # Multiples of 2**-24, as they are drawn, so that their distance from 1 is exact.
    numbers = np.concatenate([[0, 2.0**-24], np.arange(1, 1024) / 1024, [1 - 2.0**-24]]).astype(np.float32)
    found = beta(numbers, alpha)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert (np.diff(found) >= 0).all()
    np.testing.assert_allclose(beta(1 - numbers[1:], alpha), 1 - found[1:], rtol=0, atol=1e-6)
    assert beta(np.float32([0.5]), alpha)[0] == pytest.approx(0.5, abs=1e-6)


def random_batch(shape, dtype=torch.float32, classes=5):
    generator = torch.Generator().manual_seed(0)
    images = (torch.rand(shape, generator=generator) * 255).to(dtype).contiguous(memory_format=torch.channels_last)
    return images, torch.rand((shape[0], classes), generator=generator).softmax(1)


# Also batches with more rows than images; the other rows are only partners.
@pytest.mark.parametrize(
    ("rows", "others", "size"),
    [(6, [1, 0, 3, 2, 5, 4], (3, 8, 8)), (7, [1, 6, 3, 2], (1, 5, 9)), (3, [2], (3, 8, 8)), (2, [0, 1], (1, 5, 9))],
)
def test_mixup_equals_a_loop_over_images(rows, others, size):
    images, targets = random_batch((rows, *size))
    before = images.clone(), targets.clone()
    share = np.random.default_rng(0).random(len(others), np.float32)
    mixed, mixed_targets = mixup(images, targets, torch.tensor(others), share)
    assert mixed.shape == (len(others), *size)
    assert mixed_targets.shape == (len(others), 5)
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    for i, other in enumerate(others):
        kept = float(share[i])
        expected = kept * images[i].double() + (1 - kept) * images[other].double()
        torch.testing.assert_close(mixed[i].double(), expected, rtol=0, atol=1e-4)
        expected = kept * targets[i].double() + (1 - kept) * targets[other].double()
        torch.testing.assert_close(mixed_targets[i].double(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(mixed_targets.sum(1), torch.ones(len(others)))
    assert torch.equal(images, before[0])
    assert torch.equal(targets, before[1])


def test_mixup_with_a_share_of_1_or_0_keeps_one_of_the_two_images():
    images, targets = random_batch((4, 3, 6, 6))
    others = torch.tensor([1, 0, 3, 2])
    for share, rows in ((1, torch.arange(4)), (0, others)):
        mixed, mixed_targets = mixup(images, targets, others, np.full(4, share, np.float32))
        assert torch.equal(mixed, images[rows])
        assert torch.equal(mixed_targets, targets[rows])


def cutmix_by_pixels(images, targets, others, boxes):
    mixed, mixed_targets = images[: len(others)].clone(), targets[: len(others)].clone().double()
    _, _, height, width = images.shape
    for i, (other, top, left, rows, columns) in enumerate(zip(others, *boxes, strict=True)):
        pasted = 0
        for row in range(max(top, 0), min(top + rows, height)):
            for column in range(max(left, 0), min(left + columns, width)):
                mixed[i, :, row, column] = images[other, :, row, column]
                pasted += 1
        kept = 1 - pasted / (height * width)
        mixed_targets[i] = kept * targets[i].double() + (1 - kept) * targets[other].double()
    return mixed, mixed_targets.float()


@pytest.mark.parametrize(
    ("rows", "others", "size", "dtype"),
    [
        (6, [1, 0, 3, 2, 5, 4], (3, 8, 8), torch.float32),
        (7, [1, 6, 3, 2], (1, 5, 9), torch.uint8),
        (3, [2], (3, 8, 8), torch.uint8),
        (2, [0, 1], (1, 5, 9), torch.float32),
    ],
)
def test_cutmix_equals_a_loop_over_pixels(rows, others, size, dtype):
    images, targets = random_batch((rows, *size), dtype)
    before = images.clone(), targets.clone()
    generator = np.random.default_rng(0)
    _, height, width = size
    for _ in range(20):
        # Boxes centered inside the image, which may cross any of its borders.
        boxes = generator.integers(0, (height + 1, width + 1), (len(others), 2)).T
        corner = generator.integers(0, (height, width), (len(others), 2)).T - boxes // 2
        mixed, mixed_targets = cutmix(images, targets, torch.tensor(others), *corner, *boxes)
        expected, expected_targets = cutmix_by_pixels(images, targets, others, (*corner, *boxes))
        assert mixed.dtype == dtype
        assert mixed.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(mixed, expected)
        torch.testing.assert_close(mixed_targets, expected_targets, rtol=0, atol=1e-6)
        torch.testing.assert_close(mixed_targets.sum(1), torch.ones(len(others)))
    assert torch.equal(images, before[0])
    assert torch.equal(targets, before[1])


def integers(*values):
    return np.array(values)


def test_a_box_across_the_border_counts_only_inside():
    images = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    mixed, targets = cutmix(
        images, torch.eye(2), torch.tensor([1, 0]), integers(-1, 3), integers(-2, 2), integers(3, 9), integers(4, 9)
    )
    assert mixed.sum((1, 2, 3)).tolist() == [4, 14]
    assert targets.tolist() == [[0.75, 0.25], [0.125, 0.875]]


def test_a_box_that_is_empty_or_the_whole_image_keeps_all_or_nothing():
    images, targets = random_batch((2, 3, 4, 6))
    mixed, mixed_targets = cutmix(
        images, targets, torch.tensor([1, 0]), integers(0, 2), integers(0, 3), integers(4, 0), integers(6, 0)
    )
    assert torch.equal(mixed, images[[1, 1]])
    assert torch.equal(mixed_targets, targets[[1, 1]])


def test_a_box_outside_the_image_changes_nothing():
    top, left = integers(9, -5, 0, 0, 9, -5), integers(0, 0, 9, -5, 9, 9)
    images, targets = random_batch((6, 3, 4, 4))
    others = torch.tensor([1, 0, 3, 2, 5, 4])
    mixed, mixed_targets = cutmix(images, targets, others, top, left, np.full(6, 2), np.full(6, 3))
    assert torch.equal(mixed, images)
    assert torch.equal(mixed_targets, targets)


def test_one_hot_turns_labels_into_probabilities():
    found = one_hot(torch.tensor([2, 0]), 3)
    assert found.dtype == torch.float32
    assert found.tolist() == [[0, 0, 1], [1, 0, 0]]
