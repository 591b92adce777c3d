"""What the benchmarks compare is the same work, and the figures are what was timed."""

import csv

import pytest
import torch

from resnet_lightning import InputError, create_model
from resnet_lightning.bench.backbones import CASES
from resnet_lightning.bench.comparison import Comparison, as_table, turn_about, write_csv
from resnet_lightning.cli import main


@pytest.mark.parametrize("name", CASES)
def test_both_nets_compute_the_same(name):
    theirs = CASES[name][0]().eval()
    ours = create_model(name).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


def test_they_take_turns_and_the_first_round_does_not_count():
    calls = []
    found = turn_about("work", 7, lambda: calls.append("ours"), lambda: calls.append("theirs"), rounds=3)
    assert len(found.ours) == len(found.theirs) == 3
    assert calls == ["ours", "theirs", "theirs", "ours", "ours", "theirs", "theirs", "ours"]


def test_the_ratio_is_the_median_over_rounds():
    found = Comparison("work", 10, ours=[1.0, 2.0, 1.0], theirs=[1.5, 8.0, 1.2])
    assert found.ratio == 1.5
    assert [list(column.cells) for column in as_table([found]).columns] == [
        ["work"],
        ["10.0"],
        [f"{10 / 1.5:.1f}"],
        ["1.50 times"],
    ]


def test_the_seconds_of_every_round_are_written(tmp_path):
    write_csv(tmp_path / "bench.csv", [Comparison("work", 10, [1.0, 2.0], [3.0, 4.0])])
    with (tmp_path / "bench.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["round"], row["ours_seconds"], row["theirs_seconds"]) for row in rows] == [
        ("0", "1.0", "3.0"),
        ("1", "2.0", "4.0"),
    ]
    with pytest.raises(InputError, match=r"cannot write .*No such file or directory"):
        write_csv(tmp_path / "no folder" / "bench.csv", [])


def test_no_rounds_are_refused(capsys):
    assert main(["bench", "backbones", "--rounds", "0"]) == 2
    assert capsys.readouterr().err == "error: --rounds is 0; give at least 1\n"


@pytest.mark.slow
def test_the_command_prints_a_row_for_each_net_and_writes_the_rounds(tmp_path, capsys):
    assert main(["bench", "backbones", "--rounds", "1", "--csv", str(tmp_path / "bench.csv")]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in CASES)
    with (tmp_path / "bench.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(CASES)
    assert all(float(row["ours_seconds"]) > 0 and float(row["theirs_seconds"]) > 0 for row in rows)
