"""``lightning test --corruptions``, as a user calls it."""

import csv
import json
import shutil

import pytest

from resnet_lightning.cli.main import main
from resnet_lightning.runs.reader import read_run
from resnet_lightning.runs.report.page import render


@pytest.mark.slow
def test_corruptions_of_a_run(digits_run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    shutil.copytree(digits_run, folder)
    clean = (folder / "evaluation.json").read_text()
    checkpoint = str(folder / "checkpoints/best.ckpt")
    command = ["test", "--ckpt_path", checkpoint, "--corruptions", "gaussian_noise,fog", "--trainer.accelerator", "cpu"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    found = json.loads((folder / "corruptions.json").read_text())
    assert list(found["accuracies"]) == ["gaussian_noise", "fog"]
    assert all(len(row) == 5 for row in found["accuracies"].values())
    assert found["images"] == 355
    errors = [1 - sum(row) / 5 for row in found["accuracies"].values()]
    assert found["mean_error"] == pytest.approx(sum(errors) / 2)
    assert f"{found['mean_error']:.2%}" in printed
    assert found["clean"] == pytest.approx(json.loads(clean)["metrics"]["test/acc"])
    assert (folder / "evaluation.json").read_text() == clean
    with open(folder / "corruptions.csv") as file:
        assert [row[0] for row in csv.reader(file)] == ["corruption", "gaussian_noise", "fog"]
    assert {"corruptions.png", "corrupted_images.png"} <= {file.name for file in (folder / "pictures").iterdir()}
    page = render([read_run(folder)])
    assert "Corrupted images" in page
    assert f"{found['accuracies']['fog'][2]:.2%}" in page
    # The same images are corrupted in the same way in batches of another size.
    assert main([*command, "--data.batch_size", "50"]) == 0
    again = json.loads((folder / "corruptions.json").read_text())
    for name, row in found["accuracies"].items():
        assert again["accuracies"][name] == pytest.approx(row, abs=2 / 355)


def test_a_wrong_name_ends_in_one_line(digits_run, capsys):
    checkpoint = str(digits_run / "checkpoints/best.ckpt")
    assert main(["test", "--ckpt_path", checkpoint, "--corruptions", "fogg", "--trainer.accelerator", "cpu"]) != 0
    assert "there is no corruption 'fogg'; did you mean 'fog'" in capsys.readouterr().err


def test_damaged_results_are_named(digits_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(digits_run, folder)
    (folder / "corruptions.json").write_text('{"images": 3, "clean": 1, "accuracies": {"fog": [1]}}')
    assert "corruptions.json is damaged" in read_run(folder).notes
