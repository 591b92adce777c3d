import math

import pytest
import torch

from resnet_lightning import InputError
from resnet_lightning.data import augment, draws
from resnet_lightning.data.augment import Augmentation, crop, flip, rotate

SHAPES = [(5, 3, 8, 8), (4, 1, 7, 10), (1, 2, 9, 4)]
N = 50_000


def random_images(shape, dtype=torch.uint8):
    pixels = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0))
    return pixels.to(dtype) if dtype == torch.uint8 else pixels.to(dtype) / 7


def numbered_pixels(n, height, width):
    """n equal grey images in which pixel (r, c) has the value 1 + r * width + c."""
    return (1 + torch.arange(height * width, dtype=torch.float32)).view(1, 1, height, width).expand(n, -1, -1, -1)


def chi_square(counts):
    """Its mean is the number of cells less 1, its variance twice that."""
    expected = counts.sum() / len(counts)
    return ((counts - expected) ** 2 / expected).sum().item()


def chi_square_bound(cells):
    return cells - 1 + 5 * math.sqrt(2 * (cells - 1))


# The three operations against loops over images and pixels.


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_crop_equals_a_loop(shape, dtype):
    images = random_images(shape, dtype)
    n, _, height, width = shape
    generator = torch.Generator().manual_seed(1)
    top, left = (torch.randint(0, 7, (n,), generator=generator) for _ in range(2))
    expected = torch.zeros_like(images)
    for i in range(n):
        for row in range(height):
            for column in range(width):
                r, c = row + int(top[i]) - 3, column + int(left[i]) - 3
                if 0 <= r < height and 0 <= c < width:
                    expected[i, :, row, column] = images[i, :, r, c]
    found = crop(images, 3, top, left)
    assert found.dtype == dtype
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_crop_reaches_every_corner_and_leaves_the_middle_alone(dtype):
    images = random_images((1, 3, 8, 8), dtype)
    assert torch.equal(crop(images, 4, torch.tensor([4]), torch.tensor([4])), images)
    first, last = (crop(images, 4, torch.tensor([side]), torch.tensor([side])) for side in (0, 8))
    assert torch.equal(first[..., 4:, 4:], images[..., :4, :4])
    assert torch.equal(last[..., :4, :4], images[..., 4:, 4:])
    assert not first[..., :4, :].any()
    assert not first[..., :, :4].any()
    assert not last[..., 4:, :].any()
    assert not last[..., :, 4:].any()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_flip_equals_a_loop(shape, dtype):
    images = random_images(shape, dtype)
    mirrored = torch.tensor([True, False, False, True, True])[: shape[0]]
    expected = images.clone()
    for i in range(shape[0]):
        for column in range(shape[3]):
            if mirrored[i]:
                expected[i, :, :, column] = images[i, :, :, shape[3] - 1 - column]
    found = flip(images, mirrored)
    assert found.dtype == dtype
    assert torch.equal(found, expected)


def bilinear(image, row, column):
    """The value of (C, H, W) at a place between pixels; what lies outside is black."""
    _, height, width = image.shape
    value = torch.zeros(image.shape[0], dtype=torch.float64)
    for r in (math.floor(row), math.floor(row) + 1):
        for c in (math.floor(column), math.floor(column) + 1):
            if 0 <= r < height and 0 <= c < width:
                value += (1 - abs(row - r)) * (1 - abs(column - c)) * image[:, r, c].double()
    return value


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_rotate_equals_a_loop(shape, dtype):
    images = random_images(shape, dtype)
    degrees = torch.tensor([30.0, -75.0, 180.0, 3.0, 121.0])[: shape[0]]
    _, _, height, width = shape
    expected = torch.zeros(shape, dtype=torch.float64)
    for i in range(shape[0]):
        angle = math.radians(degrees[i])
        for row in range(height):
            for column in range(width):
                # From the centre to the right and up; turned back, clockwise, to where the pixel came from.
                x, y = column - (width - 1) / 2, (height - 1) / 2 - row
                from_x = x * math.cos(angle) + y * math.sin(angle)
                from_y = -x * math.sin(angle) + y * math.cos(angle)
                from_row, from_column = (height - 1) / 2 - from_y, from_x + (width - 1) / 2
                expected[i, :, row, column] = bilinear(images[i], from_row, from_column)
    found = rotate(images, degrees)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=0.01)


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("quarters", [-1, 1, 2])
def test_quarter_turns_are_counter_clockwise(size, quarters):
    images = random_images((3, 2, size, size))
    found = rotate(images, torch.full((3,), 90.0 * quarters))
    torch.testing.assert_close(found, torch.rot90(images, quarters, (-2, -1)).float(), rtol=0, atol=0.01)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_turn_by_nothing_is_the_identity(shape):
    images = random_images(shape)
    torch.testing.assert_close(rotate(images, torch.zeros(shape[0])), images.float(), rtol=0, atol=1e-3)


# Draws.


def python_mix(x):
    """The finaliser of splitmix64 on Python's unlimited integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
    return x ^ (x >> 31)


def python_key(*parts):
    state = 0
    for part in parts:
        state = python_mix((state + part + 0x9E3779B97F4A7C15) % 2**64)
    return state % 2**63


def python_uniform(index, *parts):
    return (python_mix(python_mix((index * 0x9E3779B97F4A7C15 + python_key(*parts)) % 2**64)) >> 40) / 2**24


def test_keys_are_those_of_splitmix64():
    assert draws.key(0) == 0xE220A8397B1DCDAF % 2**63  # the generator's published first output for the seed 0
    for parts in [(7,), (0, 0), (1, 2, 3), (2**63 - 1, 5), (2**64 - 1,), (-1, 4)]:
        assert draws.key(*parts) == python_key(*parts)
    assert len({draws.key(*parts) for parts in [(0,), (0, 0), (1,), (0, 1), (1, 0), (1, 0, 0)]}) == 6


def test_uniform_equals_integer_arithmetic():
    indices = torch.tensor([0, 1, 2, 59_999, 2**40 + 3, 2**62])
    for parts in [(), (0,), (3, 1), (draws.key(5, 6), 2)]:
        assert draws.uniform(indices, *parts).tolist() == [python_uniform(i, *parts) for i in indices.tolist()]


def test_uniform_depends_on_the_index_and_not_on_the_batch():
    indices = torch.arange(1000)
    whole = draws.uniform(indices, 1, 2)
    assert whole.shape == (1000,)
    assert whole.dtype == torch.float32
    assert torch.equal(draws.uniform(indices, 1, 2), whole)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draws.uniform(order, 1, 2), whole[order])
    assert torch.equal(torch.cat([draws.uniform(i, 1, 2) for i in indices.split(7)]), whole)
    torch.manual_seed(123)  # nor on the global generator, which it leaves alone
    before = torch.get_rng_state()
    assert torch.equal(draws.uniform(indices, 1, 2), whole)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("parts", [(0,), (0, 0, 1), (1, 199, 3), (12345, 7, 0)])
def test_uniform_is_uniform(parts):
    values = draws.uniform(torch.arange(N), *parts).double()
    assert values.min() >= 0
    assert values.max() < 1
    assert values.mean().item() == pytest.approx(1 / 2, abs=5 * math.sqrt(1 / 12 / N))
    assert values.var().item() == pytest.approx(1 / 12, abs=5 * math.sqrt(1 / 180 / N))
    assert chi_square(torch.histc(values, 256, 0, 1)) < chi_square_bound(256)
    assert len(values.unique()) > 0.99 * N


def test_draws_of_other_images_epochs_and_uses_are_uncorrelated():
    indices = torch.arange(N)
    uses = {(seed, epoch, use): None for seed in (0, 1) for epoch in (0, 1, 2) for use in (0, 1, 2, 3)}
    rows = [draws.uniform(indices, draws.key(seed, epoch), use) for seed, epoch, use in uses]
    rows += [rows[0].roll(lag) for lag in (1, 2, 128)]
    correlation = torch.corrcoef(torch.stack(rows).double())
    off_diagonal = correlation[~torch.eye(len(rows), dtype=torch.bool)]
    assert off_diagonal.abs().max() < 5 / math.sqrt(N)
    assert all((a != b).float().mean() > 0.999 for i, a in enumerate(rows) for b in rows[:i])


# What an augmented batch consists of.


def test_nothing_is_done_by_default():
    images = random_images((3, 3, 8, 8))
    assert Augmentation()(images, torch.arange(3), 5) is images


def test_crops_and_flips_are_all_equally_likely():
    # With 11 pixels a side and 4 of padding, what comes to the centre and to the right of it is always in the image.
    out = Augmentation(crop=4, flip=True)(numbered_pixels(N, 11, 11), torch.arange(N), draws.key(0, 0))
    centre, right = out[:, 0, 5, 5].long() - 1, out[:, 0, 5, 6].long() - 1
    top, left, flipped = centre // 11 - 1, centre % 11 - 1, right < centre
    assert (top.min(), top.max(), left.min(), left.max()) == (0, 8, 0, 8)
    counts = torch.bincount((top * 9 + left) * 2 + flipped.long(), minlength=162).double()
    assert chi_square(counts) < chi_square_bound(162)


def test_crop_takes_the_largest_draw_there_is(monkeypatch):
    images = random_images((2, 3, 8, 8))
    monkeypatch.setattr(augment, "uniform", lambda indices, *parts: torch.full((len(indices),), 1 - 2.0**-24))
    for padding in (1, 4, 7):
        corner = torch.full((2,), 2 * padding)
        found = Augmentation(crop=padding)(images, torch.arange(2), 0)
        assert torch.equal(found, crop(images, padding, corner, corner))


def test_angles_are_uniform_up_to_the_limit():
    # Bilinear sampling of a ramp to the right is exact, so its slopes at the centre tell the angle.
    ramp = torch.arange(7.0).expand(N, 1, 7, 7)
    out = Augmentation(rotate=40)(ramp, torch.arange(N), draws.key(0, 0))[:, 0].double()
    to_the_right, downwards = out[:, 3, 4] - out[:, 3, 2], out[:, 4, 3] - out[:, 2, 3]
    # Turned counter-clockwise, the bright side is up.
    degrees = torch.rad2deg(torch.atan2(-downwards, to_the_right))
    assert degrees.abs().max() < 40 + 1e-3
    assert chi_square(torch.histc(degrees, 64, -40, 40)) < chi_square_bound(64)


@pytest.mark.parametrize(
    "augmentation",
    [Augmentation(crop=2), Augmentation(flip=True), Augmentation(rotate=15), Augmentation(2, True, 180)],
    ids=repr,
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_an_image_is_augmented_alike_whatever_its_batch(augmentation, dtype):
    images = random_images((67, 3, 10, 12), dtype)
    indices = torch.arange(67) * 31 + 5
    whole = augmentation(images, indices, 9)
    order = torch.randperm(67, generator=torch.Generator().manual_seed(0))
    assert torch.equal(augmentation(images[order], indices[order], 9), whole[order])
    for size in (1, 5, 64):
        parts = zip(images.split(size), indices.split(size), strict=True)
        assert torch.equal(torch.cat([augmentation(x, i, 9) for x, i in parts]), whole)
    channels_last = images.to(memory_format=torch.channels_last)
    assert torch.equal(augmentation(channels_last, indices, 9), whole)

    assert not torch.equal(augmentation(images, indices, 10), whole)
    assert not torch.equal(augmentation(images, indices + 1, 9), whole)


def test_equal_images_of_one_batch_are_augmented_differently():
    images = random_images((1, 3, 10, 12)).expand(40, -1, -1, -1)
    for augmentation in (Augmentation(crop=4), Augmentation(rotate=15)):
        assert len(augmentation(images, torch.arange(40), 0).unique(dim=0)) > 20


def test_the_batch_that_comes_in_is_left_alone():
    images = random_images((6, 3, 10, 12))
    before = images.clone()
    Augmentation(crop=4, flip=True, rotate=20)(images, torch.arange(6), 0)
    assert torch.equal(images, before)


def test_crop_and_flip_keep_uint8_and_rotation_gives_float32():
    images = random_images((3, 3, 8, 8))
    assert Augmentation(crop=2, flip=True)(images, torch.arange(3), 0).dtype == torch.uint8
    assert Augmentation(crop=2, flip=True, rotate=1)(images, torch.arange(3), 0).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": -1}, "augment.crop is -1; give the padding in pixels, 0 for none"),
        ({"rotate": -1}, "augment.rotate is -1; give degrees from 0 to 180"),
        ({"rotate": 181.0}, "augment.rotate is 181.0; give degrees from 0 to 180"),
        ({"rotate": math.nan}, "augment.rotate is nan; give degrees from 0 to 180"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(InputError) as caught:
        Augmentation(**options)
    assert str(caught.value) == message


def test_the_ends_of_the_ranges_are_accepted():
    assert Augmentation(crop=0, rotate=0) == Augmentation()
    assert Augmentation(rotate=180).rotate == 180
