import colorsys
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from resnet_lightning import InputError
from resnet_lightning.data.augmentation import Augmentation
from resnet_lightning.data.augmentation.boxes import draw_boxes
from resnet_lightning.data.augmentation.draws import Draws
from resnet_lightning.data.augmentation.geometry import Canvas, resized_crop
from resnet_lightning.data.augmentation.mixup import beta

# What the random numbers are for: part of what a seed means, and so of what a change must not move.
CROP, FLIP, AFFINE, RESIZED_CROP, COLOUR, CUTOUT, ERASE, ERASE_BOX, MIX, CUTMIX_BOX = range(10)

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

SEED, EPOCH = 5, 3
N = 20_000


def random_images(n=24, channels=3, height=10, width=13, dtype=torch.uint8):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, channels, height, width), generator=generator)
    pixels = pixels.to(dtype) if dtype == torch.uint8 else pixels.to(dtype) / 3
    return pixels.contiguous(memory_format=torch.channels_last)


def numbers_of(n):
    """Of images somewhere in a data set."""
    return torch.arange(n) * 31 + 5


def normalise(images):
    return (images.float() - 120) / 60


def pixels_of(normalised):
    return normalised * 60 + 120


def augmented(options, images, indices=None, seed=SEED, epoch=EPOCH, others=None, **more):
    """Images and targets, the latter being the images' rows in the batch where none are given."""
    indices = numbers_of(len(images)) if indices is None else indices
    targets = more.pop("targets", torch.arange(len(images)))
    num_classes = more.pop("num_classes", len(images))
    return Augmentation(**options)(
        images, targets, Draws(indices, seed, epoch), normalise, others=others, num_classes=num_classes, **more
    )


def images_of(options, images, *arguments, **more):
    return augmented(options, images, *arguments, **more)[0]


def neighbours(n):
    return torch.arange(n) ^ 1


def chi_square(counts):
    """Its mean is the number of cells less 1, its variance twice that."""
    expected = counts.sum() / len(counts)
    return ((counts - expected) ** 2 / expected).sum()


def chi_square_bound(cells):
    return cells - 1 + 5 * math.sqrt(2 * (cells - 1))


def assert_uniform(values, low, high, cells=64, slack=1e-4):
    values = np.asarray(values, np.float64)
    assert values.min() >= low - slack
    assert values.max() <= high + slack
    assert chi_square(np.histogram(values.clip(low, high), cells, (low, high))[0]) < chi_square_bound(cells)


# Each option image by image, with the parameters that its draws give.


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
    factor = low + float(draws.uniform(COLOUR, 4)[number, 0]) * (high - low)
    return adjust(image / 255, factor) * 255


def cutout_one(image, draws, side):
    _, height, width = image.shape
    row, column = draws.uniform(CUTOUT, 2)[:, 0]
    top, left = int(row * height) - side // 2, int(column * width) - side // 2
    for r in range(height):
        for c in range(width):
            if top <= r < top + side and left <= c < left + side:
                image[:, r, c] = 120.0  # the mean colour
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
    # the third epoch, counted from 0, is an odd one
    "flip alternate": lambda image, draws: image if draws.uniform_of_run(FLIP)[0] < 0.5 else image.flip(-1),
    "brightness": lambda image, draws: jitter_one(image, draws, 0, reference.adjust_brightness, 0.4, 1.6),
    "contrast": lambda image, draws: jitter_one(image, draws, 1, reference.adjust_contrast, 0.4, 1.6),
    "saturation": lambda image, draws: jitter_one(image, draws, 2, reference.adjust_saturation, 0.4, 1.6),
    "hue": lambda image, draws: jitter_one(image, draws, 3, reference.adjust_hue, -0.3, 0.3),
    "cutout": lambda image, draws: cutout_one(image, draws, 5),
    "erase": lambda image, draws: erase_one(image, draws, 0.7),
}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("name", list(ALONE))
def test_an_option_does_to_each_image_what_its_draws_say(name, dtype):
    images = random_images(dtype=dtype)
    found, targets = augmented(ALONE[name], images)
    expected = [
        ONE_BY_ONE[name](image.float().contiguous(), Draws(index[None], SEED, EPOCH))
        for image, index in zip(images.clone(), numbers_of(len(images)), strict=True)
    ]
    assert found.dtype == torch.float32
    torch.testing.assert_close(pixels_of(found), torch.stack(expected), rtol=0, atol=0.02)
    assert not torch.equal(found, normalise(images))
    assert torch.equal(targets, torch.arange(len(images)))


def test_options_apply_one_after_the_other_in_the_documented_order():
    images = random_images()
    found = images_of(EVERYTHING | {"pad": "zero", "flip": True}, images)
    # A crop mirrors the image first, and pads and cuts out then.
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
    assert torch.equal(found, normalise(images))
    assert torch.equal(targets, torch.arange(len(images)))
    assert Augmentation() == Augmentation(
        0.0, 0.0, 0.0, 0.0, 0, "zero", False, 0.0, 0.0, 0.0, 0.0, 0, 0.0, mixup=0.0, cutmix=0.0
    )


@pytest.mark.parametrize(
    "options",
    [
        {"crop": 3},
        {"flip": True},
        {"crop": 3, "flip": "alternate", "pad": "reflect"},
        {"crop": 2, "flip": True, "brightness": 0.5, "hue": 0.2, "cutout": 4, "mixup": 0.5, "cutmix": 1.0},
    ],
)
def test_images_cut_from_a_canvas_are_those_that_are_cropped_in_the_batch(options):
    # What a loader does with a data set of 24 images in memory, where the draws are those of the images' numbers.
    images, augmentation = random_images(), Augmentation(**options)
    indices = torch.tensor([7, 0, 23, 5, 11, 1])
    canvas = Canvas(images.permute(0, 2, 3, 1), augmentation.crop, augmentation.pad)
    cut = canvas.cut(indices.numpy(), *augmentation.shifts(Draws(indices, SEED, EPOCH)))
    assert augmentation.moves_whole_pixels
    found = augmented({**options, "crop": 0, "flip": False}, cut, indices, others=neighbours(6))
    expected = augmented(options, images[indices], indices, others=neighbours(6))
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize(
    ("options", "whole"),
    [
        ({}, False),
        ({"crop": 1}, True),
        ({"flip": True}, True),
        ({"flip": "alternate"}, True),
        ({"crop": 1, "hue": 0.1, "cutout": 3, "erase": 0.1, "mixup": 1.0}, True),
        ({"hue": 0.1, "cutout": 3}, False),
        *(
            ({"crop": 1, "flip": True, **ALONE[name]}, False)
            for name in ("resized_crop", "rotate", "translate", "scale")
        ),
    ],
)
def test_an_augmentation_tells_whether_whole_pixels_move_first(options, whole):
    assert Augmentation(**options).moves_whole_pixels is whole


def test_shifts_are_none_without_a_crop_and_mirror_none_without_a_flip():
    draws = Draws(numbers_of(24), SEED, EPOCH)
    top, left, mirrored = Augmentation().shifts(draws)
    assert set(top) == set(left) == {0}
    assert mirrored is None
    top, left, mirrored = Augmentation(crop=2, flip=True).shifts(draws)
    assert np.array_equal([top, left], np.floor(draws.uniform(CROP, 2) * 5))
    assert np.array_equal(mirrored, draws.uniform(FLIP)[0] < 0.5)


def test_boxes_of_the_resized_crop_are_drawn_for_files_of_any_size():
    n = 500
    heights, widths = np.random.default_rng(0).integers(1, 300, (2, n))
    draws = Draws(numbers_of(n), SEED, EPOCH)
    found = Augmentation(resized_crop=0.3).boxes(draws, heights, widths)
    expected = draw_boxes(draws, RESIZED_CROP, heights, widths, (0.3, 1.0), (3 / 4, 4 / 3), or_else_middle=True)
    assert np.array_equal(np.array(found), np.array(expected))


# Mixing.


def mixed_one(options, rows, row, other, index):
    """Image ``row`` of the normalised (R, C, H, W) with its partner, and how much of it there is."""
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


@pytest.mark.parametrize("extra", [0, 3])
@pytest.mark.parametrize("name", list(MIXING))
def test_mixing_does_to_each_image_what_its_draws_say(name, extra):
    options, images = MIXING[name], random_images(24 + extra)
    others = neighbours(24)
    others[:extra] = 24 + torch.arange(extra)  # rows that are there only as partners
    labels = torch.arange(24 + extra) % 4
    found, targets = augmented(options, images, others=others, targets=labels, num_classes=4)
    assert found.shape == (24, 3, 10, 13)
    assert targets.shape == (24, 4)
    assert targets.dtype == torch.float32
    for i in range(24):
        expected, kept = mixed_one(options, normalise(images), i, int(others[i]), numbers_of(24)[i])
        torch.testing.assert_close(found[i], expected, rtol=0, atol=1e-4)
        one_hot = torch.eye(4)
        expected = kept * one_hot[labels[i]] + (1 - kept) * one_hot[labels[others[i]]]
        torch.testing.assert_close(targets[i], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(targets.sum(1), torch.ones(24))


def test_images_are_mixed_after_everything_else():
    images, others = random_images(), neighbours(24)
    found = images_of({**EVERYTHING, **MIXING["mixup and cutmix"]}, images, others=others)
    single = images_of(EVERYTHING, images)
    for i in range(24):
        expected, _ = mixed_one(MIXING["mixup and cutmix"], single, i, int(others[i]), numbers_of(24)[i])
        torch.testing.assert_close(found[i], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("others", [None, neighbours(24)])
def test_without_mixing_targets_stay_labels(others):
    found, targets = augmented({"flip": True}, random_images(), others=others)
    assert targets.dtype == torch.int64
    assert torch.equal(targets, torch.arange(24))
    assert torch.equal(found, images_of({"flip": True}, random_images()))


@pytest.mark.parametrize(
    ("options", "mixes"), [({}, False), (EVERYTHING, False), ({"mixup": 0.1}, True), ({"cutmix": 2.0}, True)]
)
def test_an_augmentation_tells_whether_it_mixes(options, mixes):
    assert Augmentation(**options).mixes is mixes


# What the outcome depends on.


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("name", list(UNMIXED))
def test_an_image_is_augmented_alike_whatever_its_batch(name, dtype):
    options, images, indices = UNMIXED[name], random_images(37, dtype=dtype), numbers_of(37)
    whole = images_of(options, images)
    order = torch.randperm(37, generator=torch.Generator().manual_seed(0))
    assert torch.equal(images_of(options, images[order], indices[order]), whole[order])
    for size in (1, 2, 5, 32):
        parts = zip(images.split(size), indices.split(size), strict=True)
        assert torch.equal(torch.cat([images_of(options, x, i) for x, i in parts]), whole)
    among_others = images.flip(-1, -2).clone()
    among_others[::3] = images[::3]
    assert torch.equal(images_of(options, among_others)[::3], whole[::3])
    planes = images.contiguous(memory_format=torch.contiguous_format)
    assert torch.equal(images_of(options, planes), whole)


@pytest.mark.parametrize("name", list(MIXED))
def test_an_image_is_mixed_alike_whatever_its_batch(name):
    options, n = MIXED[name], 36
    images, indices, labels = random_images(n), numbers_of(n), torch.arange(n)
    whole, targets = augmented(options, images, others=neighbours(n))
    for size in (1, 3, 4, 35):
        for first in range(0, n, size):
            own = torch.arange(first, min(first + size, n))
            # The partners follow the images of the batch, as others' rows.
            rows = torch.cat([own, own ^ 1])
            others = torch.arange(len(own)) + len(own)
            found = augmented(options, images[rows], indices[rows], others=others, targets=labels[rows], num_classes=n)
            assert torch.equal(found[0], whole[own])
            assert torch.equal(found[1], targets[own])


@pytest.mark.parametrize("name", ["contrast", "everything"])
def test_the_number_of_threads_changes_nothing(name):
    images, indices = random_images(5, height=224, width=224), numbers_of(5)
    alone = [images_of(UNMIXED[name], images[i : i + 1], indices[i : i + 1]) for i in range(5)]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for i in range(5):
            assert torch.equal(images_of(UNMIXED[name], images[i : i + 1], indices[i : i + 1]), alone[i])
        assert torch.equal(images_of(UNMIXED[name], images), torch.cat(alone))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", [name for name in UNMIXED if name not in ("nothing", "flip alternate")])
def test_seed_epoch_and_index_each_change_the_outcome(name):
    images = random_images(1).expand(40, -1, -1, -1)
    options, indices = UNMIXED[name], numbers_of(40)
    whole = images_of(options, images)
    assert torch.equal(images_of(options, images), whole)
    assert len(whole.unique(dim=0)) >= 2
    for other in (
        images_of(options, images, seed=SEED + 1),
        images_of(options, images, epoch=EPOCH + 1),
        images_of(options, images, indices + 1),
    ):
        assert not torch.equal(other, whole)


@pytest.mark.parametrize("name", list(MIXING))
def test_seed_epoch_and_index_each_change_the_mixture(name):
    images, others, indices = random_images(40), neighbours(40), numbers_of(40)
    whole, _ = augmented(MIXING[name], images, others=others)
    for changes in ({"seed": SEED + 1}, {"epoch": EPOCH + 1}, {"indices": indices + 1}):
        assert not torch.equal(images_of(MIXING[name], images, others=others, **changes), whole)


# How the parameters are distributed.


def test_crops_and_flips_are_all_equally_likely():
    # With 11 pixels a side and 4 of padding, what comes to the centre and to the right of it is always in the image.
    numbered = (1 + torch.arange(121, dtype=torch.float32)).view(1, 1, 11, 11).expand(N, -1, -1, -1)
    out = pixels_of(images_of({"crop": 4, "flip": True}, numbered, torch.arange(N)))
    centre, right = (out[:, 0, 5, column].round().long().numpy() - 1 for column in (5, 6))
    top, flipped = centre // 11 - 1, right < centre
    left = np.where(flipped, 10 - centre % 11, centre % 11) - 1
    assert (top.min(), top.max(), left.min(), left.max()) == (0, 8, 0, 8)
    counts = np.bincount((top * 9 + left) * 2 + flipped, minlength=162)
    assert len(counts) == 162
    assert chi_square(counts) < chi_square_bound(162)


def ramps(side=21):
    """N images whose first channel is the row and second the column: sampling them between pixels is exact."""
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack([row, column]).float().expand(N, -1, -1, -1)


def around_the_centre(options):
    """Of the ramps: the centre's row and column, and how both grow to the right and downwards."""
    out = pixels_of(images_of(options, ramps(), torch.arange(N))).double().numpy()
    centre, right, down = out[:, :, 10, 10], out[:, :, 10, 11], out[:, :, 11, 10]
    return centre, right - centre, down - centre


def test_angles_are_uniform_up_to_the_limit():
    centre, right, down = around_the_centre({"rotate": 40})
    np.testing.assert_allclose(centre, 10, atol=1e-3)
    # Turned counter-clockwise, what is to the right of the centre came from further down.
    degrees = np.degrees(np.arctan2(right[:, 0], right[:, 1]))
    assert_uniform(degrees, -40, 40, slack=0.01)
    np.testing.assert_allclose(np.degrees(np.arctan2(-down[:, 1], down[:, 0])), degrees, atol=0.01)


def test_shifts_are_uniform_up_to_the_limit_in_both_directions():
    centre, right, down = around_the_centre({"translate": 0.2})
    shares = (10 - centre) / 21
    assert_uniform(shares[:, 0], -0.2, 0.2)
    assert_uniform(shares[:, 1], -0.2, 0.2)
    assert abs(np.corrcoef(shares.T)[0, 1]) < 5 / math.sqrt(N)
    np.testing.assert_allclose(np.concatenate([right, down], 1), [[0, 1, 1, 0]] * N, atol=1e-3)


def test_scales_are_uniform_up_to_the_limit():
    centre, right, down = around_the_centre({"scale": 0.3})
    np.testing.assert_allclose(centre, 10, atol=1e-3)
    assert_uniform(1 / right[:, 1], 0.7, 1.3)
    np.testing.assert_allclose(right[:, 1], down[:, 0], atol=1e-3)


@pytest.mark.parametrize(("strength", "low", "high"), [(0.3, 0.7, 1.3), (1.0, 0.0, 2.0), (1.5, 0.0, 2.5)])
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
def test_turns_of_the_hue_are_uniform_up_to_the_limit(limit):
    cyan = torch.tensor([0.0, 255.0, 255.0]).view(1, 3, 1, 1).expand(N, -1, -1, -1)  # half-way round the circle
    out = pixels_of(images_of({"hue": limit}, cyan, torch.arange(N)))[:, :, 0, 0].clamp(0, 255)
    turns = [colorsys.rgb_to_hsv(*pixel)[0] - 0.5 for pixel in (out / 255).tolist()]
    # Where the circle closes, red may be either end.
    assert_uniform([turn if abs(turn) <= limit else math.copysign(limit, turn) for turn in turns], -limit, limit)


def test_the_four_colour_changes_have_factors_of_their_own():
    numbers = Draws(torch.arange(N), SEED, EPOCH).uniform(COLOUR, 4)
    correlation = np.corrcoef(numbers.astype(np.float64))
    assert np.abs(correlation[~np.eye(4, dtype=bool)]).max() < 5 / math.sqrt(N)


def hidden(options, height, width, n=N):
    """Which pixels of images of one colour are hidden: (n, height, width)."""
    bright = torch.full((1, 1, 1, 1), 200.0).expand(n, 3, height, width)
    out = images_of(options, bright, torch.arange(n))
    assert set(out.unique().tolist()) <= {0.0, normalise(torch.tensor(200.0)).item()}  # exactly 0, the mean colour
    assert torch.equal(out.amin(1), out.amax(1))  # in all channels
    return (out[:, 0] == 0).numpy()


def test_squares_are_cut_out_about_any_pixel_alike():
    mask = hidden({"cutout": 1}, 7, 9)
    assert (mask.sum((1, 2)) == 1).all()
    assert chi_square(mask.sum(0).ravel()) < chi_square_bound(63)


@pytest.mark.parametrize("side", [2, 3, 6, 40])
def test_a_square_has_its_size_or_ends_at_the_border(side):
    height, width = 12, 15
    mask = hidden({"cutout": side}, height, width, 4000)
    corners = Draws(torch.arange(4000), SEED, EPOCH).uniform(CUTOUT, 2)
    for i in range(4000):
        rows, columns = mask[i].any(1).nonzero()[0], mask[i].any(0).nonzero()[0]
        top, left = int(corners[0, i] * height) - side // 2, int(corners[1, i] * width) - side // 2
        assert (rows[0], rows[-1] + 1) == (max(top, 0), min(top + side, height))
        assert (columns[0], columns[-1] + 1) == (max(left, 0), min(left + side, width))
        assert mask[i].sum() == len(rows) * len(columns)
    assert (mask.sum((1, 2)).max() == side**2) == (side <= height)


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 1.0])
def test_boxes_are_erased_with_their_probability(probability):
    mask = hidden({"erase": probability}, 24, 24, 5000)
    some = mask.any((1, 2))
    assert some.mean() == pytest.approx(probability, abs=5 * math.sqrt(probability * (1 - probability) / 5000))
    for box in mask[some][:500]:
        rows, columns = box.any(1).nonzero()[0], box.any(0).nonzero()[0]
        assert box.sum() == len(rows) * len(columns)  # a whole box
        assert len(rows) == rows[-1] + 1 - rows[0]
        assert 0.015 < box.mean() < 0.35  # from 0.02 to 1/3 before rounding


def test_resized_crops_cover_at_least_their_share_and_every_part_of_the_image():
    centre, right, down = around_the_centre({"resized_crop": 0.25})
    share = right[:, 1] * down[:, 0]  # of the ramp that one step to the right or down takes
    assert share.min() > 0.25 * 0.9
    assert share.max() <= 1 + 1e-3
    assert share.mean() == pytest.approx(0.6, abs=0.05)
    assert 0.65 < (right[:, 1] / down[:, 0]).min() < (right[:, 1] / down[:, 0]).max() < 1.5
    np.testing.assert_allclose(centre.mean(0), 10, atol=0.1)
    assert centre.std(0).min() > 0.5


@pytest.mark.parametrize("alpha", [0.4, 1.0])
def test_mixup_keeps_shares_from_the_beta_distribution(alpha):
    images = torch.zeros(2 * N, 1, 2, 2)
    _, targets = augmented(
        {"mixup": alpha}, images, others=neighbours(2 * N), targets=torch.arange(2 * N) % 2, num_classes=2
    )
    kept = targets[torch.arange(2 * N), torch.arange(2 * N) % 2].double().numpy()
    assert kept.mean() == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(2 * N))
    assert kept.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
    sample = np.random.default_rng(0).beta(alpha, alpha, 2 * N)
    places = np.linspace(0.01, 0.99, 99)
    ours, numpys = ((values[:, None] <= places).mean(0) for values in (kept, sample))
    assert np.abs(ours - numpys).max() < 2.2 / math.sqrt(N)


def test_with_both_each_half_of_the_images_is_mixed_one_way():
    images = torch.zeros(N, 1, 8, 8)
    images[1::2] = 240.0  # so that neighbours normalise to -2 and 2
    out, targets = augmented(
        {"mixup": 1.0, "cutmix": 1.0},
        images,
        torch.arange(N),
        others=neighbours(N),
        targets=torch.arange(N) % 2,
        num_classes=2,
    )
    out, own = out[:, 0].double().numpy(), np.arange(N) % 2
    pasted = (np.abs(out) == 2).all((1, 2))
    assert pasted.mean() == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(N))
    blended = out[~pasted]
    assert (blended.max((1, 2)) == blended.min((1, 2))).all()
    # Either way, the targets tell how much of the bright and of the dark one there is.
    bright = targets[:, 1].double().numpy()
    np.testing.assert_allclose((out.mean((1, 2)) + 2) / 4, bright, atol=1e-5)
    # The share has nothing to do with the choice.
    kept = np.where(own == 1, bright, 1 - bright)
    assert kept[~pasted].mean() == pytest.approx(0.5, abs=0.02)
    assert kept[~pasted].var() == pytest.approx(1 / 12, rel=0.05)


def test_cutmix_boxes_lie_about_any_pixel_alike():
    images = torch.zeros(N, 1, 9, 9)
    images[1::2] = 240.0
    out, _ = augmented(
        {"cutmix": 1.0}, images, torch.arange(N), others=neighbours(N), targets=torch.arange(N) % 2, num_classes=2
    )
    own = torch.where(torch.arange(N) % 2 == 1, 2.0, -2.0).view(-1, 1, 1)
    # Boxes of a single pixel are the place that was drawn, and never cut off at the border.
    share = Draws(torch.arange(N), SEED, EPOCH).uniform(MIX, 4)[0]
    single = (np.sqrt(1 - beta(share, 1.0)) * 9).astype(int) == 1
    pasted = (out[:, 0] != own).numpy()[single]
    assert (pasted.sum((1, 2)) == 1).all()
    assert len(pasted) == pytest.approx(N * 3 / 81, rel=0.2)
    assert chi_square(pasted.sum(0).ravel()) < chi_square_bound(81)


# Every other epoch.


def flipped_in(epoch, seed=SEED, n=N):
    pair = torch.tensor([0.0, 240.0]).view(1, 1, 1, 2).expand(n, -1, -1, -1)
    out = images_of({"flip": "alternate"}, pair, torch.arange(n), seed=seed, epoch=epoch)
    return (out[:, 0, 0, 0] > 0).numpy()


def test_alternating_flips_take_half_of_the_images_and_then_exactly_the_others():
    first = flipped_in(0)
    assert first.mean() == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(N))
    for epoch in range(1, 6):
        assert np.array_equal(flipped_in(epoch), first ^ (epoch % 2 == 1))


def test_alternating_flips_begin_with_others_in_another_run():
    first, other = flipped_in(0), flipped_in(0, seed=SEED + 1)
    assert (first != other).mean() == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(N))


def test_plain_flips_are_drawn_anew_in_every_epoch():
    pair = torch.tensor([0.0, 240.0]).view(1, 1, 1, 2).expand(N, -1, -1, -1)
    first, second = (images_of({"flip": True}, pair, torch.arange(N), epoch=epoch)[:, 0, 0, 0] > 0 for epoch in (0, 1))
    for share in (first, second, first != second):
        assert share.float().mean().item() == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(N))


# Types and memory.


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("name", [*UNMIXED, *MIXING, "everything mixed"])
def test_channels_lie_innermost_and_the_incoming_batch_is_left_alone(name, layout, channels):
    options = {**UNMIXED, **MIXING, "everything mixed": MIXED["everything"]}[name]
    if channels == 1:
        options = {key: value for key, value in options.items() if key not in ("saturation", "hue")}
    for dtype in (torch.uint8, torch.float32):
        images = random_images(8, channels, dtype=dtype).contiguous(memory_format=layout)
        targets, others = torch.arange(8), neighbours(8)
        before = images.clone(), targets.clone(), others.clone()
        found, _ = augmented(options, images, targets=targets, others=others)
        assert found.dtype == torch.float32
        assert found.shape == images.shape
        if layout == torch.channels_last:  # as the loaders deliver them
            assert found.is_contiguous(memory_format=torch.channels_last)
        assert all(map(torch.equal, (images, targets, others), before))


def test_crop_and_flip_keep_whole_bytes():
    images, draws = random_images(), Draws(numbers_of(24), SEED, EPOCH)
    for options in ({"crop": 2}, {"crop": 2, "pad": "reflect"}, {"flip": True}, {"crop": 2, "flip": "alternate"}):
        moved = Augmentation(**options).move(images, draws)
        assert moved.dtype == torch.uint8
        assert moved.is_contiguous(memory_format=torch.channels_last)
    assert Augmentation(crop=2, rotate=1.0).move(images, draws).dtype == torch.float32


def test_images_are_normalised_as_bytes_where_nothing_computes_between_them():
    seen = []

    def remember(images):
        seen.append(images.dtype)
        return normalise(images)

    for options in ({"crop": 2, "flip": True}, {"brightness": 0.1}):
        Augmentation(**options)(random_images(), torch.arange(24), Draws(numbers_of(24), SEED, EPOCH), remember)
    assert seen == [torch.uint8, torch.float32]


# What is refused.

FACTOR, ALPHA = "a number of at least 0", "a number larger than 0, or 0 for none"


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
def test_the_ends_of_the_ranges_are_accepted_and_give_numbers(name, values):
    for value in values:
        out, targets = augmented({name: value}, random_images(), others=neighbours(24))
        assert out.shape == (24, 3, 10, 13)
        assert out.isfinite().all()
        if name in MIXING and value:
            torch.testing.assert_close(targets.sum(1), torch.ones(24))


@pytest.mark.parametrize("options", [{"saturation": 0.1}, {"hue": 0.1}, {"saturation": 0.1, "hue": 0.1}])
@pytest.mark.parametrize("side", [28, None])
def test_colours_of_grey_images_are_refused(options, side):
    message = "augment.saturation and augment.hue change colours, and these images are grey; leave them 0"
    with pytest.raises(InputError) as caught:
        Augmentation(**options).check_images(1, side)
    assert str(caught.value) == message
    assert Augmentation(**options).check_images(3, side) is None


@pytest.mark.parametrize("crop", [8, 9, 100])
def test_a_reflection_further_out_than_the_image_is_wide_is_refused(crop):
    with pytest.raises(InputError) as caught:
        Augmentation(crop=crop, pad="reflect").check_images(3, 8)
    assert str(caught.value) == f"augment.crop is {crop}; an image of 8 pixels cannot be mirrored so far out"


@pytest.mark.parametrize(
    ("options", "channels", "side"),
    [
        ({}, 1, 28),
        ({"brightness": 0.1, "contrast": 0.1}, 1, 28),
        ({"crop": 8}, 3, 8),
        ({"crop": 7, "pad": "reflect"}, 3, 8),
        ({"crop": 100, "pad": "reflect"}, 3, None),
        ({"pad": "reflect"}, 3, 1),
        ({**EVERYTHING, **MIXING["mixup and cutmix"]}, 3, 32),
    ],
)
def test_images_that_can_go_through_it_are_accepted(options, channels, side):
    assert Augmentation(**options).check_images(channels, side) is None


def test_the_widest_reflection_that_is_accepted_works():
    images = random_images(4, height=8, width=8)
    found = images_of({"crop": 7, "pad": "reflect"}, images)
    for i in range(4):
        expected = crop_one(images[i].float(), Draws(numbers_of(4)[i : i + 1], SEED, EPOCH), 7, "reflect")
        assert torch.equal(found[i], normalise(expected))
