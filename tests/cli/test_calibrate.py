"""``lightning calibrate``: what it writes, and who uses the temperature."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from commands import error_line
from resnet_lightning import DigitsDataModule, ImageClassifier
from resnet_lightning.checkpoint_file import matches_checksum
from resnet_lightning.cli.main import main
from resnet_lightning.inference.loaded import load_model
from runs_alike import assert_same_run

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")


@pytest.fixture
def best(digits_run, tmp_path) -> Path:
    """The best checkpoint in a copy of a run."""
    shutil.copytree(digits_run, "run", ignore=shutil.ignore_patterns("pictures", "previous.ckpt"))
    return Path("run/checkpoints/best.ckpt")


@pytest.mark.slow
def test_every_command_uses_the_temperature(best, capsys):
    before = best.read_bytes()
    assert main(["calibrate", str(best)]) == 0
    printed = capsys.readouterr().out
    assert "fitted on 143 validation images" in printed
    calibrated = best.with_name("best-calibrated.ckpt")
    assert best.read_bytes() == before
    assert matches_checksum(calibrated)
    stored = [torch.load(path, weights_only=True) for path in (best, calibrated)]
    temperature = stored[1].pop("calibration")["temperature"]
    assert f"temperature {temperature:.4f}" in printed
    assert stored[0].keys() == stored[1].keys()
    assert all(torch.equal(value, stored[1]["state_dict"][name]) for name, value in stored[0]["state_dict"].items())

    # In Python.
    model = ImageClassifier.load_from_checkpoint(calibrated).eval()
    loaded = load_model(calibrated)
    images = DigitsDataModule().read("test")[0][:8]
    Path("images").mkdir()
    for number, pixels in enumerate(images):
        Image.fromarray(pixels.squeeze().numpy()).save(f"images/{number}.png")
    batch = loaded.data.normalize(images.reshape(-1, 1, 8, 8))
    with torch.no_grad():
        expected = (model(batch) / temperature).softmax(1)
    torch.testing.assert_close(loaded.probabilities(images.reshape(-1, 1, 8, 8)), expected)
    torch.testing.assert_close(model.predict_step(batch, 0), expected)
    assert loaded.metrics["test/acc"] == json.loads(Path("run/evaluation.json").read_text())["metrics"]["test/acc"]

    # predict, test and export.
    assert main(["predict", "--ckpt_path", str(calibrated), "--data.predict_folder", "images"]) == 0
    (file,) = Path("runs").rglob("predictions.csv")
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [float(row["probability"]) for row in rows] == pytest.approx(expected.max(1).values.tolist(), abs=1e-4)
    capsys.readouterr()
    assert main(["test", "--ckpt_path", str(calibrated)]) == 0
    printed = capsys.readouterr().out
    assert "test calibration error before" in printed
    assert main(["export", str(calibrated), "--format", "torch_export", "--output", "net.pt2"]) == 0
    extra = {"temperature": ""}
    program = torch.export.load("net.pt2", extra_files=extra).module()
    torch.testing.assert_close(program(images.reshape(-1, 8, 8, 1)), expected, atol=1e-4, rtol=0)
    assert float(extra["temperature"]) == temperature


@pytest.mark.slow
def test_a_training_that_continues_from_a_calibrated_checkpoint_is_the_same(best, caplog):
    last = best.with_name("last.ckpt")
    assert main(["calibrate", str(last), "--output", "last-calibrated.ckpt"]) == 0
    longer = ["--trainer.max_epochs", "3", "--trainer.limit_train_batches", "8"]
    for name, path in ("plain", last), ("calibrated", Path("last-calibrated.ckpt")):
        assert main(["fit", "--ckpt_path", str(path), "--trainer.default_root_dir", name, *longer]) == 0
    folders = [next(Path(name).rglob("run.json")).parent for name in ("plain", "calibrated")]
    assert_same_run(*map(str, folders))
    assert "calibration" not in torch.load(folders[1] / "checkpoints/last.ckpt", weights_only=True)


def test_what_cannot_be_calibrated_is_one_line(best, capsys):
    assert "there is no checkpoint 'none.ckpt'" in error_line(capsys, "calibrate", "none.ckpt")
    Path("other.ckpt").write_bytes(b"mine")
    assert "which exists" in error_line(capsys, "calibrate", str(best), "--output", "other.ckpt")
    assert "must end in .ckpt" in error_line(capsys, "calibrate", str(best), "--output", "other.pt")
    checkpoint = torch.load(best, weights_only=True)
    checkpoint["hyper_parameters"]["backbone"] = "os.system"
    checkpoint["run"]["config"] = checkpoint["run"]["config"].replace("backbone: resnet20", "backbone: os.system")
    torch.save(checkpoint, "hostile.ckpt")
    assert "os.system" in error_line(capsys, "calibrate", "hostile.ckpt")
