import math

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from resnet_lightning.data.augmentation.geometry import Canvas, affine, crop, mark_boxes, resized_crop

# Batches of one image and of none, one channel and three, higher than wide and wider than high.
SHAPES = [(5, 3, 8, 8), (4, 1, 7, 10), (1, 2, 9, 4), (0, 3, 5, 6)]
# Positions between pixels are computed in single precision, and values reach 255.
TOLERANCE = 0.01


def random_images(shape, dtype=torch.uint8, layout=torch.channels_last):
    pixels = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0))
    pixels = pixels.to(dtype) if dtype == torch.uint8 else pixels.to(dtype) / 7
    return pixels.contiguous(memory_format=layout)


def crop_by_pixels(images, padding, top, left, mirrored, mode):
    n, _, height, width = images.shape
    out = torch.zeros_like(images)
    for i in range(n):
        for row in range(height):
            for column in range(width):
                r, c = row + int(top[i]) - padding, column + int(left[i]) - padding
                if mode == "reflect":  # at the border pixels, which are not repeated
                    r, c = (-at if at < 0 else at for at in (r, c))
                    r, c = (2 * (side - 1) - at if at >= side else at for at, side in ((r, height), (c, width)))
                elif not (0 <= r < height and 0 <= c < width):
                    continue
                out[i, :, row, column] = images[i, :, r, width - 1 - c if mirrored[i] else c]
    return out


# Every shape in both modes; each mode with every padding, type and layout.
@pytest.mark.parametrize(
    ("shape", "padding", "mode", "dtype", "layout"),
    [
        (SHAPES[0], 3, "zero", torch.uint8, torch.channels_last),
        (SHAPES[0], 1, "reflect", torch.float32, torch.contiguous_format),
        (SHAPES[1], 1, "zero", torch.float32, torch.channels_last),
        (SHAPES[1], 3, "reflect", torch.uint8, torch.contiguous_format),
        (SHAPES[2], 0, "zero", torch.uint8, torch.contiguous_format),
        (SHAPES[2], 3, "reflect", torch.float32, torch.channels_last),
        (SHAPES[3], 3, "zero", torch.float32, torch.contiguous_format),
        (SHAPES[3], 0, "reflect", torch.uint8, torch.channels_last),
    ],
)
def test_crop_equals_a_loop_over_pixels(shape, padding, mode, dtype, layout):
    images = random_images(shape, dtype, layout)
    before = images.clone()
    generator = np.random.default_rng(padding)
    top, left = generator.integers(0, 2 * padding + 1, (2, shape[0]))
    for mirrored in (None, generator.random(shape[0]) < 0.5, np.full(shape[0], True), np.full(shape[0], False)):
        found = crop(images, padding, top, left, mirrored, mode)
        expected = crop_by_pixels(images, padding, top, left, [False] * 9 if mirrored is None else mirrored, mode)
        assert found.dtype == dtype
        assert torch.equal(found, expected)
        assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


def test_crop_accepts_views_of_a_larger_tensor():
    large = random_images((6, 4, 10, 12))
    for images in (large[::2], large[..., :6], large[..., :5, :], large[:, 1:3]):
        n = len(images)
        top, left, mirrored = np.arange(n) % 5, np.arange(n)[::-1] % 5, np.arange(n) % 2 == 0
        expected = crop_by_pixels(images, 2, top, left, mirrored, "zero")
        assert torch.equal(crop(images, 2, top, left, mirrored), expected)


@pytest.mark.parametrize("mode", ["zero", "reflect"])
def test_crop_reaches_every_corner_of_the_image_padded_by_numpy(mode):
    images = random_images((2, 3, 6, 9))
    padded = np.pad(
        images.numpy(), ((0, 0), (0, 0), (5, 5), (5, 5)), mode={"zero": "constant", "reflect": "reflect"}[mode]
    )
    for top in (0, 3, 5, 10):
        for left in (0, 4, 5, 10):
            found = crop(images, 5, np.full(2, top), np.full(2, left), mode=mode)
            assert np.array_equal(found.numpy(), padded[:, :, top : top + 6, left : left + 9])


def test_crop_accepts_one_position_for_all_images():
    images = random_images((3, 3, 6, 9))
    assert torch.equal(crop(images, 2, 2, 2), images)
    assert torch.equal(crop(images, 2, 1, 4), crop(images, 2, np.full(3, 1), np.full(3, 4)))
    assert torch.equal(crop(images), images)


# Among them sides and channels of one, for which memory could be laid out either way.
DATA_SETS = [(7, 8, 8, 3), (5, 7, 10, 1), (4, 9, 4, 2), (3, 1, 5, 3), (3, 5, 1, 3), (3, 1, 1, 1), (1, 4, 4, 3)]


@pytest.mark.parametrize(
    ("shape", "padding", "mode"),
    [
        (DATA_SETS[0], 3, "zero"),
        (DATA_SETS[0], 1, "reflect"),
        (DATA_SETS[1], 3, "reflect"),
        (DATA_SETS[2], 0, "reflect"),
        *((shape, 1, "zero") for shape in DATA_SETS[1:]),
    ],
)
def test_cutting_from_a_canvas_equals_a_loop_over_pixels(shape, padding, mode):
    n, height, width, channels = shape
    images = random_images((n, channels, height, width)).permute(0, 2, 3, 1).contiguous()
    before = images.clone()
    canvas = Canvas(images, padding, mode)
    generator = np.random.default_rng(padding)
    for count in (0, 12):  # more than there are images, some of them twice
        rows = generator.integers(0, n, count)
        top, left = generator.integers(0, 2 * padding + 1, (2, count))
        chosen = images[torch.from_numpy(rows)].permute(0, 3, 1, 2)
        for mirrored in (None, generator.random(count) < 0.5):
            found = canvas.cut(rows, top, left, mirrored)
            expected = crop_by_pixels(chosen, padding, top, left, [False] * 12 if mirrored is None else mirrored, mode)
            assert found.dtype == torch.uint8
            assert torch.equal(found, expected)
            assert found.is_contiguous(memory_format=torch.channels_last)
            assert torch.equal(found, crop(chosen, padding, top, left, mirrored, mode))
    assert torch.equal(images, before)


def test_an_image_cut_from_a_canvas_is_a_copy():
    images = random_images((3, 3, 6, 6)).permute(0, 2, 3, 1).contiguous()
    canvas, zero = Canvas(images, 0, "zero"), np.zeros(3, np.int64)
    canvas.cut(np.arange(3), zero, zero, None).zero_()
    images_again = canvas.cut(np.arange(3), zero, zero, None)
    assert torch.equal(images_again.permute(0, 2, 3, 1), images)


@pytest.mark.parametrize(("shape", "padding"), [(DATA_SETS[0], 0), (DATA_SETS[1], 4), (DATA_SETS[5], 4)])
def test_nbytes_of_a_canvas_counts_the_padded_images_and_their_mirror_images(shape, padding):
    n, height, width, channels = shape
    images = torch.zeros(shape, dtype=torch.uint8)
    expected = 2 * n * (height + 2 * padding) * (width + 2 * padding) * channels
    assert Canvas.nbytes(images, padding) == expected
    assert Canvas(images, padding, "zero")._padded.nbytes == expected


def bilinear(image, row, column):
    """The value of (C, H, W) at a position between pixels; outside, the image is black."""
    _, height, width = image.shape
    value = torch.zeros(image.shape[0], dtype=torch.float64)
    for r in (math.floor(row), math.floor(row) + 1):
        for c in (math.floor(column), math.floor(column) + 1):
            if 0 <= r < height and 0 <= c < width:
                value += (1 - abs(row - r)) * (1 - abs(column - c)) * image[:, r, c].double()
    return value


def floats(*values):
    return np.array(values, np.float32)


def affine_parameters(n, seed=0):
    generator = np.random.default_rng(seed)
    low, high = (-180, -0.4, -0.4, 0.6), (180, 0.4, 0.4, 1.8)
    return [generator.uniform(a, b, n).astype(np.float32) for a, b in zip(low, high, strict=True)]


@pytest.mark.parametrize(
    ("shape", "dtype"), [(SHAPES[0], torch.uint8), (SHAPES[1], torch.float32), (SHAPES[2], torch.uint8)]
)
def test_affine_equals_a_loop_over_pixels(shape, dtype):
    images = random_images(shape, dtype)
    before = images.clone()
    n, _, height, width = shape
    degrees, down, right, scale = affine_parameters(n)
    expected = torch.zeros(shape, dtype=torch.float64)
    for i in range(n):
        angle = math.radians(degrees[i])
        for row in range(height):
            for column in range(width):
                # Relative to the center, right and up; undo the shift, then the rotation.
                x = column - (width - 1) / 2 - right[i] * width
                y = (height - 1) / 2 - row + down[i] * height
                from_x = (x * math.cos(angle) + y * math.sin(angle)) / scale[i]
                from_y = (-x * math.sin(angle) + y * math.cos(angle)) / scale[i]
                from_row, from_column = (height - 1) / 2 - from_y, from_x + (width - 1) / 2
                expected[i, :, row, column] = bilinear(images[i], from_row, from_column)
    found = affine(images, degrees, down, right, scale)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=TOLERANCE)
    assert torch.equal(images, before)


@pytest.mark.parametrize("shape", [(20, 1, 12, 21), (20, 3, 19, 8)])
def test_affine_equals_that_of_torchvision(shape):
    images = random_images(shape, torch.float32)
    degrees, down, right, scale = affine_parameters(shape[0], seed=1)
    found = affine(images, degrees, down, right, scale)
    for i, image in enumerate(images):
        expected = reference.affine(
            image,
            angle=-float(degrees[i]),  # torchvision turns clockwise
            translate=[float(right[i]) * shape[3], float(down[i]) * shape[2]],
            scale=float(scale[i]),
            shear=[0.0, 0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
        torch.testing.assert_close(found[i], expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("size", "quarters"), [(8, -1), (8, 2), (9, 1)])
def test_quarter_turns_are_counterclockwise(size, quarters):
    images = random_images((3, 2, size, size))
    found = affine(images, np.full(3, 90.0 * quarters, np.float32), *np.zeros((2, 3), np.float32), floats(1, 1, 1))
    torch.testing.assert_close(found, torch.rot90(images, quarters, (-2, -1)).float(), rtol=0, atol=TOLERANCE)


def test_translation_is_a_share_of_the_height_and_the_width():
    images = random_images((4, 3, 8, 5))
    down, right = floats(0.25, -0.5, 0, 0), floats(0, 0, 0.2, -0.6)
    expected = torch.zeros(images.shape)
    expected[0, :, 2:] = images[0, :, :-2]
    expected[1, :, :-4] = images[1, :, 4:]
    expected[2, :, :, 1:] = images[2, :, :, :-1]
    expected[3, :, :, :-3] = images[3, :, :, 3:]
    found = affine(images, floats(0, 0, 0, 0), down, right, floats(1, 1, 1, 1))
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)


def test_translation_comes_after_rotation():
    images = random_images((1, 3, 8, 8))
    found = affine(images, floats(90), floats(0.25), floats(0), floats(1))
    expected = torch.zeros(images.shape)
    expected[:, :, 2:] = torch.rot90(images, 1, (-2, -1))[:, :, :-2]
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)


def test_a_scale_above_one_enlarges_about_the_center():
    images = random_images((1, 1, 9, 9), torch.float32)
    twice, half = (affine(images, floats(0), floats(0), floats(0), floats(scale)) for scale in (2, 0.5))
    torch.testing.assert_close(twice[..., ::2, ::2], images[..., 2:7, 2:7], rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(half[..., 2:7, 2:7], images[..., ::2, ::2], rtol=0, atol=TOLERANCE)
    assert half[..., 0, :].abs().max() == 0  # black all around


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_an_affine_map_without_change_is_the_identity(shape):
    images = random_images(shape)
    nothing = np.zeros(shape[0], np.float32)
    found = affine(images, nothing, nothing, nothing, nothing + 1)
    torch.testing.assert_close(found, images.float(), rtol=0, atol=1e-3)


def random_boxes(n, height, width, seed=0):
    generator = np.random.default_rng(seed)
    rows, columns = generator.integers(1, height + 1, n), generator.integers(1, width + 1, n)
    return generator.integers(0, height - rows + 1), generator.integers(0, width - columns + 1), rows, columns


@pytest.mark.parametrize(
    ("shape", "dtype"), [(SHAPES[0], torch.float32), (SHAPES[1], torch.uint8), (SHAPES[2], torch.float32)]
)
def test_resized_crop_equals_a_loop_over_pixels(shape, dtype):
    images = random_images(shape, dtype)
    before = images.clone()
    n, _, height, width = shape
    top, left, rows, columns = random_boxes(n, height, width)
    expected = torch.zeros(shape, dtype=torch.float64)
    for i in range(n):
        for row in range(height):
            for column in range(width):
                from_row = top[i] + (row + 0.5) * rows[i] / height - 0.5
                from_column = left[i] + (column + 0.5) * columns[i] / width - 0.5
                # Beyond the image its border is repeated; beyond the box the image continues.
                from_row, from_column = min(max(from_row, 0), height - 1), min(max(from_column, 0), width - 1)
                expected[i, :, row, column] = bilinear(images[i], from_row, from_column)
    found = resized_crop(images, top, left, rows, columns)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=TOLERANCE)
    assert torch.equal(images, before)


@pytest.mark.parametrize("shape", [(20, 3, 16, 16), (20, 1, 12, 21)])
def test_resized_crop_equals_that_of_torchvision_inside_the_box(shape):
    images = random_images(shape, torch.float32)
    n, _, height, width = shape
    top, left, rows, columns = random_boxes(n, height, width, seed=1)
    found = resized_crop(images, top, left, rows, columns)
    for i, image in enumerate(images):
        box = int(top[i]), int(left[i]), int(rows[i]), int(columns[i])
        expected = reference.resized_crop(image, *box, [height, width], antialias=False)
        # Within half a pixel of the box's border torchvision repeats the border pixel; here the image continues.
        row, column = ((np.arange(side) + 0.5) * cut / side for side, cut in ((height, rows[i]), (width, columns[i])))
        inside = torch.from_numpy(
            ((row >= 0.5) & (row <= rows[i] - 0.5))[:, None] & ((column >= 0.5) & (column <= columns[i] - 0.5))
        )
        torch.testing.assert_close(found[i][:, inside], expected[:, inside], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_a_crop_of_the_whole_image_is_the_image(shape):
    images = random_images(shape)
    n, _, height, width = shape
    zero = np.zeros(n, np.int64)
    found = resized_crop(images, zero, zero, zero + height, zero + width)
    torch.testing.assert_close(found, images.float(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_marked_boxes_equal_a_loop_over_pixels(shape):
    n, channels, height, width = shape
    images = random_images(shape)
    generator = np.random.default_rng(0)
    for _ in range(10):
        # Some of them outside, empty, or larger than the image.
        top, left = generator.integers(-height, 2 * height, n), generator.integers(-width, 2 * width, n)
        rows, columns = generator.integers(0, 2 * height, n), generator.integers(0, 2 * width, n)
        expected = torch.zeros(shape, dtype=torch.bool)
        for i in range(n):
            for row in range(height):
                for column in range(width):
                    in_rows, in_columns = 0 <= row - top[i] < rows[i], 0 <= column - left[i] < columns[i]
                    expected[i, :, row, column] = bool(in_rows and in_columns)
        found = mark_boxes(images, top, left, rows, columns)
        assert found.dtype == torch.bool
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(found, expected)
        assert found.shape == (n, channels, height, width)


@pytest.mark.parametrize(
    "apply",
    [
        lambda images, i: crop(images, 4, i % 9, 8 - i % 9, i % 2 == 0),
        lambda images, i: crop(images, 4, i % 9, 8 - i % 9, i % 2 == 0, "reflect"),
        lambda images, i: affine(images, *(i * k + c for k, c in ((7.5, 0), (0.01, 0), (-0.02, 0), (0.03, 0.7)))),
        lambda images, i: resized_crop(images, i % 3, i % 4, 2 + i % 6, 3 + i % 5),
        lambda images, i: mark_boxes(images, i % 3, i % 4, 2 + i % 6, 3 + i % 5),
    ],
    ids=["crop", "crop with reflection", "affine", "resized crop", "boxes"],
)
def test_the_batch_size_does_not_change_an_image(apply):
    images = random_images((20, 3, 9, 11))
    numbers = np.arange(20)
    whole = apply(images, numbers)
    for size in (1, 3, 8):
        parts = [apply(images[i : i + size], numbers[i : i + size]) for i in range(0, 20, size)]
        assert torch.equal(torch.cat(parts), whole)
