"""The folders of the splits are found by their usual names, and nothing else is taken for one, or for a class."""

import shutil

import pytest

from data_modules import as_bytes, one_line, pixels_of
from image_files import write_folders, write_images
from resnet_lightning import ImageFolderDataModule, InputError
from resnet_lightning.data.datasets.split_names import split_name

NAMES = {
    "train": "train Train TRAIN training Training training_set TrainSet train-images trainset train_data trainval trn",
    "val": "val Val valid Valid VALID validation Validation validation_set val_images valset dev Dev devset",
    "test": "test Test TEST testing Testing test_set testset test-images TestData tests",
    "eval": "eval Eval evaluation EVAL_SET",
}


@pytest.mark.parametrize("part", NAMES)
def test_usual_names_of_a_split_are_recognized_in_any_case(part):
    for name in NAMES[part].split():
        assert split_name(name) == (part, ""), name


def test_other_words_of_a_name_are_kept():
    assert split_name("seg_train") == ("train", "seg")
    assert split_name("val2017") == ("val", "2017")
    for name in "cat trains retrain contest testament valley device valentine evaluated train_test".split():
        assert split_name(name) is None, name


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("Training", "Validation", "Testing"),
        ("Train", "valid", "Test"),
        ("training_set", "validation_set", "test_set"),
        ("TRAIN", "VAL", "TEST"),
        ("train", "dev", "eval"),
        ("train", "eval", "test"),
        ("seg_train", "seg_val", "seg_test"),
        ("train2017", "val2017", "test2017"),
    ],
)
def test_each_split_is_read_from_the_folder_of_its_name(tmp_path, train, val, test):
    written = write_folders(tmp_path, [train, val, test], n=2)
    data = ImageFolderDataModule(tmp_path)
    assert data.class_names == ("cat", "dog")
    for part, folder in (("train", train), ("val", val), ("test", test)):
        assert pixels_of(data, part) == as_bytes(written[folder])
        assert data.folder_of(part) == tmp_path / folder


@pytest.mark.parametrize("other", ["Valid", "validation", "Testing", "test_set", "eval", "dev"])
def test_a_single_split_beside_the_training_images_is_the_test_set_and_a_line_says_so(tmp_path, caplog, other):
    written = write_folders(tmp_path, ["Train", other], n=5)
    with caplog.at_level("INFO", "resnet_lightning"):
        data = ImageFolderDataModule(tmp_path, val_split=0.2)
        assert pixels_of(data, "test") == as_bytes(written[other])
        assert len(data.split("val")) == 2
    assert data.folder_of("val") == tmp_path / "Train"
    assert ("is the test set" in caplog.text) == (other in ("Valid", "validation", "dev"))


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ("train", "Training", "training"),
        ("val", "valid", "validation"),
        ("Test", "testing", "test"),
        ("eval", "evaluation", "test"),
    ],
)
def test_two_names_of_one_split_are_refused(tmp_path, first, second, what):
    write_folders(tmp_path, {"train", first, second}, n=1)
    with pytest.raises(InputError) as caught:
        ImageFolderDataModule(tmp_path)
    names = " and ".join(map(repr, sorted([first, second])))
    assert one_line(caught) == f"{names} in '{tmp_path}' are both names of the {what} images; keep one of them"


def test_a_class_folder_with_the_name_of_a_split_beside_others_is_refused(tmp_path):
    for name in ("bus", "car", "train"):
        write_images(tmp_path / name, 2)
    with pytest.raises(
        InputError, match=r"'bus' lies beside 'train' .* which of them are splits and which are classes"
    ):
        ImageFolderDataModule(tmp_path)
    # Inside a folder of a split it can only be a class.
    for part in ("train", "test"):
        for name in ("bus", "car", "train"):
            write_images(tmp_path / "sorted" / part / name, 2)
    assert ImageFolderDataModule(tmp_path / "sorted").class_names == ("bus", "car", "train")


@pytest.mark.parametrize("split", ["Test", "valid", "training"])
def test_a_split_beside_class_folders_is_refused(tmp_path, split):
    write_folders(tmp_path, [split], n=1)
    for name in ("cat", "dog"):
        write_images(tmp_path / name, 2)
    with pytest.raises(InputError, match=f"'cat' lies beside '{split}'"):
        ImageFolderDataModule(tmp_path)


@pytest.mark.parametrize("name", ["train_extra", "test2", "old_val"])
def test_a_second_split_under_an_unusual_name_is_refused(tmp_path, name):
    write_folders(tmp_path, ["train", "test", name], n=1)
    with pytest.raises(InputError, match=f"'{name}' lies beside 'test'|'{name}' lies beside 'train'"):
        ImageFolderDataModule(tmp_path)


def test_splits_whose_names_do_not_agree_are_no_classes(tmp_path):
    write_folders(tmp_path, ["1_train", "2_test"], n=1)
    with pytest.raises(InputError, match=r"'1_train' and '2_test' .* look like splits, not like classes"):
        ImageFolderDataModule(tmp_path)


def test_classes_whose_names_contain_that_of_a_split_are_classes(tmp_path):
    names = ("blood_test", "bullet_train", "steam train", "valley")
    for name in names:
        write_images(tmp_path / name, 2)
    assert ImageFolderDataModule(tmp_path).class_names == names


def test_splits_inside_of_class_folders_are_refused(tmp_path):
    for name in ("cat", "dog"):
        for part in ("train", "test"):
            write_images(tmp_path / name / part, 2)
    with pytest.raises(InputError, match=f"'test' and 'train' lie inside the class folder '{tmp_path}/cat'"):
        ImageFolderDataModule(tmp_path)


def test_a_split_inside_of_another_is_refused(tmp_path):
    write_folders(tmp_path / "train", [".", "val"], n=1)
    with pytest.raises(InputError, match=f"'{tmp_path}/train/val' holds folders of the same names as the classes"):
        ImageFolderDataModule(tmp_path)


def test_other_folders_beside_the_splits_are_left_out_with_a_line(tmp_path, caplog):
    write_folders(tmp_path, ["train", "test", "raw"], n=1)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "cat.xml").touch()
    assert ImageFolderDataModule(tmp_path).class_names == ("cat", "dog")
    assert caplog.messages == [f"left out of {tmp_path}: the folders 'raw' beside the splits"]


SYSTEM_FOLDERS = ["@eaDir", ".thumbnails", "__MACOSX", ".ipynb_checkpoints", "#recycle", "$RECYCLE.BIN", "lost+found"]


@pytest.mark.parametrize("layout", ["splits", "classes"])
def test_folders_of_systems_and_network_drives_hold_no_images_and_are_no_classes(tmp_path, caplog, layout):
    parts = ["train", "test"] if layout == "splits" else ["."]
    write_folders(tmp_path, parts, n=5)
    counts = {part: len(ImageFolderDataModule(tmp_path).split(part)) for part in ("train", "test")}
    for part in parts:
        for place in (tmp_path, tmp_path / part, tmp_path / part / "cat"):
            for name in SYSTEM_FOLDERS:
                write_images(place / name / "photo.jpg", 1)
            for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "._000.png"):
                (place / name).touch()
    data = ImageFolderDataModule(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert {part: len(data.split(part)) for part in ("train", "test")} == counts
    assert not caplog.messages


def test_files_of_other_types_are_counted_in_one_line(tmp_path, caplog):
    write_folders(tmp_path, ["train", "test"], n=2)
    for name in ("a.heic", "b.HEIC", "deep/c.npy", "README"):
        (tmp_path / "train" / "cat" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "train" / "cat" / name).touch()
    shutil.copy(tmp_path / "train" / "cat" / "000.png", tmp_path / "train" / "loose.png")
    data = ImageFolderDataModule(tmp_path, batch_size=2)
    data.setup("fit")
    data.setup("validate")
    assert caplog.messages == [
        f"5 files are left out of the images in {tmp_path}/train: 2 .heic, 1 in no class folder, "
        "1 without an extension, 1 .npy"
    ]
    caplog.clear()
    predicting = ImageFolderDataModule(tmp_path, predict_folder=tmp_path / "train" / "cat")
    assert len(predicting.split("predict")) == 2
    assert caplog.messages[0].startswith(f"4 files are left out of the images in {tmp_path}/train/cat: 2 .heic")
