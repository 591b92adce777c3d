import colorsys

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from resnet_lightning.data.augmentation.color import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation

ADJUST = {
    "brightness": (adjust_brightness, reference.adjust_brightness),
    "contrast": (adjust_contrast, reference.adjust_contrast),
    "saturation": (adjust_saturation, reference.adjust_saturation),
    "hue": (adjust_hue, reference.adjust_hue),
}
FACTORS = ["brightness", "contrast", "saturation"]
# Some units in the last place of single precision, for values up to 255.
TOLERANCE = 1e-3


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_images(shape, whole=False):
    """Floats, or a few whole numbers, among which equal channels and gray pixels are frequent."""
    if whole:
        return torch.randint(0, 7, shape, generator=generator()).float() * 42.5
    return torch.rand(shape, generator=generator()) * 255


def column(*values):
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1)


def assert_like_torchvision(name, images, factors):
    ours, theirs = ADJUST[name]
    before = images.clone()
    found = ours(images, factors)
    expected = [theirs(image / 255, float(factor)) * 255 for image, factor in zip(images, factors, strict=True)]
    assert found.dtype == torch.float32
    assert found.min() >= 0
    assert found.max() <= 255
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=TOLERANCE)
    assert torch.equal(images, before)


@pytest.mark.parametrize(("shape", "whole"), [((40, 3, 8, 8), False), ((40, 3, 5, 13), True), ((1, 3, 9, 4), False)])
@pytest.mark.parametrize("name", list(ADJUST))
def test_random_factors_act_as_in_torchvision(name, shape, whole):
    factors = torch.rand((shape[0], 1, 1, 1), generator=generator(1))
    assert_like_torchvision(name, random_images(shape, whole), factors - 0.5 if name == "hue" else 2 * factors)


@pytest.mark.parametrize("name", FACTORS[:2])
def test_brightness_and_contrast_accept_grayscale_images(name):
    factors = torch.rand((30, 1, 1, 1), generator=generator(1)) * 3
    assert_like_torchvision(name, random_images((30, 1, 7, 6)), factors)


@pytest.mark.parametrize("name", FACTORS)
def test_extreme_factors_act_as_in_torchvision(name):
    images = random_images((12, 3, 6, 6))
    images[3:6], images[6:9] = 0.0, 255.0  # black and white images
    assert_like_torchvision(name, images, column(*[0.0, 1.0, 2.0] * 4))


def test_extreme_hue_shifts_act_as_in_torchvision():
    assert_like_torchvision("hue", random_images((6, 3, 6, 6), whole=True), column(-0.5, 0.0, 0.5, -0.25, 0.25, 0.1))


def test_a_factor_of_one_changes_nothing():
    images, one = random_images((4, 3, 6, 6)), torch.ones(4, 1, 1, 1)
    for adjust in (adjust_brightness, adjust_contrast, adjust_saturation):
        torch.testing.assert_close(adjust(images, one), images, rtol=0, atol=1e-4)
    torch.testing.assert_close(adjust_hue(images, 0 * one), images, rtol=0, atol=TOLERANCE)


def test_a_factor_of_zero_gives_black_the_mean_gray_or_a_grayscale_image():
    images, zero = random_images((4, 3, 6, 5)), torch.zeros(4, 1, 1, 1)
    assert not adjust_brightness(images, zero).any()
    flat, gray = adjust_contrast(images, zero), adjust_saturation(images, zero)
    for i, image in enumerate(images):
        in_gray = 0.2989 * image[0] + 0.587 * image[1] + 0.114 * image[2]
        torch.testing.assert_close(flat[i], in_gray.mean().expand(3, 6, 5), rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(gray[i], in_gray.expand(3, 6, 5), rtol=0, atol=TOLERANCE)


def test_values_are_clamped_at_black_and_white():
    images = torch.tensor([0.0, 200.0]).expand(1, 1, 2, 2)
    assert adjust_brightness(images, column(2.0))[0, 0, 0].tolist() == [0, 255]
    assert adjust_contrast(images, column(2.0))[0, 0, 0].tolist() == [0, 255]
    red = column(255.0, 0.0, 0.0).view(1, 3, 1, 1)
    assert adjust_saturation(red, column(2.0)).flatten().tolist() == [255, 0, 0]


def test_hue_shifts_equal_those_of_pythons_colorsys():
    turns = [-0.5, -0.3, 0.0, 0.2, 0.5]
    images = random_images((5, 3, 6, 7), whole=True)
    found = adjust_hue(images, column(*turns))
    for i, turn in enumerate(turns):
        for row in range(6):
            for place in range(7):
                hue, saturation, value = colorsys.rgb_to_hsv(*(images[i, :, row, place] / 255).tolist())
                expected = torch.tensor(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)) * 255
                torch.testing.assert_close(found[i, :, row, place], expected, rtol=0, atol=TOLERANCE)


def test_a_hue_shift_of_a_third_maps_red_to_green_to_blue():
    red, green, blue = (torch.eye(3)[channel].view(1, 3, 1, 1) * 200 for channel in range(3))
    for start, end in ((red, green), (green, blue), (blue, red)):
        torch.testing.assert_close(adjust_hue(start, column(1 / 3)), end, rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(adjust_hue(end, column(-1 / 3)), start, rtol=0, atol=TOLERANCE)


def test_hue_shifts_leave_gray_pixels_alone():
    gray = random_images((5, 1, 6, 6)).expand(-1, 3, -1, -1).clone()
    gray[0], gray[1, :, 0] = 0.0, 255.0
    assert torch.equal(adjust_hue(gray, column(-0.5, -0.123, 0.0, 0.3, 0.5)), gray)


def test_hue_shifts_keep_the_largest_and_the_smallest_channel():
    images = random_images((30, 3, 6, 6), whole=True)
    found = adjust_hue(images, torch.rand((30, 1, 1, 1), generator=generator(1)) - 0.5)
    torch.testing.assert_close(found.amax(1), images.amax(1), rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(found.amin(1), images.amin(1), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", list(ADJUST))
def test_the_batch_size_does_not_change_an_image(name):
    images = random_images((9, 3, 10, 11))
    factors = torch.linspace(-0.5, 0.5, 9).view(-1, 1, 1, 1) + (name != "hue")
    adjust = ADJUST[name][0]
    whole = adjust(images, factors)
    for size, layout in ((1, torch.channels_last), (4, torch.channels_last), (2, torch.contiguous_format)):
        images = images.contiguous(memory_format=layout)
        parts = [adjust(x, f) for x, f in zip(images.split(size), factors.split(size), strict=True)]
        assert torch.equal(torch.cat(parts), whole)
