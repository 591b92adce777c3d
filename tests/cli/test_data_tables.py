"""``lightning data`` looks at the images of a table."""

import csv
from pathlib import Path

import pytest
import yaml

from commands import error_line
from image_files import write_folders
from resnet_lightning import TableDataModule
from resnet_lightning.cli.main import main

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")


def write_table(head: list[str], row_of) -> None:
    write_folders(Path("images"), ["train"], n=6)
    files = sorted(path for path in Path("images").rglob("*") if path.is_file())
    rows = [[str(path), *row_of(number, path.parent.name)] for number, path in enumerate(files)]
    with Path("labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", *head], *rows])


def data_of(printed: str) -> TableDataModule:
    config = yaml.safe_load(printed[printed.index("data:\n") :])["data"]
    assert config["class_path"] == "TableDataModule"
    return TableDataModule(**config["init_args"])


def test_splits_and_groups_of_a_table_are_counted(capsys):
    write_table(["kind", "split", "patient"], lambda n, kind: [kind, "test" if n % 3 == 0 else "train", n % 3])
    columns = ["--label_column", "kind", "--split_column", "split", "--group_column", "patient"]
    assert main(["data", "labels.csv", "--root", ".", *columns]) == 0
    printed = capsys.readouterr().out
    assert "groups: 3, none of them in several splits" in printed
    data = data_of(printed)
    assert f"{len(data.class_names)} classes" in printed
    assert len(data.split("test").targets) == 4
    assert Path("labels_images.png").is_file()


def test_several_labels_are_counted_each(capsys):
    write_table(["label"], lambda n, kind: [f"{kind};even" if n % 2 == 0 else kind if n > 1 else ""])
    assert main(["data", "labels.csv", "--root", ".", "--label_separator", ";"]) == 0
    printed = capsys.readouterr().out
    assert "labels of 12 images, of which 1 have none" in printed
    assert data_of(printed).multilabel


def test_options_of_a_table_need_one(capsys):
    write_folders(Path("images"), ["train"], n=2)
    assert "--split_column belongs to a table, but 'images' is none" in error_line(
        capsys, "data", "images", "--split_column", "split"
    )
