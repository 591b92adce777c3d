import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from augmented import (
    AFFINE,
    COLOR,
    CROP,
    CUTOUT,
    EPOCH,
    ERASE,
    ERASE_BOX,
    FLIP,
    MIX,
    RESIZED_CROP,
    SEED,
    augmented,
    images_of,
    neighbors,
    normalize,
    numbers_of,
    pixels_of,
    random_images,
)
from resnet_lightning import InputError
from resnet_lightning.data.augmentation import Augmentation
from resnet_lightning.data.augmentation.boxes import draw_boxes
from resnet_lightning.data.augmentation.draws import Draws
from resnet_lightning.data.augmentation.geometry import Canvas, resized_crop
from resnet_lightning.data.augmentation.mixup import beta

ALONE = {
    "resized_crop": {"resized_crop": 0.2},
    "rotate": {"rotate": 40.0},
    "translate": {"translate": 0.3},
    "scale": {"scale": 0.4},
    "crop": {"crop": 3},
    "crop with reflection": {"crop": 3, "pad": "reflect"},
    "flip": {"flip": True},
    "flip alternate": {"flip": "alternate"},
    "brightness": {"brightness": 0.6},
    "contrast": {"contrast": 0.6},
    "saturation": {"saturation": 0.6},
    "hue": {"hue": 0.3},
    "cutout": {"cutout": 5},
    "erase": {"erase": 0.7},
}
MIXING = {
    "mixup": {"mixup": 0.4},
    "cutmix": {"cutmix": 1.0},
    "mixup and cutmix": {"mixup": 0.8, "cutmix": 1.0},
}
EVERYTHING = {name: value for options in ALONE.values() for name, value in options.items()}
MIXED = {**MIXING, "everything": {**EVERYTHING, **MIXING["mixup and cutmix"]}}
UNMIXED = {"nothing": {}, **ALONE, "everything": EVERYTHING}

# A reference for each option, one image at a time.


def crop_one(image, draws, padding, mode):
    top, left = (int(number * (2 * padding + 1)) for number in draws.uniform(CROP, 2)[:, 0])
    padded = F.pad(image, [padding] * 4, mode={"zero": "constant", "reflect": "reflect"}[mode])
    return padded[:, top : top + image.shape[1], left : left + image.shape[2]]


def affine_one(image, draws, rotate=0.0, translate=0.0, scale=0.0):
    turn, down, right, grow = (2 * float(number) - 1 for number in draws.uniform(AFFINE, 4)[:, 0])
    _, height, width = image.shape
    return reference.affine(
        image,
        angle=-turn * rotate,  # torchvision turns clockwise
        translate=[right * translate * width, down * translate * height],
        scale=1 + grow * scale,
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )


def resized_crop_one(image, draws, share):
    _, height, width = image.shape
    box = draw_boxes(
        draws, RESIZED_CROP, np.array([height]), np.array([width]), (share, 1.0), (3 / 4, 4 / 3), or_else_middle=True
    )
    return resized_crop(image[None], *box)[0]


def jitter_one(image, draws, number, adjust, low, high):
    factor = low + float(draws.uniform(COLOR, 4)[number, 0]) * (high - low)
    return adjust(image / 255, factor) * 255


def cutout_one(image, draws, side):
    _, height, width = image.shape
    row, column = draws.uniform(CUTOUT, 2)[:, 0]
    top, left = int(row * height) - side // 2, int(column * width) - side // 2
    for r in range(height):
        for c in range(width):
            if top <= r < top + side and left <= c < left + side:
                image[:, r, c] = 120.0  # the mean color
    return image


def erase_one(image, draws, probability):
    _, height, width = image.shape
    if draws.uniform(ERASE)[0, 0] < probability:
        top, left, rows, columns = (
            int(number[0])
            for number in draw_boxes(
                draws,
                ERASE_BOX,
                np.array([height]),
                np.array([width]),
                (0.02, 1 / 3),
                (0.3, 1 / 0.3),
                or_else_middle=False,
            )
        )
        image[:, top : top + rows, left : left + columns] = 120.0
    return image


ONE_BY_ONE = {
    "resized_crop": lambda image, draws: resized_crop_one(image, draws, 0.2),
    "rotate": lambda image, draws: affine_one(image, draws, rotate=40.0),
    "translate": lambda image, draws: affine_one(image, draws, translate=0.3),
    "scale": lambda image, draws: affine_one(image, draws, scale=0.4),
    "crop": lambda image, draws: crop_one(image, draws, 3, "zero"),
    "crop with reflection": lambda image, draws: crop_one(image, draws, 3, "reflect"),
    "flip": lambda image, draws: image.flip(-1) if draws.uniform(FLIP)[0, 0] < 0.5 else image,
    # EPOCH is odd.
    "flip alternate": lambda image, draws: image if draws.uniform_of_run(FLIP)[0] < 0.5 else image.flip(-1),
    "brightness": lambda image, draws: jitter_one(image, draws, 0, reference.adjust_brightness, 0.4, 1.6),
    "contrast": lambda image, draws: jitter_one(image, draws, 1, reference.adjust_contrast, 0.4, 1.6),
    "saturation": lambda image, draws: jitter_one(image, draws, 2, reference.adjust_saturation, 0.4, 1.6),
    "hue": lambda image, draws: jitter_one(image, draws, 3, reference.adjust_hue, -0.3, 0.3),
    "cutout": lambda image, draws: cutout_one(image, draws, 5),
    "erase": lambda image, draws: erase_one(image, draws, 0.7),
}


@pytest.mark.parametrize("name", list(ALONE))
def test_each_option_equals_its_reference(name):
    images = random_images()
    found, targets = augmented(ALONE[name], images)
    expected = [
        ONE_BY_ONE[name](image.float().contiguous(), Draws(index[None], SEED, EPOCH))
        for image, index in zip(images.clone(), numbers_of(len(images)), strict=True)
    ]
    assert found.dtype == torch.float32
    torch.testing.assert_close(pixels_of(found), torch.stack(expected), rtol=0, atol=0.02)
    assert not torch.equal(found, normalize(images))
    assert torch.equal(targets, torch.arange(len(images)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_options_apply_in_the_documented_order(dtype):
    images = random_images(dtype=dtype)
    found = images_of(EVERYTHING | {"pad": "zero", "flip": True}, images)
    # A crop flips the image before it pads it.
    rest = ("flip", "crop", "brightness", "contrast", "saturation", "hue", "cutout", "erase")
    expected = []
    for image, index in zip(images.float().contiguous(), numbers_of(len(images)), strict=True):
        draws = Draws(index[None], SEED, EPOCH)
        changed = affine_one(resized_crop_one(image, draws, 0.2), draws, 40.0, 0.3, 0.4)
        for name in rest:
            changed = ONE_BY_ONE[name](changed, draws)
        expected.append(changed)
    torch.testing.assert_close(pixels_of(found), torch.stack(expected), rtol=0, atol=0.05)


def test_nothing_is_done_by_default():
    images = random_images()
    found, targets = augmented({}, images)
    assert torch.equal(found, normalize(images))
    assert torch.equal(targets, torch.arange(len(images)))


@pytest.mark.parametrize(
    "options",
    [
        {"crop": 3},
        {"flip": True},
        {"crop": 3, "flip": "alternate", "pad": "reflect"},
        {"crop": 2, "flip": True, "brightness": 0.5, "hue": 0.2, "cutout": 4, "mixup": 0.5, "cutmix": 1.0},
    ],
)
def test_cutting_from_a_canvas_equals_cropping_the_batch(options):
    # As a loader does with a data set of 24 images in memory.
    images, augmentation = random_images(), Augmentation(**options)
    indices = torch.tensor([7, 0, 23, 5, 11, 1])
    canvas = Canvas(images.permute(0, 2, 3, 1), augmentation.crop, augmentation.pad)
    cut = canvas.cut(indices.numpy(), *augmentation.shifts(Draws(indices, SEED, EPOCH)))
    assert augmentation.moves_whole_pixels
    found = augmented({**options, "crop": 0, "flip": False}, cut, indices, others=neighbors(6))
    expected = augmented(options, images[indices], indices, others=neighbors(6))
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_moves_whole_pixels_where_a_crop_or_flip_comes_first():
    for options in ({"crop": 1}, {"flip": True}, {"flip": "alternate"}, {"crop": 1, "hue": 0.1, "erase": 0.1}):
        assert Augmentation(**options).moves_whole_pixels is True
    interpolating = [
        {"crop": 1, "flip": True, **ALONE[name]} for name in ("resized_crop", "rotate", "translate", "scale")
    ]
    for options in ({}, {"hue": 0.1, "cutout": 3}, *interpolating):
        assert Augmentation(**options).moves_whole_pixels is False


def test_shifts_are_zero_without_a_crop_and_nothing_is_mirrored_without_a_flip():
    draws = Draws(numbers_of(24), SEED, EPOCH)
    top, left, mirrored = Augmentation().shifts(draws)
    assert set(top) == set(left) == {0}
    assert mirrored is None
    top, left, mirrored = Augmentation(crop=2, flip=True).shifts(draws)
    assert np.array_equal([top, left], np.floor(draws.uniform(CROP, 2) * 5))
    assert np.array_equal(mirrored, draws.uniform(FLIP)[0] < 0.5)


def test_boxes_of_the_resized_crop_fit_files_of_any_size():
    n = 500
    heights, widths = np.random.default_rng(0).integers(1, 300, (2, n))
    draws = Draws(numbers_of(n), SEED, EPOCH)
    found = Augmentation(resized_crop=0.3).boxes(draws, heights, widths)
    expected = draw_boxes(draws, RESIZED_CROP, heights, widths, (0.3, 1.0), (3 / 4, 4 / 3), or_else_middle=True)
    assert np.array_equal(np.array(found), np.array(expected))


# Mixing.


def mixed_one(options, rows, row, other, index):
    """Mixes image ``row`` of the normalized (R, C, H, W) with its partner; also returns the share that it keeps."""
    _, height, width = rows[row].shape
    share, choice, at_row, at_column = Draws(index[None], SEED, EPOCH).uniform(MIX, 4)[:, 0]
    own, partner = rows[row].clone(), rows[other]
    if "cutmix" not in options or ("mixup" in options and choice >= 0.5):
        kept = float(beta(share[None], options["mixup"])[0])
        return kept * own + (1 - kept) * partner, kept
    side = math.sqrt(1 - float(beta(share[None], options["cutmix"])[0]))
    box_height, box_width = int(side * height), int(side * width)
    top, left = int(at_row * height) - box_height // 2, int(at_column * width) - box_width // 2
    pasted = 0
    for r in range(height):
        for c in range(width):
            if top <= r < top + box_height and left <= c < left + box_width:
                own[:, r, c] = partner[:, r, c]
                pasted += 1
    return own, 1 - pasted / (height * width)


@pytest.mark.parametrize(("name", "extra"), [("mixup", 3), ("cutmix", 3), ("mixup and cutmix", 0)])
def test_mixing_equals_its_reference(name, extra):
    options, images = MIXING[name], random_images(24 + extra)
    others = neighbors(24)
    others[:extra] = 24 + torch.arange(extra)  # rows that are only partners
    labels = torch.arange(24 + extra) % 4
    found, targets = augmented(options, images, others=others, targets=labels, num_classes=4)
    assert found.shape == (24, 3, 10, 13)
    assert targets.shape == (24, 4)
    assert targets.dtype == torch.float32
    for i in range(24):
        expected, kept = mixed_one(options, normalize(images), i, int(others[i]), numbers_of(24)[i])
        torch.testing.assert_close(found[i], expected, rtol=0, atol=1e-4)
        one_hot = torch.eye(4)
        expected = kept * one_hot[labels[i]] + (1 - kept) * one_hot[labels[others[i]]]
        torch.testing.assert_close(targets[i], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(targets.sum(1), torch.ones(24))


def test_mixing_comes_last():
    images, others = random_images(), neighbors(24)
    found = images_of({**EVERYTHING, **MIXING["mixup and cutmix"]}, images, others=others)
    single = images_of(EVERYTHING, images)
    for i in range(24):
        expected, _ = mixed_one(MIXING["mixup and cutmix"], single, i, int(others[i]), numbers_of(24)[i])
        torch.testing.assert_close(found[i], expected, rtol=0, atol=1e-4)


def test_targets_stay_labels_without_mixing():
    assert not Augmentation(**EVERYTHING).mixes
    assert Augmentation(mixup=0.1).mixes
    assert Augmentation(cutmix=2.0).mixes
    found, targets = augmented({"flip": True}, random_images(), others=neighbors(24))
    assert targets.dtype == torch.int64
    assert torch.equal(targets, torch.arange(24))
    assert torch.equal(found, images_of({"flip": True}, random_images()))


# What the result depends on.


@pytest.mark.parametrize("name", list(UNMIXED))
def test_the_batch_does_not_change_how_an_image_is_augmented(name):
    options, images, indices = UNMIXED[name], random_images(37), numbers_of(37)
    whole = images_of(options, images)
    order = torch.randperm(37, generator=torch.Generator().manual_seed(0))
    assert torch.equal(images_of(options, images[order], indices[order]), whole[order])
    for size in (1, 5, 32):
        parts = zip(images.split(size), indices.split(size), strict=True)
        assert torch.equal(torch.cat([images_of(options, x, i) for x, i in parts]), whole)
    among_others = images.flip(-1, -2).clone()
    among_others[::3] = images[::3]
    assert torch.equal(images_of(options, among_others)[::3], whole[::3])
    planes = images.contiguous(memory_format=torch.contiguous_format)
    assert torch.equal(images_of(options, planes), whole)


@pytest.mark.parametrize("name", list(MIXED))
def test_the_batch_does_not_change_how_an_image_is_mixed(name):
    options, n = MIXED[name], 36
    images, indices, labels = random_images(n), numbers_of(n), torch.arange(n)
    whole, targets = augmented(options, images, others=neighbors(n))
    for size in (1, 3, 35):
        for first in range(0, n, size):
            own = torch.arange(first, min(first + size, n))
            # The partners follow the images of the batch.
            rows = torch.cat([own, own ^ 1])
            others = torch.arange(len(own)) + len(own)
            found = augmented(options, images[rows], indices[rows], others=others, targets=labels[rows], num_classes=n)
            assert torch.equal(found[0], whole[own])
            assert torch.equal(found[1], targets[own])


def test_the_number_of_threads_changes_nothing():
    images, indices = random_images(3, height=224, width=224), numbers_of(3)
    alone = [images_of(EVERYTHING, images[i : i + 1], indices[i : i + 1]) for i in range(3)]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert torch.equal(images_of(EVERYTHING, images[:1], indices[:1]), alone[0])
        assert torch.equal(images_of(EVERYTHING, images), torch.cat(alone))
    finally:
        torch.set_num_threads(threads)


VARYING = {name: options for name, options in {**ALONE, **MIXING}.items() if name != "flip alternate"}


@pytest.mark.parametrize("name", list(VARYING))
def test_seed_epoch_and_index_each_change_the_result(name):
    # Unmixed, all images are equal, so that only the draws can differ.
    images = random_images(40) if name in MIXING else random_images(1).expand(40, -1, -1, -1)
    options, indices, others = VARYING[name], numbers_of(40), neighbors(40)
    whole = images_of(options, images, others=others)
    assert torch.equal(images_of(options, images, others=others), whole)
    assert len(whole.unique(dim=0)) >= 2
    for changes in ({"seed": SEED + 1}, {"epoch": EPOCH + 1}, {"indices": indices + 1}):
        assert not torch.equal(images_of(options, images, others=others, **changes), whole)


# Types and memory.


@pytest.mark.parametrize("name", [*UNMIXED, *MIXING, "everything mixed"])
def test_results_are_channels_last_and_the_batch_is_left_alone(name):
    options = {**UNMIXED, **MIXING, "everything mixed": MIXED["everything"]}[name]
    in_color = {"saturation", "hue"} & set(options)
    for dtype, layout, channels in (
        (torch.uint8, torch.channels_last, 3),  # as the loaders deliver them
        (torch.float32, torch.channels_last, 3 if in_color else 1),
        (torch.uint8, torch.contiguous_format, 3),
    ):
        images = random_images(8, channels, dtype=dtype).contiguous(memory_format=layout)
        targets, others = torch.arange(8), neighbors(8)
        before = images.clone(), targets.clone(), others.clone()
        found, _ = augmented(options, images, targets=targets, others=others)
        assert found.dtype == torch.float32
        assert found.shape == images.shape
        if layout == torch.channels_last:
            assert found.is_contiguous(memory_format=torch.channels_last)
        assert all(map(torch.equal, (images, targets, others), before))


def test_crop_and_flip_keep_uint8():
    images, draws = random_images(), Draws(numbers_of(24), SEED, EPOCH)
    for options in ({"crop": 2}, {"crop": 2, "pad": "reflect"}, {"flip": True}, {"crop": 2, "flip": "alternate"}):
        moved = Augmentation(**options).move(images, draws)
        assert moved.dtype == torch.uint8
        assert moved.is_contiguous(memory_format=torch.channels_last)
    assert Augmentation(crop=2, rotate=1.0).move(images, draws).dtype == torch.float32


def test_images_are_normalized_as_uint8_where_nothing_interpolates():
    seen = []

    def remember(images):
        seen.append(images.dtype)
        return normalize(images)

    for options in ({"crop": 2, "flip": True}, {"brightness": 0.1}):
        Augmentation(**options)(random_images(), torch.arange(24), Draws(numbers_of(24), SEED, EPOCH), remember)
    assert seen == [torch.uint8, torch.float32]


# What is refused.

FACTOR, ALPHA = "a number of at least 0", "a number larger than 0, or 0 for none"
GRAYSCALE = "augment.saturation and augment.hue change colours, and these images are grey; leave them 0"


@pytest.mark.parametrize(
    ("name", "values", "what"),
    [
        ("resized_crop", [-0.1, 1.01, math.nan, math.inf], "a share of the area from 0 (none) to 1"),
        ("rotate", [-1, 180.1, math.nan, math.inf], "degrees from 0 to 180"),
        ("translate", [-0.1, 1.1, math.nan, math.inf], "a share of the side from 0 to 1"),
        ("scale", [-0.1, 1, 1.0, math.nan, math.inf], "a number from 0 up to, but not including, 1"),
        ("crop", [-1], "the padding in pixels, 0 for none"),
        ("pad", ["black", "", None], "'zero' or 'reflect'"),
        ("flip", ["always", None, "true"], "true, false or 'alternate'"),
        ("brightness", [-0.1, math.nan, math.inf], FACTOR),
        ("contrast", [-0.1, math.nan, math.inf], FACTOR),
        ("saturation", [-0.1, math.nan, math.inf], FACTOR),
        ("hue", [-0.1, 0.51, math.nan, math.inf], "a share of the circle from 0 to 0.5"),
        ("cutout", [-1], "the side of the square in pixels, 0 for none"),
        ("erase", [-0.1, 1.1, math.nan, math.inf], "a probability from 0 to 1"),
        ("mixup", [-0.1, math.nan, math.inf], ALPHA),
        ("cutmix", [-0.1, math.nan, math.inf], ALPHA),
    ],
)
def test_numbers_out_of_range_are_refused(name, values, what):
    for value in values:
        with pytest.raises(InputError) as caught:
            Augmentation(**{name: value})
        assert str(caught.value) == f"augment.{name} is {value!r}; give {what}"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("resized_crop", [0, 0.001, 1]),
        ("rotate", [0, 180]),
        ("translate", [0, 1]),
        ("scale", [0, 0.999]),
        ("crop", [0, 9]),
        ("pad", ["zero", "reflect"]),
        ("flip", [False, True, "alternate"]),
        ("brightness", [0, 1, 5]),
        ("contrast", [0, 1, 5]),
        ("saturation", [0, 1, 5]),
        ("hue", [0, 0.5]),
        ("cutout", [0, 1, 100]),
        ("erase", [0, 1]),
        ("mixup", [0, 0.01, 10]),
        ("cutmix", [0, 0.01, 10]),
    ],
)
def test_the_ends_of_the_ranges_are_accepted_and_give_finite_images(name, values):
    for value in values:
        out, targets = augmented({name: value}, random_images(), others=neighbors(24))
        assert out.shape == (24, 3, 10, 13)
        assert out.isfinite().all()
        if name in MIXING and value:
            torch.testing.assert_close(targets.sum(1), torch.ones(24))


def test_color_changes_of_grayscale_images_are_refused():
    for options in ({"saturation": 0.1}, {"hue": 0.1}):
        for side in (28, None):
            with pytest.raises(InputError) as caught:
                Augmentation(**options).check_images(1, side)
            assert str(caught.value) == GRAYSCALE
            Augmentation(**options).check_images(3, side)
    Augmentation(brightness=0.1, contrast=0.1).check_images(1, 28)


def test_a_padding_larger_than_the_image_is_refused():
    for crop in (8, 100):
        with pytest.raises(InputError) as caught:
            Augmentation(crop=crop, pad="reflect").check_images(3, 8)
        assert (
            str(caught.value)
            == f"augment.crop is {crop}; with reflect padding, give less than the image's side of 8 pixels"
        )
    with pytest.raises(InputError) as caught:
        Augmentation(crop=9).check_images(3, 8)
    assert str(caught.value) == "augment.crop is 9; give at most the image's side of 8 pixels"
    for options, side in (
        ({"crop": 8}, 8),
        ({"crop": 7, "pad": "reflect"}, 8),
        ({"crop": 100, "pad": "reflect"}, None),
        ({"pad": "reflect"}, 1),
    ):
        Augmentation(**options).check_images(3, side)


def test_the_widest_accepted_reflection_works():
    images = random_images(4, height=8, width=8)
    found = images_of({"crop": 7, "pad": "reflect"}, images)
    for i in range(4):
        expected = crop_one(images[i].float(), Draws(numbers_of(4)[i : i + 1], SEED, EPOCH), 7, "reflect")
        assert torch.equal(found[i], normalize(expected))
