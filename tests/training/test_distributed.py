"""Several processes do together what one does alone.

The processes are real ones. Most are forked from one that has imported everything, and meet as those of torchrun do;
one command starts its second process itself, as on a single machine.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning import Callback
from PIL import Image

from image_files import write_folders
from resnet_lightning.cli.main import main
from runs_alike import DDP, DIGITS, SMALL, working_in

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_an_empty_folder", "without_figures")]


class Saved(Callback):
    """Saves the batches and the results of each process in files, since processes share nothing else.

    Args:
        folder: for the files.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{trainer.current_epoch}_{batch_idx:03}_{trainer.global_rank}.pt"
        torch.save(tuple(batch), self.folder / name)

    def _save_metrics(self, trainer, stage: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        values = {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith(stage)}
        (self.folder / f"{stage}_{trainer.global_rank}.json").write_text(json.dumps(values))

    def on_validation_end(self, trainer, pl_module) -> None:
        self._save_metrics(trainer, "val")

    def on_test_end(self, trainer, pl_module) -> None:
        self._save_metrics(trainer, "test")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Of a net that classifies some of the images correctly."""
    folder = tmp_path_factory.mktemp("trained")
    with working_in(folder):
        assert main(["fit", "--config", DIGITS, *SMALL, "--trainer.max_epochs", "2"]) == 0
    (path,) = folder.rglob("last.ckpt")
    return str(path)


def saving(folder: str) -> list[str]:
    """The options that save batches and results in a folder."""
    callback = {"class_path": f"{Saved.__module__}.Saved", "init_args": {"folder": folder}}
    Path(f"{folder}.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [callback]}}))
    return ["--config", f"{folder}.yaml"]


def metrics_of(folder: str) -> dict[str, float]:
    """The metrics of all processes, which have to be the same."""
    (first, *others) = (json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json")))
    assert all(other == first for other in others)
    return first


# What they measure.


@pytest.mark.parametrize(("command", "stage"), [("test", "test"), ("validate", "val")])
def test_one_two_and_three_processes_measure_the_same(checkpoint, warm, command, stage):
    """355 images for testing and 143 for validation: batches of 20 leave some processes fewer, or none."""
    options = ["--ckpt_path", checkpoint, "--config", DIGITS, *SMALL, "--data.batch_size", "20"]
    assert main([command, *options, *saving("one")]) == 0
    one = metrics_of("one")
    assert 0.1 < one[f"{stage}/acc"] < 1
    for count in 2, 3:
        warm.run_together(command, *options, *DDP, *saving(f"in_{count}"), processes=count)
        assert len(list(Path(f"in_{count}").glob("*.json"))) == count
        found = metrics_of(f"in_{count}")
        assert found.keys() == {f"{stage}/loss", f"{stage}/acc", f"{stage}/acc5"}
        for name in f"{stage}/acc", f"{stage}/acc5":
            assert found[name] == one[name]
        assert found[f"{stage}/loss"] == pytest.approx(one[f"{stage}/loss"], abs=1e-6)


# What they train on.


@pytest.mark.parametrize("mix", [[], ["--data.augment.mixup", "0.4", "--data.augment.cutmix", "1.0"]], ids=str)
def test_two_processes_see_together_what_one_sees(warm, mix):
    """33 images each, an odd number: some are mixed with one that the other process has."""
    short = ["fit", "--config", DIGITS, *SMALL, "--trainer.max_epochs", "2", "--data.augment.flip", "alternate", *mix]
    assert main([*short, "--data.batch_size", "66", *saving("one")]) == 0
    warm.run_together(*short, "--data.batch_size", "33", *DDP, *saving("two"))
    names = sorted(path.name.removesuffix("_0.pt") for path in Path("one").glob("*.pt"))
    assert names == [f"{epoch}_{step:03}" for epoch in (0, 1) for step in range(1299 // 66)]
    assert len(list(Path("two").glob("*.pt"))) == 2 * len(names)
    seen = {}
    for name in names:
        images, targets = torch.load(f"one/{name}_0.pt")
        halves = [torch.load(f"two/{name}_{rank}.pt") for rank in (0, 1)]
        assert [len(half) for half, _ in halves] == [33, 33]
        assert torch.equal(torch.cat([half for half, _ in halves]), images)
        assert torch.equal(torch.cat([half for _, half in halves]), targets)
        assert targets.ndim == (2 if mix else 1)
        seen[name] = images
    assert not torch.equal(seen["0_000"], seen["1_000"])


# Commands that start their second process themselves.


def test_a_streamed_folder_trains_and_tests_in_two_processes(commands):
    """26 images for testing in batches of 3 in each process: the last step has two images for the two of them."""
    write_folders(Path("images"), ["train", "test"], n=13)
    data = ["--data", "ImageFolderDataModule", "--data.root", "images", "--data.batch_size", "3"]
    options = [*SMALL, *data, "--data.resident", "false", "--data.num_workers", "1", "--seed_everything", "0"]
    code, printed, errors = commands.run("fit", *options, *DDP, "--trainer.max_epochs", "2")
    assert code == 0, errors
    assert "Traceback" not in errors
    assert "2 x cpu" in printed
    assert printed.count("test accuracy") == 1
    (folder,) = Path("runs/ddp").iterdir()
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows if row["train/loss"]] == ["0", "1"]
    (accuracy,) = [float(row["test/acc"]) for row in rows if row["test/acc"]]
    best = str(folder / "checkpoints" / "best.ckpt")
    alone = ["--trainer.strategy", "auto", "--trainer.devices", "1"]
    for number, resident in enumerate(("false", "cpu")):
        again = ["--data.resident", resident, *alone, *saving(f"alone_{number}")]
        assert main(["test", "--ckpt_path", best, "--config", str(folder / "config.yaml"), *again]) == 0
        assert metrics_of(f"alone_{number}")["test/acc"] == pytest.approx(accuracy, abs=1e-7)


def test_a_wrong_option_stops_both_processes_with_a_line(commands):
    """2000 images a step are too many for 1299 where two processes take 1000 each."""
    code, _, errors = commands.run("fit", "--config", DIGITS, *SMALL, "--data.batch_size", "1000", *DDP)
    assert code == 2
    assert "Traceback" not in errors
    assert "too large for 1299 training images among 2 processes" in errors


# Several labels for each image.


def write_labels(count: int) -> list[str]:
    """Images in which each label is a bright channel, and the options of their table."""
    draw = np.random.default_rng(0)
    Path("images").mkdir()
    rows = []
    for number in range(count):
        marks = draw.random(3) < (0.5, 0.4, 0.2)
        pixels = draw.integers(0, 90, (12, 12, 3)) + 150 * marks
        Image.fromarray(pixels.astype(np.uint8)).save(f"images/{number:02}.png")
        rows.append([f"images/{number:02}.png", *marks.astype(int)])
    with Path("labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "red", "green", "blue"], *rows])
    data = ["--data", "TableDataModule", "--data.table", "labels.csv", "--data.label_columns", "[red,green,blue]"]
    return [*data, "--data.val_split", "0.3", "--data.augment", "{flip: true}", "--model.class_weights", "balanced"]


def test_two_processes_train_on_several_labels_as_one_does(warm):
    """Without batch statistics, which are those of each process, both end with the same weights and thresholds."""
    model = ["--model.backbone", "resnet_lightning.models.cifar.cifar_resnet"]
    model += ["--model.backbone_args", "{depth: 8, norm_layer: none}", "--model.lr", "0.01", "--seed_everything", "0"]
    options = ["fit", *write_labels(61), *model, "--trainer.max_epochs", "2", "--trainer.gradient_clip_val", "1.0"]
    assert main([*options, "--data.batch_size", "12", "--resume", "one", *saving("of_one")]) == 0
    warm.run_together(*options, "--data.batch_size", "6", *DDP, "--resume", "two", *saving("of_two"))
    for stage in "val", "test":
        one = json.loads(Path(f"of_one/{stage}_0.json").read_text())
        assert f"{stage}/mAP" in one
        for rank in 0, 1:
            two = json.loads(Path(f"of_two/{stage}_{rank}.json").read_text())
            assert two == pytest.approx(one, abs=1e-5)
    states = [torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True) for run in ("one", "two")]
    torch.testing.assert_close(*(state["state_dict"] for state in states), rtol=1e-4, atol=1e-5)
    evaluations = [json.loads(Path(run, "evaluation.json").read_text()) for run in ("one", "two")]
    thresholds = [[row["threshold"] for row in evaluation["by_class"]] for evaluation in evaluations]
    assert thresholds[0] == pytest.approx(thresholds[1], abs=1e-5)
    assert thresholds[0] != [0.5] * 3
