"""Depth, orientation, frames and transparency of image files, in memory and streamed."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from data_modules import one_line
from image_files import random_pixels, write_folders, write_images
from resnet_lightning import ImageFolderDataModule, InputError
from resnet_lightning.data.image_spec import ImageSpec
from resnet_lightning.data.loading.decode import UnreadableImage, read_image, size_of
from resnet_lightning.data.loading.files import FileNames, ImageFiles
from resnet_lightning.data.prediction import PredictionDataModule


def save(file, values):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(file)


def write_deep(root, kind, scale, n=3):
    """Images of which each holds values up to a part of ``scale``, the brightest all of them; returns them by part."""
    random = np.random.default_rng(0)
    written = {}
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            for number in range(n):
                values = random.random((6, 6)) * scale * (number + 1) / n
                if (part, name, number) == ("train", "dog", n - 1):
                    values[0, 0] = scale
                values = values.astype(kind)
                save(root / part / name / f"{number}.tif", values)
                written.setdefault(part, []).append(values)
    return written


DEPTHS = {
    "8 bits in 16": (np.uint16, 255, 255),
    "10 bits in 16": (np.uint16, 900, 1023),
    "12 bits in 16": (np.uint16, 4000, 4095),
    "14 bits in 16": (np.uint16, 16000, 16383),
    "16 bits": (np.uint16, 65000, 65535),
    "12 bits in 32": (np.int32, 4095, 4095),
    "24 bits in 32": (np.int32, 10_000_000, 2**24 - 1),
    "floats to 1": (np.float32, 1, 1),
    "dark floats": (np.float32, 0.02, 1 / 32),
    "floats to 255": (np.float32, 255, 255),
    "floats to 4095": (np.float32, 4000, 4095),
}


@pytest.mark.parametrize("depth", DEPTHS)
def test_gray_images_of_any_depth_keep_their_brightness_relative_to_the_data_set(tmp_path, depth):
    kind, scale, white = DEPTHS[depth]
    written = write_deep(tmp_path, kind, scale)
    resident = ImageFolderDataModule(tmp_path, val_split=0)
    streamed = ImageFolderDataModule(tmp_path, val_split=0, resident=False)
    for part, images in written.items():
        expected = np.stack(images).astype(float) / white * 255
        for data in (resident, streamed):
            split = data.split(part)
            found = split.images
            if data is streamed:
                found, _ = found.read_all(range(len(found)))
            assert (found == found[..., :1]).all()
            assert np.abs(found[..., 0].numpy() - expected).max() <= 1
        assert found.max() > 60
    assert resident.white_level == white == resident.image_spec.white_level


def test_the_white_level_can_be_given(tmp_path):
    write_deep(tmp_path, np.uint16, 900)
    data = ImageFolderDataModule(tmp_path, white_level=4095)
    assert data.split("train").images.max() == 900 // 16
    for value in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match=r"data\.white_level is"):
            ImageFolderDataModule(tmp_path, white_level=value)


def test_a_prediction_scales_as_the_training_did(tmp_path):
    write_deep(tmp_path, np.uint16, 4000)
    trained = ImageFolderDataModule(tmp_path)
    state = trained.state_dict()
    values = np.full((6, 6), 1000, np.uint16)
    save(tmp_path / "new" / "a.tif", values)
    options = PredictionDataModule.options_for(state, {"predict_folder": str(tmp_path / "new"), "white_level": 9})
    data = PredictionDataModule(**options)
    assert (data.split("predict").images.read(0) == 1000 // 16).all()
    values[0, 0] = 5000
    save(tmp_path / "new" / "a.tif", values)
    with pytest.raises(InputError, match=r"a\.tif' has pixels of 5000, brighter than white, which is 4095 here"):
        data.split("predict").images.read(0)
    del state["white_level"]  # a checkpoint from before there was one
    assert ImageSpec.from_dict(state).white_level is None
    with pytest.raises(InputError, match="the checkpoint was trained on images whose white is 1023, but it is 4095 he"):
        trained.load_state_dict({**state, "white_level": 1023.0})


@pytest.mark.parametrize("high", [1, 255, 4095, 16383])
def test_one_deep_image_that_may_be_dark_or_not_is_refused(tmp_path, high):
    save(tmp_path / "x.png", np.full((4, 4), high, np.uint16))
    with pytest.raises(InputError) as caught:
        read_image(str(tmp_path / "x.png"), 3)
    assert f"values up to {high}; give the pixel value of white as --data.white_level" in one_line(caught)
    assert (read_image(str(tmp_path / "x.png"), 3, white_level=high) == 255).all()


def test_values_outside_the_range_are_refused(tmp_path):
    for values, message in (
        (np.array([[0.5, -0.5]], np.float32), "has pixels of -0.5; give images whose black is 0"),
        (np.array([[0.5, np.nan]], np.float32), "has pixels that are not finite numbers"),
        (np.array([[0.5, np.inf]], np.float32), "has pixels that are not finite numbers"),
        (np.array([[5, -1000]], np.int32), "has pixels of -1000; give images whose black is 0"),
        (np.array([[0.5, 7]], np.float32), "brighter than white, which is 1 here"),
    ):
        save(tmp_path / "x.tif", values)
        with pytest.raises(InputError, match=message) as caught:
            read_image(str(tmp_path / "x.tif"), 1, white_level=1)
        assert not isinstance(caught.value, UnreadableImage)  # which is skipped where damaged files are
    save(tmp_path / "x.tif", np.array([[-0.02, 0.5, 1.03]], np.float32))  # as after scaling by a sharp filter
    assert read_image(str(tmp_path / "x.tif"), 1, white_level=1).tolist() == [[[0, 128, 255]]]


def test_floats_among_integers_are_refused(tmp_path):
    write_deep(tmp_path, np.uint16, 4000)
    save(tmp_path / "train" / "cat" / "f.tif", np.random.default_rng(1).random((6, 6)).astype(np.float32))
    with pytest.raises(InputError, match="some images hold floats up to 1 and some integers up to 4095"):
        ImageFolderDataModule(tmp_path).setup("fit")


def test_a_negative_becomes_a_positive(tmp_path):
    values = np.array([[0, 1000, 4095]], np.uint16)
    save(tmp_path / "x.tif", values)
    content = bytearray((tmp_path / "x.tif").read_bytes())
    entry = struct.pack("<HHI", 262, 3, 1)  # PhotometricInterpretation
    content[content.index(entry) + len(entry)] = 0  # 0 is white
    (tmp_path / "x.tif").write_bytes(content)
    assert read_image(str(tmp_path / "x.tif"), 1, white_level=4095).tolist() == [[[255, 255 - 62, 0]]]


def png_of_16_bit_colors(file, values):
    """Pillow writes no such file."""
    height, width, _ = values.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(lines)))
    with file.open("wb") as png:
        png.write(b"\x89PNG\r\n\x1a\n")
        for name, data in (*chunks, (b"IEND", b"")):
            png.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))


@pytest.mark.parametrize(("bits", "accepted"), [(12, False), (16, True)])
def test_colors_of_12_bits_in_16_are_refused_instead_of_black(tmp_path, bits, accepted):
    write_folders(tmp_path, ["train", "test"], n=2)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            for file in (tmp_path / part / name).glob("*.png"):
                png_of_16_bit_colors(file, random_pixels(1).astype(np.uint16) << (bits - 8))
    data = ImageFolderDataModule(tmp_path, val_split=0, batch_size=2)
    if accepted:
        assert (data.split("train").images[0].numpy() == random_pixels(1)).all()
    else:
        with pytest.raises(InputError, match="16 bits for each colour but use 14 at most"):
            data.setup("fit")


# Orientation.

TURNED = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).transpose(1, 0, 2),
    8: np.rot90,
}


def write_turned(file, pixels, orientation):
    file.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(file, exif=exif, lossless=True)


@pytest.mark.parametrize("extension", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", TURNED)
def test_an_image_is_turned_as_its_orientation_states(tmp_path, orientation, extension):
    pixels = random_pixels(3, 4, 6)
    file = tmp_path / f"x.{extension}"
    write_turned(file, pixels, orientation)
    upright = TURNED[orientation](pixels)
    assert (read_image(str(file), 3).permute(1, 2, 0).numpy() == upright).all()
    assert size_of(file) == upright.shape[:2]


def test_upright_images_are_the_same_from_memory_from_files_and_for_prediction(tmp_path):
    half = np.zeros((6, 6, 3), np.uint8)
    half[:, 3:] = 255  # bright on the right; turned by 90 degrees, at the bottom
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            write_turned(tmp_path / part / name / "0.jpg", half, 6)
    for resident in ("cpu", False):
        data = ImageFolderDataModule(
            tmp_path, val_split=0, resident=resident, image_size=6, batch_size=2, mean=[0.0], std=[1.0]
        )
        images, _ = next(iter(data.test_dataloader()))
        assert images[:, :, :2].max() < 0.16
        assert images[:, :, 4:].min() > 0.84
    predicting = PredictionDataModule(**data.image_spec.to_dict(), predict_folder=tmp_path / "test")
    assert torch.allclose(predicting.split("predict").images.read(0) / 255, images[0])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_metadata_leave_an_image_as_it_is(tmp_path):
    pixels = np.full((8, 8, 3), 90, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffgarbage")
    assert (read_image(str(tmp_path / "x.jpg"), 3) == 90).all()
    assert size_of(tmp_path / "x.jpg") == (8, 8)


# Frames, and modes that Pillow does not convert.


@pytest.mark.parametrize("extension", ["gif", "tif", "webp", "png"])
def test_the_first_of_several_frames_is_used_and_a_line_says_so(tmp_path, caplog, extension):
    write_folders(tmp_path, ["train", "test"], n=2)
    frames = [Image.fromarray(np.full((6, 6, 3), value, np.uint8)) for value in (10, 200, 250)]
    file = tmp_path / "train" / "cat" / f"a.{extension}"
    frames[0].save(file, save_all=True, append_images=frames[1:])
    with caplog.at_level("INFO", "resnet_lightning"):
        images = ImageFolderDataModule(tmp_path, val_split=0).split("train").images
    assert np.abs(images[2].numpy().astype(int) - 10).max() <= 1
    assert caplog.messages == [
        f"1 of 5 images that were looked at hold several frames, for example {file}; the first frame of each is used"
    ]


@pytest.mark.parametrize(("stored", "shown"), [((100, 50, 25, 128), (200, 100, 50)), ((70, 128), (140, 140, 140))])
def test_premultiplied_transparency_is_undone(tmp_path, stored, shown):
    pixels = np.zeros((4, 4, len(stored)), np.uint8)
    pixels[:] = stored
    Image.fromarray(pixels).save(tmp_path / "x.tif")
    content = bytearray((tmp_path / "x.tif").read_bytes())
    entry = struct.pack("<HHI", 338, 3, 1)  # ExtraSamples
    place = content.index(entry) + len(entry)
    content[place] = 1  # associated alpha
    (tmp_path / "x.tif").write_bytes(content)
    assert np.abs(read_image(str(tmp_path / "x.tif"), 3)[:, 0, 0].numpy() - np.float32(shown)).max() <= 2


def test_colors_that_are_not_rgb_are_named(tmp_path):
    Image.new("LAB", (4, 4)).save(tmp_path / "x.tif")
    with pytest.raises(UnreadableImage, match="its colours are stored as LAB, not as RGB"):
        read_image(str(tmp_path / "x.tif"), 3)


def test_decoded_images_of_another_white_level_are_not_taken_from_the_cache(tmp_path):
    write_images(tmp_path, 1)
    names = FileNames([str(tmp_path / "000.png")])
    prints = {ImageFiles(names, 6, 6, 3, white_level=level).fingerprint() for level in (None, 255.0, 4095.0)}
    assert len(prints) == 3
