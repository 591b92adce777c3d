"""The data options on the command line: each reaches the run, and a wrong one gets one line."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from image_files import truncated_jpeg, truncated_png, write_folders, write_sizes
from repository import ROOT
from resnet_lightning.cli.main import main

DIGITS = ["--config", str(ROOT / "configs" / "digits.yaml")]
DEBUG = ["--config", str(ROOT / "configs" / "overlays" / "debug.yaml")]
# The smallest net, two short epochs; the images are 6x6.
FOLDER = [
    *("--data", "ImageFolderDataModule", "--data.root", "images", "--data.batch_size", "4"),
    *("--model.backbone", "resnet_lightning.models.cifar.cifar_resnet", "--model.backbone_args", "{depth: 8}"),
    *("--trainer.max_epochs", "2", "--trainer.limit_train_batches", "3", "--seed_everything", "0"),
]
STREAMED = [*FOLDER, "--data.resident", "false"]
# With these, no images are read before the training, since nothing has to be measured.
GIVEN = ["--data.mean", "[0.5]", "--data.std", "[0.25]"]


pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")


@pytest.fixture
def images():
    """``images/{train,test}/{cat,dog}``, ten images each."""
    write_folders(Path("images"), ["train", "test"], n=10)
    return Path("images")


def printed_config(capsys, *arguments: str) -> dict:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *arguments, "--print_config"])
    assert not stopped.value.code
    return yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]


def error_line(capfd, *arguments: str) -> str:
    """Runs a command that has to fail and returns its error, which is one line even with worker processes."""
    capfd.readouterr()
    assert main(["fit", *arguments]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def output(capfd, *arguments: str) -> str:
    """Runs a command that has to succeed without an error message, and returns what it prints."""
    capfd.readouterr()
    code = main(["fit", *arguments])
    printed = capfd.readouterr()
    assert (code, printed.err) == (0, "")
    return printed.out


# Options reach the run.


@pytest.mark.parametrize(
    "typed",
    [
        {
            "resized_crop": 0.5,
            "rotate": 15.0,
            "translate": 0.1,
            "scale": 0.2,
            "crop": 2,
            "pad": "reflect",
            "flip": False,
        },
        {"brightness": 0.3, "contrast": 0.3, "saturation": 0.0, "hue": 0.0, "cutout": 3, "flip": "alternate"},
        {"erase": 0.25, "mixup": 0.2, "cutmix": 1.0, "flip": True},
    ],
    ids=", ".join,
)
def test_augmentations_are_typed_and_the_others_stay_as_they_were(typed, capsys):
    before = yaml.safe_load(Path(DIGITS[1]).read_text())["data"]["init_args"]["augment"]
    options = [f"--data.augment.{name}={str(value).lower()}" for name, value in typed.items()]
    augment = printed_config(capsys, *DIGITS, *options)["augment"]
    assert {name: augment[name] for name in {**before, **typed}} == {**before, **typed}


@pytest.mark.parametrize(
    "typed",
    [
        "resized_crop 0.5, rotate 15, translate 0.1, scale 0.2, crop 2, pad reflect, flip alternate, cutmix 1.0",
        "flip true, brightness 0.3, contrast 0.3, cutout 3, erase 0.25, mixup 0.2",
    ],
)
def test_augmentations_together_train(typed, capfd):
    arguments = [part for pair in typed.split(", ") for part in f"--data.augment.{pair}".split()]
    assert "Nothing was saved" in output(capfd, *DIGITS, *arguments, *DEBUG)


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        (
            "--data.num_folds 3 --data.fold 1 --data.train_fraction 0.5 --data.batch_size=16 --data.resident cpu",
            {"num_folds": 3, "fold": 1, "train_fraction": 0.5, "batch_size": 16, "resident": "cpu"},
        ),
        (
            "--data.val_split 0 --data.mean [0.3] --data.std [0.4] --data.resident device",
            {"val_split": 0.0, "mean": [0.3], "std": [0.4], "resident": "device"},
        ),
        (
            "--data.split_seed 7 --data.classes [3,5] --data.resident auto "
            "--data.augment '{mixup: 0.2, flip: alternate}'",
            {"split_seed": 7, "classes": [3, 5], "resident": "auto", "augment.mixup": 0.2, "augment.flip": "alternate"},
        ),
    ],
    ids=["fractions", "statistics", "classes"],
)
def test_options_of_every_data_set_are_typed_and_train(typed, values, capsys):
    config = printed_config(capsys, *DIGITS, *shlex.split(typed))
    for name, value in values.items():
        group, _, leaf = name.rpartition(".")
        assert (config[group] if group else config)[leaf] == value
    assert main(["fit", *DIGITS, *shlex.split(typed), *DEBUG]) == 0
    assert "Nothing was saved" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        (
            "--data.resident false --data.num_workers 1 --data.on_error skip --data.image_size 8",
            {"resident": False, "num_workers": 1, "on_error": "skip", "image_size": 8},
        ),
        (
            "--data.resident false --data.num_workers 0 --data.image_size 8 --data.shorter_side 10",
            {"resident": False, "num_workers": 0, "image_size": 8, "shorter_side": 10},
        ),
        (
            "--data.num_workers null --data.resident cpu --data.on_error raise --data.cache_folder kept",
            {"num_workers": None, "resident": "cpu", "on_error": "raise", "cache_folder": "kept"},
        ),
        ("--data.cache_gb 0 --data.augment.hue 0.1 --data.augment.saturation 0.2", {"cache_gb": 0.0}),
    ],
    ids=["one worker", "no worker", "in memory", "no cache"],
)
def test_options_of_image_folders_are_typed_and_train(images, typed, values, capfd):
    config = printed_config(capfd, *FOLDER, *typed.split())
    assert {name: config[name] for name in values} == values
    assert "Nothing was saved" in output(capfd, *FOLDER, *typed.split(), *DEBUG)


def test_an_image_folder_trains_with_the_shipped_config_and_caches_in_the_given_folder(images, capfd):
    config = ["--config", str(ROOT / "configs" / "image_folder_resnet18.yaml"), "--data.root", "images"]
    options = ["--data.image_size", "32", "--data.shorter_side", "36", "--data.batch_size", "4"]
    output(capfd, *config, *options, "--data.cache_folder", "kept", *DEBUG)
    assert len(list(Path("kept").glob("*.npy"))) == 2  # of training and of testing


# Bad input.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("resized_crop", "1.5"),
        ("pad", "mirror"),
        ("flip", "sometimes"),
        ("cutmix", ".nan"),
        ("crop", "1.5"),
        ("mixup", "much"),
    ],
)
def test_an_augmentation_out_of_range_is_refused_by_its_name(name, value, capfd):
    """Of a wrong type or value; tests/data/test_augmentation.py has the range of each."""
    line = error_line(capfd, *DIGITS, f"--data.augment.{name}", value)
    assert f"augment.{name}" in line
    assert value.lstrip(".") in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data.augment.mixp", "0.2"], ["mixp", "did you mean", "--data.augment.mixup"]),
        (["--data.augment.cut_mix", "1"], ["cut_mix", "did you mean", "--data.augment.cutmix"]),
        (["--data.augment", "{fliip: true}"], ["fliip", "did you mean", "'flip'"]),
        (["--data.train_fracton", "0.5"], ["train_fracton", "did you mean", "'train_fraction'"]),
        (["--data.num_fold", "3"], ["num_fold", "did you mean", "'num_folds'"]),
        (["--data.num_folds", "1443"], ["data.num_folds", "1443", "1442 training images"]),
        (["--data.num_folds", "1"], ["data.num_folds", "1"]),
        (["--data.num_folds", "3", "--data.fold", "3"], ["data.fold is 3", "0 to 2"]),
        (["--data.num_folds", "3", "--data.fold", "-1"], ["data.fold is -1", "0 to 2"]),
        (["--data.fold", "1"], ["data.fold is 1", "data.num_folds"]),
        (["--data.train_fraction", "0"], ["data.train_fraction", "0"]),
        (["--data.train_fraction", "1.5"], ["data.train_fraction", "1.5"]),
        (["--data.val_split", "1"], ["data.val_split", "1"]),
        (["--data.resident", "false"], ["data.resident", "DigitsDataModule", "no files"]),
        (["--data.resident", "gpu"], ["resident", "gpu", "auto", "cpu", "device"]),
        (["--data.augment.hue", "0.1"], ["augment.hue", "grey"]),
        (["--data.augment.saturation", "0.1"], ["augment.saturation", "grey"]),
        (["--data.augment.pad", "reflect", "--data.augment.crop", "8"], ["augment.crop is 8", "8 pixels"]),
        (["--data.train_fraction", "0.01"], ["data.batch_size", "64"]),
        (["--data.on_error", "skip"], ["on_error"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
)
def test_a_wrong_data_option_gets_one_line(arguments, words, capfd):
    line = error_line(capfd, *DIGITS, *arguments)
    assert all(word in line for word in words), line
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data.on_error", "ignore"], ["on_error", "ignore", "raise", "skip"]),
        (["--data.on_eror", "skip"], ["on_eror", "did you mean", "'on_error'"]),
        (["--data.num_workers", "-1"], ["data.num_workers", "-1"]),
        (["--data.num_workers", "two"], ["num_workers", "two", "int"]),
        (["--data.cache_gb", "-1"], ["data.cache_gb", "-1"]),
        (["--data.cache_gb", ".nan"], ["data.cache_gb", "nan"]),
        (["--data.image_size", "0"], ["data.image_size", "0"]),
        (["--data.shorter_side", "8"], ["data.shorter_side", "8", "image_size"]),
        (["--data.image_size", "8", "--data.shorter_side", "7"], ["data.shorter_side", "7"]),
        (["--data.root", "pictures"], ["pictures", "data.root"]),
        (["--data.classes", "[cat, cow]"], ["data.classes", "cow"]),
        (["--data.num_folds", "21"], ["data.num_folds", "21", "20 training images"]),
        (["--data.batch_size", "19"], ["data.batch_size", "19"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
)
def test_a_wrong_option_of_an_image_folder_gets_one_line(images, arguments, words, capfd):
    line = error_line(capfd, *STREAMED, *arguments)
    assert all(word in line for word in words), line
    assert not Path("runs").exists()


def test_a_data_option_without_a_config_asks_for_one(capfd):
    assert "--config" in error_line(capfd, "--data.num_folds", "5")


# Damaged images, and images of several sizes.

MEASURED = [*STREAMED, "--data.num_workers", "1"]
UNMEASURED = [*MEASURED, *GIVEN]
READERS = [pytest.param(FOLDER, id="in memory"), pytest.param(UNMEASURED, id="streamed")]


@pytest.mark.parametrize("options", READERS)
def test_images_of_several_sizes_require_image_size(options, capfd):
    for part in "train", "test":
        for name in "cat", "dog":
            write_sizes(Path("images") / part / name, 6)
    line = error_line(capfd, *options)
    assert "differ in size" in line or "but the training images are" in line
    assert "--data.image_size" in line
    assert "test accuracy" in output(capfd, *options, "--data.image_size", "8")


@pytest.mark.parametrize("options", READERS)
def test_a_single_image_of_another_size_is_named(images, options, capfd):
    (odd,) = write_sizes(Path("images/train/dog/odd"), 1)
    line = error_line(capfd, *options)
    assert repr(odd) in line
    assert "--data.image_size" in line


@pytest.mark.parametrize(
    ("options", "part"),
    [
        pytest.param(FOLDER, "test", id="in memory, test"),
        pytest.param(UNMEASURED, "train", id="streamed, train"),
        pytest.param(UNMEASURED, "test", id="streamed, test"),
        pytest.param(MEASURED, "train", id="measured and streamed, train"),
    ],
)
def test_a_corrupt_image_is_named(images, options, part, capfd):
    damaged = images / part / "cat" / "005.png"
    truncated_png(damaged)
    everything = ["--trainer.limit_train_batches", "1.0"]  # so that it is among the images of the first epoch
    line = error_line(capfd, *options, *everything, "--data.val_split", "0", "--data.batch_size", "5")
    assert line == f"error: cannot read the image {str(damaged)!r}: it is damaged or not an image; replace or remove it"


@pytest.mark.slow
@pytest.mark.parametrize("options", [*READERS, pytest.param(MEASURED, id="measured and streamed")])
def test_skipped_images_are_counted_once(images, options, capfd):
    """Streamed images are read when they are needed: damaged ones for testing are found after the training."""
    truncated_png(images / "train" / "cat" / "005.png")
    truncated_png(images / "train" / "dog" / "002.png")
    truncated_jpeg(images / "test" / "dog" / "003.jpg")
    printed = output(capfd, *options, "--trainer.limit_train_batches", "1.0", "--data.on_error", "skip")
    said = re.findall(
        r"^(\d+) images? could not be read and (?:was|were) skipped, for example (.*)$", printed, re.MULTILINE
    )
    assert sum(int(count) for count, _ in said) == 3, printed
    files = ["images/test/dog/003.jpg", "images/train/cat/005.png", "images/train/dog/002.png"]
    assert sorted(", ".join(names for _, names in said).split(", ")) == files
    assert "test accuracy" in printed


def test_skipped_images_are_left_out_of_the_accuracy(images, capfd):
    """Of 20 images, 19 are left, so the accuracy is a multiple of 1/19."""
    truncated_png(images / "test" / "cat" / "005.png")
    output(capfd, *STREAMED, "--data.num_workers", "1", "--data.on_error", "skip")
    (metrics,) = Path("runs").glob("*/*/metrics.csv")
    header, *rows = [line.split(",") for line in metrics.read_text().splitlines()]
    (accuracy,) = [float(row[header.index("test/acc")]) for row in rows if row[header.index("test/acc")]]
    assert accuracy * 19 == pytest.approx(round(accuracy * 19), abs=1e-4)


def test_skipping_does_not_hide_a_folder_with_nothing_but_damaged_images(images, capfd):
    for file in images.glob("train/*/*.png"):
        if file.name != "000.png":
            truncated_png(file)
    skipping = ["--data.num_workers", "1", "--data.on_error", "skip", "--data.val_split", "0"]
    line = error_line(capfd, *STREAMED, *skipping, *GIVEN)
    assert "no image of a batch can be read" in line
    assert "images/train/" in line


def test_a_cache_that_cannot_be_written_is_mentioned_once(images, capfd):
    Path("file").write_text("not a folder")
    printed = output(capfd, *FOLDER, "--data.cache_folder", "file/cache")
    assert printed.count("not cached in file/cache: ") == 1
    assert "test accuracy" in printed


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_process_of_its_own_prints_one_line_too(images, workers):
    """Standard error includes that of the workers, and no setting of the tests applies."""
    truncated_png(images / "train" / "cat" / "005.png")
    options = [*STREAMED, *GIVEN, "--data.num_workers", workers, "--trainer.limit_train_batches", "1.0"]
    command = [sys.executable, "-m", "resnet_lightning", "fit", *options]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "images/train/cat/005.png" in line
