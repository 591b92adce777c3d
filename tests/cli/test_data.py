"""``lightning data``: what is printed about a folder of images."""

import numpy as np
import pytest
import yaml
from PIL import Image

from resnet_lightning.cli.main import main
from resnet_lightning.data.inspection import inspect_folder


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Twelve cats and three dogs to train on, two of each to test on."""
    generator = np.random.default_rng(0)
    for part, counts in (("train", {"cat": 12, "dog": 3}), ("test", {"cat": 2, "dog": 2})):
        for name, count in counts.items():
            for number in range(count):
                pixels = generator.integers(0, 256, (40, 48 + 8 * (number % 2), 3), np.uint8)
                save(tmp_path / "pets" / part / name / f"{number:02}.png", pixels)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "pets"


def printed(capsys, *arguments):
    assert main(["data", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_counts_sizes_statistics_and_picture(folder, capsys):
    text = printed(capsys, folder)
    lines = [line.split() for line in text.splitlines()]
    assert ["class", "train", "test"] in lines
    assert ["cat", "12", "2"] in lines
    assert ["dog", "3", "2"] in lines
    assert ["2", "classes", "15", "4"] in lines
    assert "most often 48x40 (10 images); shorter side 40 to 40 pixels" in text
    assert "modes: RGB 19" in text
    assert "cannot be read" not in text
    assert "several" not in text
    with Image.open("pets_images.png") as picture:
        assert picture.width > 400


def test_mean_and_deviation_are_those_of_all_training_pixels(folder):
    mean, deviation = inspect_folder(folder).statistics()
    pixels = [np.array(Image.open(path)).reshape(-1, 3) / 255 for path in folder.glob("train/*/*.png")]
    np.testing.assert_allclose(mean, np.concatenate(pixels).mean(0))
    np.testing.assert_allclose(deviation, np.concatenate(pixels).std(0))


def test_unreadable_files_and_duplicates_are_named(folder, capsys):
    (folder / "train/cat/broken.jpg").write_bytes(b"not an image")
    (folder / "train/cat/notes.txt").write_text("x")
    with Image.open(folder / "train/cat/00.png") as image:
        image.save(folder / "test/cat/copy.bmp")  # the same pixels in another format
        image.save(folder / "test/cat/different.jpg", quality=50)
    with Image.open(folder / "train/dog/01.png") as image:
        image.save(folder / "train/cat/dog.png")
        save(folder / "train/dog/mirrored.png", np.array(image)[:, ::-1])
    text = printed(capsys, folder)
    assert "1 file is left out of the images" in text
    assert "1 file cannot be read:" in text
    assert "broken.jpg" in text
    assert "1 image is in several splits" in text
    assert "train/cat/00.png, test/cat/copy.bmp" in text
    assert "1 image is in several classes:\n  train/cat/dog.png, train/dog/01.png" in text
    assert "different.jpg" not in text
    assert "mirrored.png" not in text


def test_classes_without_images_are_named(folder, capsys):
    for path in (folder / "test/dog").iterdir():
        path.write_bytes(b"not an image")
    assert "no test image that can be read has the class dog" in printed(capsys, folder)
    for name in "cat", "dog":
        save(folder / "few" / name / "0.png", np.zeros((8, 8, 3), np.uint8))
    assert "there is no test image: a class of class folders has one for" in printed(capsys, folder / "few")
    for path in folder.glob("train/*/*"):
        path.write_bytes(b"not an image")
    assert main(["data", str(folder)]) == 2
    assert "no training image in" in capsys.readouterr().err


def test_the_printed_config_trains(folder, capsys):
    (folder / "train/cat/broken.jpg").write_bytes(b"not an image")
    config = yaml.safe_load(printed(capsys, folder).split("when it runs:\n")[1])
    options = {"root": str(folder), "image_size": 32, "on_error": "skip", "sampling": "balanced"}
    assert config == {"data": {"class_path": "ImageFolderDataModule", "init_args": options}}


def test_grey_images_of_12_bits_are_read_by_their_white_level(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for name in "ab":
        for part in "train", "test":
            for number in range(3):
                pixels = generator.integers(0, 4096, (8, 8)).astype(np.uint16)
                save(tmp_path / "deep" / part / name / f"{number}.png", pixels)
    text = printed(capsys, "deep", "--output", "there/picture.png")
    assert "modes: I;16 12" in text
    assert "all 8x8" in text
    assert (tmp_path / "there/picture.png").exists()
    mean, _ = inspect_folder(tmp_path / "deep").statistics()
    assert mean == pytest.approx([0.5] * 3, abs=0.1)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("nowhere", "there is no folder 'nowhere'"),
        ("s3://bucket/images", "give a folder of this machine"),
    ],
)
def test_other_folders_are_refused_in_one_line(argument, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["data", argument]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
