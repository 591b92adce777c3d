"""Images that are in several splits are found when a training starts."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from image_files import write_folders
from resnet_lightning import ImageFolderDataModule
from resnet_lightning.cli.main import main

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def images_of(folder: str) -> list[Path]:
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


@pytest.fixture
def folder():
    write_folders(Path("images"), ["train", "val", "test"], n=6)
    return Path("images")


@pytest.mark.parametrize("resident", ["cpu", False])
def test_copies_in_other_splits_are_counted_and_named(folder, resident):
    def line() -> str:
        return ImageFolderDataModule(folder, resident=resident).shared_images()

    assert line() == ""
    train, test = images_of("images/train"), images_of("images/test")
    shutil.copy(train[0], test[0].with_name(f"copy{train[0].suffix}"))
    assert line().startswith("1 image is in several splits: 1 in train and test; such as ")
    assert str(train[0].relative_to(folder)) in line()
    for split in "val", "test":
        shutil.copy(train[1], folder / split / train[1].parent.name / f"again{train[1].suffix}")
    assert line().startswith("2 images are in several splits: 1 in train and test, 1 in train and val and test;")


def test_the_same_pixels_in_another_format_are_found_and_black_images_are_not(folder):
    train, test = images_of("images/train"), images_of("images/test")
    with Image.open(train[0]) as image:
        image.convert("RGB").save(test[0].with_name("other.bmp"))
        for path in train[1], test[1]:
            Image.new("RGB", image.size).save(path.with_suffix(".bmp"))
    data = ImageFolderDataModule(folder, resident="cpu")
    assert data.shared_images().startswith("1 image is in several splits")
    assert "other.bmp" in data.shared_images()


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_a_training_states_it(folder, capsys):
    train = images_of("images/train")[0]
    shutil.copy(train, folder / "test" / train.parent.name / f"copy{train.suffix}")
    data = ["--data", "ImageFolderDataModule", "--data.root", "images", "--data.batch_size", "4"]
    model = ["--model.backbone", "resnet20", "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1"]
    assert main(["fit", *data, *model]) == 0
    assert "1 image is in several splits: 1 in train and test" in capsys.readouterr().out
