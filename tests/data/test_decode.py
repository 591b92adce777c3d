import numpy as np
import pytest
import torch
from PIL import Image

from image_files import DAMAGE_IDS, DAMAGES, random_pixels
from resnet_lightning import InputError
from resnet_lightning.data.loading.decode import EXTENSIONS, UnreadableImage, read_image, resize, scale_and_cut, size_of

PIXELS = random_pixels(7, 5, 6)
GRAY = PIXELS[..., 0]
SIXTEEN = np.random.default_rng(7).integers(0, 2**16, (5, 6), np.uint16)


def read(file, image, channels=3):
    """Saves an image and reads it again: (H, W, C)."""
    image.save(file)
    return read_image(str(file), channels).permute(1, 2, 0).numpy()


def as_rgb(gray):
    return np.repeat(gray[..., None], 3, axis=2)


def palette_image():
    image = Image.fromarray(PIXELS).convert("P")
    return image, np.array(image.getpalette(), np.uint8).reshape(-1, 3)[np.asarray(image)]


def cmyk_image():
    image = Image.fromarray(PIXELS).convert("CMYK")
    cmyk = np.asarray(image).astype(int)
    return image, 255 - np.minimum(cmyk[..., :3] + cmyk[..., 3:], 255)


def with_alpha(pixels):
    alpha = np.random.default_rng(8).integers(0, 256, (5, 6, 1), np.uint8)
    return Image.fromarray(np.concatenate([pixels.reshape(5, 6, -1), alpha], axis=2))


MODES = {
    "L": lambda: (Image.fromarray(GRAY), as_rgb(GRAY)),
    "RGB": lambda: (Image.fromarray(PIXELS), PIXELS),
    "RGBA": lambda: (with_alpha(PIXELS), PIXELS),
    "P": palette_image,
    "1": lambda: (Image.fromarray(GRAY > 127), as_rgb(np.where(GRAY > 127, 255, 0))),
    "LA": lambda: (with_alpha(GRAY), as_rgb(GRAY)),
    "CMYK": cmyk_image,
    "I;16": lambda: (Image.fromarray(SIXTEEN), as_rgb(SIXTEEN // 256)),
    "I": lambda: (Image.fromarray(SIXTEEN.astype(np.int32)), as_rgb(SIXTEEN // 256)),
    "F": lambda: (Image.fromarray(GRAY.astype(np.float32)), as_rgb(GRAY)),
}


@pytest.mark.parametrize("mode", MODES)
def test_images_of_every_mode_become_rgb_or_gray(tmp_path, mode):
    image, colors = MODES[mode]()
    assert image.mode == mode
    file = tmp_path / ("x.tif" if mode in ("CMYK", "I", "F") else "x.png")
    found = read(file, image)
    assert found.dtype == np.uint8
    assert found.shape == (5, 6, 3)
    assert (found == colors).all()
    found = read(file, image, channels=1)
    assert found.shape == (5, 6, 1)
    # ITU-R 601-2, as Pillow documents it. The luma of gray is itself.
    luma = (colors @ np.array([299, 587, 114])) / 1000
    assert np.abs(found[..., 0] - luma).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path, suffix):
    values = np.array([[0, 255, 256, 511], [32768, 65279, 65280, 65535]], np.uint16)
    found = read(tmp_path / f"x{suffix}", Image.fromarray(values), channels=1)
    assert found[..., 0].tolist() == [[0, 0, 1, 1], [128, 254, 255, 255]]


def test_a_transparent_palette_is_read(tmp_path):
    image, expected = palette_image()
    image.save(tmp_path / "x.png", transparency=bytes(range(256)))
    assert (read_image(str(tmp_path / "x.png"), 3).permute(1, 2, 0).numpy() == expected).all()


def test_files_of_every_extension_are_read(tmp_path):
    smooth = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    for extension in EXTENSIONS:
        options = {"lossless": True} if extension == ".webp" else {}
        image = Image.fromarray(smooth).convert("L" if extension == ".pgm" else "RGB")
        image.save(tmp_path / f"x{extension}", **options)
        found = read_image(str(tmp_path / f"x{extension}"), 3).permute(1, 2, 0).numpy()
        expected = np.asarray(image.convert("RGB")).astype(int)
        assert found.shape == (16, 16, 3), extension
        # JPEG rounds in its own color space.
        assert np.abs(found - expected).max() <= (2 if extension.startswith(".j") else 0), extension
        assert size_of(tmp_path / f"x{extension}") == (16, 16), extension


def test_the_size_is_height_and_width(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "x.png")
    assert size_of(tmp_path / "x.png") == size_of(str(tmp_path / "x.png")) == (5, 6)


@pytest.mark.parametrize(("name", "write"), DAMAGES, ids=DAMAGE_IDS)
def test_a_damaged_file_is_named(tmp_path, name, write):
    write(tmp_path / name)
    for channels in (1, 3):
        with pytest.raises(UnreadableImage) as caught:
            read_image(str(tmp_path / name), channels)
        assert str(caught.value) == (
            f"cannot read the image '{tmp_path / name}': it is damaged or not an image; replace or remove it"
        )
        assert isinstance(caught.value, InputError)


def test_a_file_without_a_size_is_named(tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    for name in ("absent.png", "text.png"):
        with pytest.raises(UnreadableImage, match=f"cannot read the image '{tmp_path / name}'"):
            size_of(tmp_path / name)


# Sizes.


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (40, 30), (31, 97), (6, 6), (1, 50)])
def test_scaling_and_cutting_is_close_to_pillows(shape):
    pixels = random_pixels(1, *shape)
    for shorter_side, size in ((6, 6), (9, 6), (17, 17)):
        height, width = (max(shorter_side, round(side * shorter_side / min(shape))) for side in shape)
        scaled = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
        top, left = (height - size) // 2, (width - size) // 2
        expected = np.asarray(scaled.crop((left, top, left + size, top + size)))
        found = scale_and_cut(torch.from_numpy(pixels).permute(2, 0, 1), shorter_side, size).permute(1, 2, 0).numpy()
        assert found.shape == (size, size, 3)
        # Pillow rounds after each of its two passes.
        assert np.abs(found.astype(int) - expected).max() <= 1


def test_an_image_of_the_right_size_stays_as_it_is():
    image = torch.from_numpy(PIXELS).permute(2, 0, 1)
    assert torch.equal(resize(image, 5, 6), image)
    square = image[:, :, :5]
    assert torch.equal(scale_and_cut(square, 5, 5), square)


def test_a_view_is_scaled_like_a_copy_of_it():
    part = torch.from_numpy(random_pixels(1, 50, 40)).permute(2, 0, 1)[:, 5:33, 3:30]
    for height, width in ((16, 16), (60, 60), (7, 90)):
        assert torch.equal(resize(part, height, width), resize(part.contiguous(), height, width))
