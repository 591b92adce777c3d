"""Labels, splits and groups from a table."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_lightning.cli.main import main
from resnet_lightning.data import TableDataModule
from resnet_lightning.data.grouping import part_of_groups
from resnet_lightning.errors import InputError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Sixty images in one folder, ten each of six patients."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for number in range(60):
        pixels = np.full((8, 8, 3), 4 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number:02}.png")
    return tmp_path


def rows(**more):
    """A row for each image: every third one is ill."""
    return [
        {
            "file": f"images/{number:02}.png",
            "label": "ill" if number % 3 == 0 else "well",
            **{name: value(number) for name, value in more.items()},
        }
        for number in range(60)
    ]


def write(path, lines, separator=","):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0], delimiter=separator)
        writer.writeheader()
        writer.writerows(lines)
    return path


def numbers(data, split):
    """The numbers of the images of a split, from their pixels."""
    found = data.split(split)
    return {int(found.images[index, 0, 0, 0]) // 4 for index in found.indices.tolist()}


def labels_by_number(data, split):
    found = data.split(split)
    return {int(found.images[i, 0, 0, 0]) // 4: data.class_names[found.targets[i]] for i in found.indices.tolist()}


def make(table, **options):
    data = TableDataModule(table, cache_gb=0, batch_size=4, **options)
    data.setup()
    return data


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_each_image_has_the_label_of_its_line(folder, separator):
    data = make(write(folder / "labels.csv", rows(), separator))
    assert data.class_names == ("ill", "well")
    parts = [numbers(data, split) for split in ("train", "val", "test")]
    assert set.union(*parts) == set(range(60))
    assert sum(map(len, parts)) == 60
    assert len(parts[2]) == 12
    for split in "train", "val", "test":
        assert all(name == ("ill" if n % 3 == 0 else "well") for n, name in labels_by_number(data, split).items())


def test_whole_numbers_are_sorted_by_value_and_kept_as_names(folder):
    lines = [{"photo": f"{n:02}.png", "grade": str(n % 11)} for n in range(60)]
    table = write(folder / "grades.csv", lines)
    data = make(table, root=folder / "images", file_column="photo", label_column="grade")
    assert data.class_names == tuple(map(str, range(11)))
    assert all(label == str(number % 11) for number, label in labels_by_number(data, "train").items())
    assert data.name_of("test", 0) == "44.png"


def test_splits_are_those_of_the_table(folder):
    split = lambda n: "Training" if n < 40 else "valid" if n < 50 else "test"  # noqa: E731
    data = make(write(folder / "labels.csv", rows(part=split)), split_column="part")
    assert numbers(data, "train") == set(range(40))
    assert numbers(data, "val") == set(range(40, 50))
    assert numbers(data, "test") == set(range(50, 60))


def test_validation_images_alone_are_the_test_set_as_in_folders(folder):
    table = write(folder / "labels.csv", rows(split=lambda n: "train" if n < 40 else "val"))
    data = make(table, split_column="split")
    assert numbers(data, "test") == set(range(40, 60))
    assert numbers(data, "train") | numbers(data, "val") == set(range(40))


def test_a_group_is_never_divided(folder):
    table = write(folder / "labels.csv", rows(patient=lambda n: f"p{n // 5}"))
    for seed in range(3):
        data = make(table, group_column="patient", split_seed=seed, val_split=0.2)
        groups = [{number // 5 for number in numbers(data, split)} for split in ("train", "val", "test")]
        assert not groups[0] & groups[1]
        assert not (groups[0] | groups[1]) & groups[2]
        assert set.union(*groups) == set(range(12))
        assert [len(numbers(data, split)) for split in ("val", "test")] == [10, 10]


def test_folds_keep_groups_together_and_cover_all_training_images(folder):
    table = write(folder / "labels.csv", rows(patient=lambda n: f"p{n // 5}"))
    held_out = []
    for fold in range(3):
        data = make(table, group_column="patient", num_folds=3, fold=fold)
        assert not {n // 5 for n in numbers(data, "val")} & {n // 5 for n in numbers(data, "train")}
        held_out.append(numbers(data, "val"))
    assert set.union(*held_out) == set(range(60)) - numbers(data, "test")
    assert sum(map(len, held_out)) == 50


def test_parts_have_the_same_share_of_each_class():
    generator = torch.Generator().manual_seed(0)
    groups = torch.randint(0, 400, (5000,), generator=generator)
    labels = (groups * 7 + torch.randint(0, 2, (5000,), generator=generator)) % 5
    part = part_of_groups(labels, groups, (0.7, 0.2, 0.1), seed=1)
    for number, share in enumerate((0.7, 0.2, 0.1)):
        found = part == number
        torch.testing.assert_close(
            labels[found].bincount() / labels.bincount(), torch.full((5,), share), rtol=0, atol=0.02
        )
    assert torch.equal(part, part_of_groups(labels, groups, (0.7, 0.2, 0.1), seed=1))
    assert not torch.equal(part, part_of_groups(labels, groups, (0.7, 0.2, 0.1), seed=2))
    assert all(len(part[groups == group].unique()) == 1 for group in range(400))


def test_no_part_is_empty_if_there_are_groups_enough():
    labels, groups = torch.arange(42) % 2, torch.tensor([0] * 15 + [1] * 15 + [2] * 12)
    part = part_of_groups(labels, groups, (0.8, 0.1, 0.1), seed=0)
    assert part.unique().tolist() == [0, 1, 2]
    assert part[30] > 0  # the smallest group
    assert all(len(part[groups == group].unique()) == 1 for group in range(3))


def test_it_trains_from_the_command_line(folder, capsys, without_figures):
    write(folder / "labels.csv", rows(patient=lambda n: f"p{n // 5}"))
    options = ["--data", "TableDataModule", "--data.table", "labels.csv", "--data.group_column", "patient"]
    options += ["--data.batch_size", "8", "--model.backbone", "resnet20", "--trainer.max_epochs", "1"]
    assert main(["fit", *options, "--seed_everything", "0"]) == 0
    assert "2 classes (ill, well); train 45, val 5, test 10 images from labels.csv" in capsys.readouterr().out


def test_a_parquet_table_is_read_like_a_csv_file(folder):
    pyarrow = pytest.importorskip("pyarrow", reason="pip install pyarrow")
    from pyarrow import parquet

    lines = rows(split=lambda n: "train" if n < 40 else "test")
    columns = {name: [line[name] for line in lines] for name in lines[0]}
    columns["label"] = [int(name == "ill") for name in columns["label"]]
    parquet.write_table(pyarrow.table(columns), folder / "labels.parquet")
    data = make(folder / "labels.parquet", split_column="split")
    assert data.class_names == ("0", "1")
    assert numbers(data, "test") == set(range(40, 60))
    assert labels_by_number(data, "test")[42] == "1"


def without(lines, number, column):
    return [{**line, column: ""} if i == number else line for i, line in enumerate(lines)]


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (rows(), {"label_column": "lable"}, "data.label_column is 'lable', which .* lacks; did you mean 'label'?"),
        (without(rows(), 4, "label"), {}, "line 6 of .* has no 'label'; fill it in or remove the line"),
        ([*rows(), {"file": "images/99.png", "label": "ill"}], {}, "lists '.*99.png', which is not there"),
        (rows(), {"root": "images"}, "relative to 'images', give --data.root '.*', where all are"),
        ([*rows(), rows()[3]], {}, "lines 5 and 62 of .* list the same file, 'images/03.png'"),
        ([{**line, "label": "ill"} for line in rows()], {}, "have only one class, 'ill'"),
        (rows(split=lambda n: "a" if n < 40 else "b"), {"split_column": "split"}, "has the split 'train'"),
        (
            rows(split=lambda n: ("train", "test", "other")[n % 3]),
            {"split_column": "split"},
            "the split 'other' in .* is unknown; give train, val and test",
        ),
        (
            rows(split=lambda n: "train" if n < 40 else "test", patient=lambda n: n // 7),
            {"split_column": "split", "group_column": "patient"},
            "the group '5' in .* has images in the splits 'train' and 'test'",
        ),
        (rows(patient=lambda n: "p"), {"group_column": "patient"}, "has 1 groups, too few for 2 parts"),
        (
            [*rows(split=lambda n: "train")[:50], {"file": "images/55.png", "label": "new", "split": "test"}],
            {"split_column": "split"},
            "has a class that no training image has: 'new'",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_named(folder, lines, options, message):
    table = write(folder / "labels.csv", lines)
    with pytest.raises(InputError, match=message):
        make(table, **options)


def test_what_is_no_table_is_named(folder):
    with pytest.raises(InputError, match=r"cannot read the table 'nothing.csv': No such file"):
        make("nothing.csv")
    (folder / "bytes.csv").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(InputError, match="cannot read the table"):
        make(folder / "bytes.csv")
    (folder / "ragged.csv").write_text("file,label\nimages/00.png\n")
    with pytest.raises(InputError, match=r"line 2 of .* has not as many values as line 1"):
        make(folder / "ragged.csv")
    (folder / "empty.csv").write_text("file,label\n")
    with pytest.raises(InputError, match="lists no image"):
        make(folder / "empty.csv")
