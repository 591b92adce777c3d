import colorsys
import math

import numpy as np
import pytest
import torch

from augmented import COLOR, CUTOUT, EPOCH, MIX, SEED, augmented, images_of, neighbors, normalize, pixels_of
from distributions import assert_equally_likely, assert_share, assert_uncorrelated, assert_uniform
from resnet_lightning.data.augmentation.draws import Draws
from resnet_lightning.data.augmentation.mixup import beta

N = 10_000


def test_all_crops_and_flips_are_equally_likely():
    # With 11 pixels a side and a padding of 4, the center and its right neighbor always come from inside the image.
    numbered = (1 + torch.arange(121, dtype=torch.float32)).view(1, 1, 11, 11).expand(N, -1, -1, -1)
    out = pixels_of(images_of({"crop": 4, "flip": True}, numbered, torch.arange(N)))
    center, right = (out[:, 0, 5, column].round().long().numpy() - 1 for column in (5, 6))
    top, flipped = center // 11 - 1, right < center
    left = np.where(flipped, 10 - center % 11, center % 11) - 1
    assert (top.min(), top.max(), left.min(), left.max()) == (0, 8, 0, 8)
    counts = np.bincount((top * 9 + left) * 2 + flipped, minlength=162)
    assert len(counts) == 162
    assert_equally_likely(counts)


def ramps(side=21):
    """N images whose channels are the row and the column: bilinear interpolation of them is exact."""
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack([row, column]).float().expand(N, -1, -1, -1)


def around_the_center(options):
    """Row and column that the center comes from, and their differences to the right and downwards."""
    out = pixels_of(images_of(options, ramps(), torch.arange(N))).double().numpy()
    center, right, down = out[:, :, 10, 10], out[:, :, 10, 11], out[:, :, 11, 10]
    return center, right - center, down - center


def test_angles_are_uniform():
    center, right, down = around_the_center({"rotate": 40})
    np.testing.assert_allclose(center, 10, atol=1e-3)
    # After a counterclockwise rotation, the pixel to the right of the center came from further down.
    degrees = np.degrees(np.arctan2(right[:, 0], right[:, 1]))
    assert_uniform(degrees, -40, 40, slack=0.01)
    np.testing.assert_allclose(np.degrees(np.arctan2(-down[:, 1], down[:, 0])), degrees, atol=0.01)


def test_translations_are_uniform_in_both_directions():
    center, right, down = around_the_center({"translate": 0.2})
    shares = (10 - center) / 21
    assert_uniform(shares[:, 0], -0.2, 0.2)
    assert_uniform(shares[:, 1], -0.2, 0.2)
    assert_uncorrelated(shares.T)
    np.testing.assert_allclose(np.concatenate([right, down], 1), [[0, 1, 1, 0]] * N, atol=1e-3)


def test_scales_are_uniform():
    center, right, down = around_the_center({"scale": 0.3})
    np.testing.assert_allclose(center, 10, atol=1e-3)
    assert_uniform(1 / right[:, 1], 0.7, 1.3)
    np.testing.assert_allclose(right[:, 1], down[:, 0], atol=1e-3)


@pytest.mark.parametrize(("strength", "low", "high"), [(0.3, 0.7, 1.3), (1.5, 0.0, 2.5)])
def test_factors_of_brightness_contrast_and_saturation_are_uniform_about_1(strength, low, high):
    pixel = torch.tensor([90.0, 100.0, 110.0]).view(1, 3, 1, 1).expand(N, -1, -1, -1)
    out = pixels_of(images_of({"brightness": strength}, pixel, torch.arange(N)))
    assert_uniform(out[:, 1, 0, 0] / 100, low, high)
    out = pixels_of(images_of({"saturation": strength}, pixel, torch.arange(N)))
    assert_uniform((out[:, 2, 0, 0] - out[:, 0, 0, 0]) / 20, low, high)
    pair = torch.tensor([90.0, 110.0]).view(1, 1, 1, 2).expand(N, -1, -1, -1)
    out = pixels_of(images_of({"contrast": strength}, pair, torch.arange(N)))
    assert_uniform((out[:, 0, 0, 1] - out[:, 0, 0, 0]) / 20, low, high)


@pytest.mark.parametrize("limit", [0.1, 0.5])
def test_hue_shifts_are_uniform(limit):
    cyan = torch.tensor([0.0, 255.0, 255.0]).view(1, 3, 1, 1).expand(N, -1, -1, -1)  # opposite to red
    out = pixels_of(images_of({"hue": limit}, cyan, torch.arange(N)))[:, :, 0, 0].clamp(0, 255)
    turns = [colorsys.rgb_to_hsv(*pixel)[0] - 0.5 for pixel in (out / 255).tolist()]
    # At half a circle red has two values.
    assert_uniform([turn if abs(turn) <= limit else math.copysign(limit, turn) for turn in turns], -limit, limit)


def test_the_four_color_changes_have_independent_factors():
    assert_uncorrelated(Draws(torch.arange(N), SEED, EPOCH).uniform(COLOR, 4))


def hidden(options, height, width, n=N):
    """Which pixels of uniform images are hidden: (n, height, width) bool."""
    bright = torch.full((1, 1, 1, 1), 200.0).expand(n, 3, height, width)
    out = images_of(options, bright, torch.arange(n))
    assert set(out.unique().tolist()) <= {0.0, normalize(torch.tensor(200.0)).item()}  # exactly 0, the mean color
    assert torch.equal(out.amin(1), out.amax(1))  # in all channels
    return (out[:, 0] == 0).numpy()


def test_cutout_is_centered_on_all_pixels_equally_often():
    mask = hidden({"cutout": 1}, 7, 9)
    assert (mask.sum((1, 2)) == 1).all()
    assert_equally_likely(mask.sum(0).ravel())


@pytest.mark.parametrize("side", [3, 6, 40])
def test_a_cutout_has_its_size_or_ends_at_the_border(side):
    height, width, n = 12, 15, 500
    mask = hidden({"cutout": side}, height, width, n)
    corners = Draws(torch.arange(n), SEED, EPOCH).uniform(CUTOUT, 2)
    for i in range(n):
        rows, columns = mask[i].any(1).nonzero()[0], mask[i].any(0).nonzero()[0]
        top, left = int(corners[0, i] * height) - side // 2, int(corners[1, i] * width) - side // 2
        assert (rows[0], rows[-1] + 1) == (max(top, 0), min(top + side, height))
        assert (columns[0], columns[-1] + 1) == (max(left, 0), min(left + side, width))
        assert mask[i].sum() == len(rows) * len(columns)
    assert (mask.sum((1, 2)).max() == side**2) == (side <= height)


@pytest.mark.parametrize("probability", [0.0, 0.1, 1.0])
def test_boxes_are_erased_with_their_probability(probability):
    mask = hidden({"erase": probability}, 24, 24, 2000)
    some = mask.any((1, 2))
    assert_share(some, probability)
    for box in mask[some][:200]:
        rows, columns = box.any(1).nonzero()[0], box.any(0).nonzero()[0]
        assert box.sum() == len(rows) * len(columns)  # a whole box
        assert len(rows) == rows[-1] + 1 - rows[0]
        assert 0.015 < box.mean() < 0.35  # from 0.02 to 1/3 before rounding


def test_resized_crops_cover_at_least_their_share_and_every_part_of_the_image():
    center, right, down = around_the_center({"resized_crop": 0.25})
    share = right[:, 1] * down[:, 0]  # of the image's area
    assert share.min() > 0.25 * 0.9
    assert share.max() <= 1 + 1e-3
    assert share.mean() == pytest.approx(0.6, abs=0.05)
    assert 0.65 < (right[:, 1] / down[:, 0]).min() < (right[:, 1] / down[:, 0]).max() < 1.5
    np.testing.assert_allclose(center.mean(0), 10, atol=0.1)
    assert center.std(0).min() > 0.5


@pytest.mark.parametrize("alpha", [0.4, 1.0])
def test_mixup_shares_have_a_beta_distribution(alpha):
    images = torch.zeros(2 * N, 1, 2, 2)
    _, targets = augmented(
        {"mixup": alpha}, images, others=neighbors(2 * N), targets=torch.arange(2 * N) % 2, num_classes=2
    )
    kept = targets[torch.arange(2 * N), torch.arange(2 * N) % 2].double().numpy()
    assert kept.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
    sample = np.random.default_rng(0).beta(alpha, alpha, 2 * N)
    places = np.linspace(0.01, 0.99, 99)
    ours, numpys = ((values[:, None] <= places).mean(0) for values in (kept, sample))
    assert np.abs(ours - numpys).max() < 2.2 / math.sqrt(N)


def test_with_mixup_and_cutmix_each_mixes_half_of_the_images():
    images = torch.zeros(N, 1, 8, 8)
    images[1::2] = 240.0  # neighbors normalize to -2 and 2
    out, targets = augmented(
        {"mixup": 1.0, "cutmix": 1.0},
        images,
        torch.arange(N),
        others=neighbors(N),
        targets=torch.arange(N) % 2,
        num_classes=2,
    )
    out, own = out[:, 0].double().numpy(), np.arange(N) % 2
    pasted = (np.abs(out) == 2).all((1, 2))
    assert_share(pasted, 0.5)
    blended = out[~pasted]
    assert (blended.max((1, 2)) == blended.min((1, 2))).all()
    # In both halves the targets are the shares of the bright and of the dark image.
    bright = targets[:, 1].double().numpy()
    np.testing.assert_allclose((out.mean((1, 2)) + 2) / 4, bright, atol=1e-5)
    # The shares are independent of the choice.
    kept = np.where(own == 1, bright, 1 - bright)
    assert kept[~pasted].mean() == pytest.approx(0.5, abs=0.02)
    assert kept[~pasted].var() == pytest.approx(1 / 12, rel=0.05)


def test_cutmix_boxes_are_centered_on_all_pixels_equally_often():
    images = torch.zeros(N, 1, 9, 9)
    images[1::2] = 240.0
    out, _ = augmented(
        {"cutmix": 1.0}, images, torch.arange(N), others=neighbors(N), targets=torch.arange(N) % 2, num_classes=2
    )
    own = torch.where(torch.arange(N) % 2 == 1, 2.0, -2.0).view(-1, 1, 1)
    # A box of a single pixel is the pixel that was drawn, and the border never cuts it off.
    share = Draws(torch.arange(N), SEED, EPOCH).uniform(MIX, 4)[0]
    single = (np.sqrt(1 - beta(share, 1.0)) * 9).astype(int) == 1
    pasted = (out[:, 0] != own).numpy()[single]
    assert (pasted.sum((1, 2)) == 1).all()
    assert len(pasted) == pytest.approx(N * 3 / 81, rel=0.2)
    assert_equally_likely(pasted.sum(0).ravel())


# Flips over several epochs.


def flipped(mode, epoch, seed=SEED):
    pair = torch.tensor([0.0, 240.0]).view(1, 1, 1, 2).expand(N, -1, -1, -1)
    out = images_of({"flip": mode}, pair, torch.arange(N), seed=seed, epoch=epoch)
    return (out[:, 0, 0, 0] > 0).numpy()


def test_alternating_flips_take_half_of_the_images_and_then_the_other_half():
    first = flipped("alternate", 0)
    assert_share(first, 0.5)
    for epoch in range(1, 4):
        assert np.array_equal(flipped("alternate", epoch), first ^ (epoch % 2 == 1))
    assert_share(flipped("alternate", 0, seed=SEED + 1) != first, 0.5)


def test_plain_flips_are_drawn_again_in_every_epoch():
    first, second = flipped(True, 0), flipped(True, 1)
    for share in (first, second, first != second):
        assert_share(share, 0.5)
