"""Files that state groups and splits of images in class folders."""

import csv

import numpy as np
import pytest
from PIL import Image

from resnet_lightning.cli.main import main
from resnet_lightning.data import ImageFolderDataModule, TableDataModule
from resnet_lightning.errors import InputError

COUNT = 60


def file_of(number):
    return f"{'ill' if number % 3 == 0 else 'well'}/{number:02}.png"


def save(root, names):
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 4 * number, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Sixty images, five each of twelve patients, in two class folders."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "scans", map(file_of, range(COUNT)))
    return tmp_path


def write(path, columns, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def patients(folder, name=file_of):
    return write(folder / "patients.csv", ["file", "group"], [[name(n), f"p{n // 5}"] for n in range(COUNT)])


def make(folder, **options):
    data = ImageFolderDataModule(folder / "scans", cache_gb=0, batch_size=4, **options)
    data.setup()
    return data


def numbers(data, split):
    found = data.split(split)
    return {int(found.images[index, 0, 0, 0]) // 4 for index in found.indices.tolist()}


def parts(data):
    return [numbers(data, split) for split in ("train", "val", "test")]


def patients_of(images):
    return {number // 5 for number in images}


@pytest.mark.parametrize("seed", range(2))
def test_a_group_is_never_divided(folder, seed):
    data = make(folder, group_file=patients(folder), val_split=0.2, split_seed=seed)
    train, val, test = parts(data)
    assert sorted([*train, *val, *test]) == list(range(COUNT))
    assert sum(len(patients_of(part)) for part in (train, val, test)) == COUNT // 5
    assert (len(val), len(test)) == (10, 10)
    for split in "train", "val", "test":
        found = data.split(split)
        for index in found.indices.tolist():
            number = int(found.images[index, 0, 0, 0]) // 4
            assert data.class_names[found.targets[index]] == file_of(number).split("/")[0]


def test_folds_keep_groups_together(folder):
    held_out = []
    for fold in range(3):
        data = make(folder, group_file=patients(folder), num_folds=3, fold=fold)
        assert not patients_of(numbers(data, "val")) & patients_of(numbers(data, "train"))
        held_out.append(numbers(data, "val"))
    assert set.union(*held_out) == set(range(COUNT)) - numbers(data, "test")


@pytest.mark.parametrize("columns", [("file", "split"), ("Bild", "Teil")])
def test_splits_are_those_of_the_file(folder, columns):
    split = lambda n: "Training" if n < 40 else "valid" if n < 50 else "test"  # noqa: E731
    table = write(folder / "splits.csv", columns, [[f"./{file_of(n)}", split(n)] for n in range(COUNT)])
    assert parts(make(folder, split_file=table)) == [set(range(40)), set(range(40, 50)), set(range(50, 60))]


def test_one_file_may_state_both(folder):
    rows = [[file_of(n), f"p{n // 5}", "train" if n < 40 else "test"] for n in range(COUNT)]
    table = write(folder / "both.csv", ["file", "group", "split"], rows)
    train, val, test = parts(make(folder, group_file=table, split_file=table, val_split=0.25))
    assert test == set(range(40, 60))
    assert not patients_of(train) & patients_of(val)
    assert len(val) == 10


def test_groups_inside_folders_of_splits(folder):
    in_part = lambda n: f"{'train' if n < 40 else 'test'}/{file_of(n)}"  # noqa: E731
    save(folder / "scans/sorted", map(in_part, range(COUNT)))
    groups = patients(folder, in_part)
    data = ImageFolderDataModule(folder / "scans/sorted", group_file=groups, val_split=0.25, cache_gb=0)
    train, val, test = parts(data)
    assert test == set(range(40, 60))
    assert not patients_of(train) & patients_of(val)
    rows = [[in_part(n), "all" if n in (3, 43) else str(n)] for n in range(COUNT)]
    divided = write(folder / "divided.csv", ["file", "group"], rows)
    with pytest.raises(InputError, match=r"the group 'all' in .* has images in the splits 'train' and 'test'"):
        ImageFolderDataModule(folder / "scans/sorted", group_file=divided, cache_gb=0).setup()
    with pytest.raises(InputError, match=r"data\.split_file is .*, but .* has folders of splits"):
        ImageFolderDataModule(folder / "scans/sorted", split_file=divided, cache_gb=0).setup()


ROWS = [[file_of(n), "a", "train" if n < 40 else "test"] for n in range(COUNT)]


@pytest.mark.parametrize(
    ("option", "columns", "rows", "message"),
    [
        ("group_file", ["file", "patient", "x"], ROWS, "has no column 'group'; known: file, patient, x"),
        (
            "group_file",
            ["file", "group", "x"],
            ROWS[:-2],
            "lacks the image 'well/58.png' and 1 more; it lists 'ill/00.png'",
        ),
        ("group_file", ["file", "group", "x"], [["ill/00.png", "", "x"]], "line 2 of .* has no 'group'"),
        ("group_file", ["file", "group", "x"], [*ROWS, ["ill/00.png", "b", "x"]], "lists 'ill/00.png' twice"),
        ("group_file", ["file", "group", "x"], ROWS, "has 1 groups, too few for 2 parts"),
        ("split_file", ["file", "x", "split"], [[*row[:2], "train"] for row in ROWS], "has the split 'test' in"),
        ("split_file", ["file", "x", "split"], [[*row[:2], "fold1"] for row in ROWS], "has the split 'train'"),
        (
            "split_file",
            ["file", "x", "split"],
            [[file, x, "test" if "ill" in file else "train"] for file, x, _ in ROWS],
            "no training image has the class 'ill'",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_named(folder, option, columns, rows, message):
    with pytest.raises(InputError, match=message):
        make(folder, **{option: write(folder / "list.csv", columns, rows)})


def test_a_table_of_labels_has_columns_instead(folder):
    with pytest.raises(InputError, match=r"data\.group_file is for folders of classes; .* data\.group_column"):
        TableDataModule("labels.csv", group_file="patients.csv")


def test_lightning_data_shows_them_and_its_config_has_them(folder, capsys):
    patients(folder)
    assert main(["data", "scans", "--group_file", "patients.csv"]) == 0
    text = capsys.readouterr().out
    assert "groups: 12, none of them in several splits" in text
    assert "group_file: patients.csv" in text
    assert main(["data", "patients.csv", "--label_column", "group", "--group_file", "patients.csv"]) == 2
    assert "--group_file belongs to a folder" in capsys.readouterr().err
