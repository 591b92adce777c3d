"""What a run leaves for people to look at: evaluation, figures, gradient norm, ``run.json``."""

import base64
import csv
import datetime
import io
import json
import os
import shlex
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning import Callback, LightningModule, Trainer
from PIL import Image
from torch import nn

from image_files import write_folders, write_images
from resnet_lightning import DigitsDataModule, ImageClassifier, ImageFolderDataModule
from resnet_lightning.cli.main import main
from resnet_lightning.data import PredictionDataModule
from resnet_lightning.inference.loaded import load_model
from resnet_lightning.runs.provenance import provenance
from resnet_lightning.training.callbacks import Evaluation
from resnet_lightning.training.callbacks.first_batch import captions
from runs_alike import DDP, DIGITS, SMALL, may_go, reached, wait_for, with_callbacks, working_in

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")

# Five batches an epoch of which two make a step, and the fifth a step of its own.
CLIPPED = ["--trainer.accumulate_grad_batches", "2", "--trainer.gradient_clip_val", "0.5"]
EPOCHS, BATCHES = 2, 5
SHORT = ["--trainer.max_epochs", str(EPOCHS), "--trainer.limit_train_batches", str(BATCHES)]
MIXED = ["--data.augment.mixup", "0.4", "--data.augment.cutmix", "1.0"]
FIT = ["fit", "--config", DIGITS, *SMALL, *SHORT, *CLIPPED, *MIXED]

LONG_AGO = "2020-02-20T20:20:20+00:00"


class Notes(Callback):
    """Writes down what a run does, without any code of the package.

    Args:
        folder: for the notes.
        stop_at: ``[epoch, batch]`` at which this process gets SIGTERM.
    """

    def __init__(self, folder: str, stop_at: list[int] | None = None) -> None:
        self.folder = Path(folder)
        self.stop_at = stop_at

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.folder.mkdir(exist_ok=True)
        if not batch_idx:
            torch.save(batch[0], self.folder / f"batch_{trainer.current_epoch}.pt")
        if self.stop_at == [trainer.current_epoch, batch_idx]:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_after_backward(self, trainer, pl_module) -> None:
        # The gradient is complete after the last of the batches that make a step, and not yet clipped.
        batch = trainer.fit_loop.epoch_loop.batch_idx
        if batch % 2 or batch == BATCHES - 1:
            self._note("before", trainer, pl_module)

    def on_before_zero_grad(self, trainer, pl_module, optimizer) -> None:
        if any(p.grad is not None for p in pl_module.parameters()):
            self._note("clipped", trainer, pl_module)

    def _note(self, when: str, trainer, pl_module) -> None:
        gradient = torch.cat([p.grad.flatten() for p in pl_module.parameters() if p.grad is not None])
        with (self.folder / f"{when}_{trainer.current_epoch}").open("a") as file:
            file.write(f"{gradient.double().square().sum().sqrt().item()}\n")

    def notes(self, name: str) -> list[float]:
        return [float(line) for line in (self.folder / name).read_text().split()]


def noting(folder: str, **arguments) -> list[str]:
    """The options that take notes."""
    callback = {"class_path": f"{Notes.__module__}.Notes", "init_args": {"folder": folder, **arguments}}
    Path(f"{folder}.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [callback]}}))
    return ["--config", f"{folder}.yaml"]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """A folder with two runs of the same command: ``whole``, and ``stopped`` in an epoch and then resumed.

    ``first.png`` and ``stopped.json`` are from before it was resumed, when the start was set to long ago.
    """
    folder = tmp_path_factory.mktemp("outcome")
    with working_in(folder):
        assert main([*FIT, *noting("of_whole"), "--resume", "whole"]) == 0
        stop = noting("of_stopped", stop_at=[1, 2])
        assert main([*FIT, *stop, "--resume", "stopped"]) == 143
        first = Path("stopped/pictures/first_batch.png").replace("first.png")
        record = json.loads(Path("stopped/run.json").read_text())
        Path("stopped.json").write_text(json.dumps(record))
        Path("stopped/run.json").write_text(json.dumps({**record, "started": LONG_AGO}))
        Path("stopped/pictures/first_batch.png").write_bytes(b"as it was")
        assert first.is_file()
        assert main([*FIT, *stop, "--resume", "stopped"]) == 0
    return folder


def evaluation_of(folder: Path) -> dict:
    return json.loads((folder / "evaluation.json").read_text())


def record_of(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def decoded(png: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(png))))


def colours_of(path: Path) -> int:
    with Image.open(path) as image:
        return len(image.convert("RGB").getcolors(maxcolors=1 << 24))


def assert_is_what_the_net_says(evaluation, logits, labels, names, classes, worst=16) -> list[int]:
    """Compares an evaluation with logits (N, K) and labels (N,), one image after the other; the mistakes' numbers."""
    counts = [[0] * len(classes) for _ in classes]
    wrong = []
    for number, (row, label) in enumerate(zip(logits, labels.tolist(), strict=True)):
        powers = torch.exp(row.double() - row.double().max())
        prediction = int(row.argmax())
        counts[label][prediction] += 1
        if prediction != label:
            wrong.append((float(powers[prediction] / powers.sum()), number, label, prediction))
    assert evaluation["classes"] == list(classes)
    assert evaluation["confusion"] == counts
    wrong = sorted(wrong, reverse=True)[:worst]
    assert [m["confidence"] for m in evaluation["mistakes"]] == pytest.approx([w[0] for w in wrong], abs=1e-5)
    assert [(m["image"], m["label"], m["prediction"]) for m in evaluation["mistakes"]] == [
        (names[number], classes[label], classes[prediction]) for _, number, label, prediction in wrong
    ]
    return [number for _, number, _, _ in wrong]


@torch.no_grad()
def logits_of(checkpoint: Path, images: np.ndarray) -> torch.Tensor:
    """Of images (N, H, W, C) uint8, by the checkpoint's net, mean and deviation."""
    kept = torch.load(checkpoint, weights_only=True)["run"]["data"]
    pixels = (images / 255 - np.array(kept["mean"])) / np.array(kept["std"])
    net = ImageClassifier.load_from_checkpoint(checkpoint, weights_only=True).eval()
    return net(torch.from_numpy(pixels).float().permute(0, 3, 1, 2))


def digits(part: str) -> tuple[np.ndarray, torch.Tensor]:
    images, labels = DigitsDataModule().read(part)
    return images.numpy()[..., None], labels.long()


# The evaluation.


def test_the_evaluation_is_what_the_best_checkpoint_says_of_the_test_images(outcome):
    evaluation = evaluation_of(outcome / "whole")
    images, labels = digits("test")
    logits = logits_of(outcome / "whole/checkpoints/best.ckpt", images)
    names = [str(number) for number in range(len(images))]
    mistakes = assert_is_what_the_net_says(evaluation, logits, labels, names, "0123456789")
    assert len(mistakes) == 16
    for number, mistake in zip(mistakes, evaluation["mistakes"], strict=True):
        assert np.array_equal(decoded(mistake["png"]), images[number, ..., 0])
    assert evaluation["checkpoint"] == "best.ckpt"
    assert evaluation["metrics"]["test/acc"] == pytest.approx(
        sum(evaluation["confusion"][k][k] for k in range(10)) / len(images)
    )
    assert evaluation["images"] == len(images)
    accuracy = evaluation["scores"]["accuracy"]
    assert accuracy["value"] == pytest.approx(evaluation["metrics"]["test/acc"])
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    recalls = [row["recall"] for row in evaluation["by_class"]]
    assert evaluation["scores"]["balanced accuracy"]["value"] == pytest.approx(np.mean(recalls))
    with (outcome / "whole/metrics.csv").open() as file:
        tested = [row["test/loss"] for row in csv.DictReader(file) if row["test/loss"]]
    assert float(tested[-1]) == pytest.approx(evaluation["metrics"]["test/loss"])


def test_a_run_that_went_on_comes_to_the_same_evaluation(outcome):
    assert evaluation_of(outcome / "stopped") == evaluation_of(outcome / "whole")


def test_the_pictures_show_something(outcome):
    pictures = outcome / "whole" / "pictures"
    for name in "first_batch", "confusion_matrix", "worst_mistakes":
        assert colours_of(pictures / f"{name}.png") > 20
    # Below a title 4 x 4 images of 160 pixels with three lines each, and 14 pixels between them.
    size = np.array(Image.open(pictures / "worst_mistakes.png")).shape[:2]
    assert size == (50 + 4 * (160 + 3 * 18 + 14), 14 + 4 * (160 + 14))


@pytest.mark.parametrize("resident", ["auto", "false"])
def test_mistakes_of_a_folder_are_named_by_their_files(without_figures, tmp_path, resident):
    pixels = write_folders(tmp_path / "images", ["train", "test"], n=12)["test"]
    data = {"root": "images", "batch_size": 8, "num_workers": 0, "resident": resident == "auto" and "auto"}
    Path("folder.yaml").write_text(yaml.safe_dump({"data": {"class_path": "ImageFolderDataModule", "init_args": data}}))
    assert main(["fit", "--config", "folder.yaml", *SMALL, "--trainer.max_epochs", "1", "--resume", "run"]) == 0
    evaluation = evaluation_of(Path("run"))
    names = [f"test/{name}/{number:03}.png" for name in ("cat", "dog") for number in range(12)]
    labels = torch.tensor([0] * 12 + [1] * 12)
    logits = logits_of(Path("run/checkpoints/best.ckpt"), np.stack(pixels))
    mistakes = assert_is_what_the_net_says(evaluation, logits, labels, names, ["cat", "dog"])
    assert mistakes
    for number, mistake in zip(mistakes, evaluation["mistakes"], strict=True):
        assert np.array_equal(decoded(mistake["png"]), pixels[number])


class Brightness(LightningModule):
    """Predicts the second class for bright images."""

    def __init__(self, answers: bool = True) -> None:
        super().__init__()
        self.net = nn.Linear(1, 1)
        self.answers = answers

    def test_step(self, batch, batch_idx):
        bright = batch[0].mean((1, 2, 3))
        return torch.stack([torch.zeros_like(bright), bright], 1) if self.answers else None


def evaluate(model: LightningModule, data, folder: Path, **options) -> None:
    quiet = {"logger": False, "enable_progress_bar": False, "accelerator": "cpu", "enable_model_summary": False}
    Trainer(callbacks=[Evaluation(folder, **options)], **quiet).test(model, data, verbose=False)


def test_large_images_are_shrunk_on_the_page(tmp_path):
    for part in "train", "test":
        write_images(tmp_path / part / "cat", 3, size=(90, 200))
        write_images(tmp_path / part / "dog", 3, seed=1, size=(90, 200))
    data = ImageFolderDataModule(tmp_path, mean=[0.0], std=[1.0], cache_gb=0)
    evaluate(Brightness(), data, tmp_path / "run", worst=2)
    mistakes = evaluation_of(tmp_path / "run")["mistakes"]
    images = data.split("test").images.numpy() / 255
    expected = sorted(((1 / (1 + np.exp(-image.mean())), number) for number, image in enumerate(images[:3])))[::-1][:2]
    assert [m["image"] for m in mistakes] == [f"test/cat/{number:03}.png" for _, number in expected]
    assert [m["confidence"] for m in mistakes] == pytest.approx([confidence for confidence, _ in expected])
    for mistake, (_, number) in zip(mistakes, expected, strict=True):
        shrunk = decoded(mistake["png"])
        assert shrunk.shape == (72, 160, 3)
        assert shrunk.mean() == pytest.approx(255 * images[number].mean(), abs=1)


def test_numbers_and_names_follow_the_classes_that_are_kept(tmp_path):
    """The classes are 7 and 1, in this order."""
    data = DigitsDataModule(classes=[7, 1], batch_size=30)
    evaluate(Brightness(), data, tmp_path)
    evaluation = evaluation_of(tmp_path)
    images, labels = digits("test")
    kept = (labels == 7) | (labels == 1)
    logits = Brightness().test_step((data.normalize(torch.from_numpy(images[kept]).permute(0, 3, 1, 2)),), 0)
    names = [str(number) for number in range(len(logits))]
    mistakes = assert_is_what_the_net_says(evaluation, logits, (labels[kept] == 1).long(), names, ["7", "1"])
    for number, mistake in zip(mistakes, evaluation["mistakes"], strict=True):
        assert np.array_equal(decoded(mistake["png"]), images[kept][number, ..., 0])


def test_a_net_without_mistakes_leaves_no_picture_of_them(tmp_path):
    class Knows(Brightness):
        def test_step(self, batch, batch_idx):
            return nn.functional.one_hot(batch[1], 10).float()

    evaluate(Knows(), DigitsDataModule(), tmp_path)
    assert evaluation_of(tmp_path)["mistakes"] == []
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"confusion_matrix.png", "reliability.png"}


def test_a_module_that_returns_nothing_leaves_no_evaluation(tmp_path):
    evaluate(Brightness(answers=False), DigitsDataModule(classes=[7, 1]), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_two_processes_write_the_evaluation_of_one(outcome, warm):
    """355 images in batches of 177: the last step leaves one process without an image."""
    checkpoint = str(outcome / "whole/checkpoints/best.ckpt")
    command = ["test", "--ckpt_path", checkpoint, "--config", DIGITS, *SMALL, "--data.batch_size", "177"]
    for folder in "one", "two":
        callback = {"class_path": "resnet_lightning.training.callbacks.Evaluation", "init_args": {"folder": folder}}
        Path(f"{folder}.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [callback]}}))
    assert main([*command, "--config", "one.yaml"]) == 0
    warm.run_together(*command, "--config", "two.yaml", *DDP, figures=True)
    one, two, whole = (evaluation_of(folder) for folder in (Path("one"), Path("two"), outcome / "whole"))
    assert one["confusion"] == two["confusion"] == whole["confusion"]
    for found in one, two:
        for mistake, expected in zip(found["mistakes"], whole["mistakes"], strict=True):
            assert mistake.pop("confidence") == pytest.approx(expected["confidence"], abs=1e-5)
            assert mistake.items() <= expected.items()
    assert two["metrics"] == pytest.approx(one["metrics"], abs=1e-6)
    names = {"confusion_matrix.png", "reliability.png", "worst_mistakes.png"}
    assert {path.name for path in Path("two/pictures").iterdir()} == names
    counts = [
        [(one["low"], one["images"], one["right"]) for one in found["reliability"]["bins"]] for found in (one, two)
    ]
    assert counts[0] == counts[1]


# Pixels.


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ([0.1307], [0.3081]),
        ([0.0], [1.0]),
        ([0.99], [0.001]),
        ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
        ([0.2, 0.9, 0.5], [1.0, 0.01, 0.5]),
    ],
    ids=str,
)
def test_every_value_comes_back_out_of_what_a_net_sees(mean, std):
    data = PredictionDataModule(["a", "b"], len(mean), [16, 16], 16, mean, std)
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, len(mean), 16, 16)
    assert torch.equal(data.to_pixels(data.normalize(values)), values.permute(0, 2, 3, 1))


def test_what_lies_outside_becomes_black_or_white():
    data = PredictionDataModule(["a", "b"], 1, [1, 2], 1, [0.5], [0.25])
    assert data.to_pixels(torch.tensor([[[[-2.1, 2.1]]]])).flatten().tolist() == [0, 255]


# The first batch.


def test_the_first_batch_is_shown_as_the_net_sees_it(outcome):
    batch = torch.load(outcome / "of_whole/batch_0.pt", weights_only=True)[:32, 0]
    kept = torch.load(outcome / "whole/checkpoints/best.ckpt", weights_only=True)["run"]["data"]
    pixels = (255 * (batch * kept["std"][0] + kept["mean"][0])).round().clamp(0, 255).numpy()
    # 32 digits of 8x8 in 8 columns, each pixel 16 wide, below a title and between margins of 14 pixels. The caption
    # below an image has the rest of its cell.
    picture = np.array(Image.open(outcome / "whole/pictures/first_batch.png").convert("L"))
    assert picture.shape[1] == 14 + 8 * (128 + 14)
    top, margin = 50, 14
    cell, rest = divmod(len(picture) - top, 4)
    assert rest == 0
    assert cell > 128 + margin  # there is room for a caption
    originals = {image.tobytes() for image in digits("train")[0]}
    augmented = 0
    for number, expected in enumerate(pixels):
        row, column = top + cell * (number // 8), margin + (128 + margin) * (number % 8)
        shown = picture[row : row + 128 : 16, column : column + 128 : 16]
        assert np.array_equal(shown, expected)
        assert (picture[row : row + 128, column : column + 128] == shown.repeat(16, 0).repeat(16, 1)).all()
        caption = picture[row + 128 : row + cell - margin, column : column + 128]
        assert caption.min() < 100  # dark letters
        assert caption.max() > 250
        augmented += shown.tobytes() not in originals
    assert augmented > 16  # moved, turned or mixed


@pytest.mark.parametrize(
    ("target", "caption"),
    [
        (torch.tensor(2), "cat"),
        (torch.tensor(7), "7"),  # more labels than names
        (torch.tensor([0.0, 0.7, 0.3]), "70% bee\n30% cat"),
        (torch.tensor([0.001, 0.999, 0.0]), "100% bee"),
        (torch.tensor([1.0, 0.0, 1.0]), "ant, cat"),  # several labels
        (torch.tensor([0, 0, 0]), "none"),
        (torch.zeros(2, 3), ""),  # not of one image
    ],
    ids=str,
)
def test_the_captions_of_the_first_batch(target, caption):
    images = torch.zeros(1, 1, 8, 8)
    assert captions((images, target[None]), ["ant", "bee", "cat"], 1) == [caption]
    assert captions(images, ["ant", "bee", "cat"], 1) == []


def test_a_run_that_goes_on_does_not_show_its_first_batch_again(outcome):
    assert (outcome / "first.png").read_bytes() == (outcome / "whole/pictures/first_batch.png").read_bytes()
    assert (outcome / "stopped/pictures/first_batch.png").read_bytes() == b"as it was"


# The norm of the gradients.


def norms_of(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["train/grad_norm"]) for row in csv.DictReader(file) if row.get("train/grad_norm")]


def test_the_gradient_norm_is_the_mean_of_the_steps_before_clipping(outcome):
    notes = Notes(str(outcome / "of_whole"))
    expected = []
    for epoch in range(EPOCHS):
        before = notes.notes(f"before_{epoch}")
        assert len(before) == 3
        assert max(before) > 0.6
        expected.append(sum(before) / 3)
    assert norms_of(outcome / "whole") == pytest.approx(expected, rel=1e-5)
    clipped = notes.notes("clipped_1")
    assert max(clipped) == pytest.approx(0.5, rel=1e-4)


def test_the_gradient_norm_survives_a_stop_within_an_epoch(outcome):
    assert norms_of(outcome / "stopped") == norms_of(outcome / "whole")
    assert len(norms_of(outcome / "stopped")) == EPOCHS


# The run's record.


def test_the_record_of_a_run_says_what_it_was(outcome):
    record = record_of(outcome / "whole")
    assert record["state"] == "finished"
    assert record["name"] == "digits"
    assert record["net"] == "resnet_lightning.models.cifar.cifar_resnet"
    checkpoint = torch.load(outcome / "whole/checkpoints/best.ckpt", weights_only=True)
    net = ImageClassifier.load_from_checkpoint(outcome / "whole/checkpoints/best.ckpt", weights_only=True)
    assert record["parameters"] == sum(p.numel() for p in net.parameters())
    assert record["parameters"] < sum(v.numel() for v in checkpoint["state_dict"].values())  # no running statistics
    assert record["device"] == "1 x cpu"
    assert record["versions"]["torch"] == version("torch")
    assert record["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert record["training_seconds"] > 0
    started, ended = (datetime.datetime.fromisoformat(record[name]) for name in ("started", "ended"))
    assert datetime.timedelta(0) <= ended - started < datetime.timedelta(minutes=5)
    assert started.tzinfo is not None


def test_a_stopped_run_says_so_and_keeps_its_beginning_when_it_goes_on(outcome):
    before, after = json.loads((outcome / "stopped.json").read_text()), record_of(outcome / "stopped")
    assert before["state"] == "stopped"
    assert before["ended"] is not None
    assert "training_seconds" not in before
    assert after["state"] == "finished"
    assert after["started"] == LONG_AGO
    assert LONG_AGO < before["started"] <= before["ended"] <= after["ended"]


def test_the_command_in_the_record_repeats_the_run(without_figures):
    Path("my runs").mkdir()
    arguments = ["fit", "--config", DIGITS, *SMALL, "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"]
    arguments += ["--model.backbone_args", "{depth: 8, stem: 'cifar'}", "--trainer.default_root_dir", "my runs"]
    assert main(arguments) == 0
    (first,) = Path("my runs/digits").iterdir()
    program, *repeated = shlex.split(record_of(first)["command"])
    assert program == "lightning"
    assert repeated == arguments
    assert main(repeated) == 0
    (second,) = set(Path("my runs/digits").iterdir()) - {first}
    assert evaluation_of(second) == evaluation_of(first)


def test_a_run_that_fails_says_so(capsys):
    options = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "5", "--model.scheduler", "null"]
    assert main(["fit", "--config", DIGITS, *SMALL, *options, "--model.lr", "1e30", "--resume", "run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the loss is nan at step 1") or line.startswith("error: the loss is inf at step 1")
    record = record_of(Path("run"))
    assert record["state"] == "failed"
    assert record["ended"] >= record["started"]
    assert not Path("run/evaluation.json").exists()


@pytest.mark.slow
def test_the_record_holds_the_state_of_a_run(warm):
    """A real process: it runs, is stopped by SIGTERM, is killed, and finishes in the end."""
    command = [*FIT, *with_callbacks("pauses", Pause={"at": [[0, 1], [0, 3]]}), "--resume", "run"]
    process = warm.start(*command)
    wait_for(reached(0, 1).exists, process)
    running = record_of(Path("run"))
    assert (running["state"], running["ended"]) == ("running", None)
    os.kill(process.pid, signal.SIGTERM)
    may_go(0, 1).touch()
    assert warm.end_of(process)[0] == 143
    assert record_of(Path("run"))["state"] == "stopped"
    process = warm.start(*command)
    wait_for(reached(0, 3).exists, process)
    process.kill()
    process.join()
    assert record_of(Path("run"))["state"] == "running"  # a killed process cannot write
    may_go(0, 3).touch()
    code, printed = warm.run(*command)
    assert code == 0, printed
    finished = record_of(Path("run"))
    assert (finished["state"], finished["started"]) == ("finished", running["started"])


def git(*arguments: str) -> str:
    own = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *own, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_that_of_the_folder_and_says_what_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance()["git"] is None
    git("init", "-q")
    assert provenance()["git"] is None  # no commit yet
    Path("code.py").write_text("1")
    git("add", "code.py")
    git("commit", "-qm", "one")
    assert provenance()["git"] == {"commit": git("rev-parse", "HEAD"), "changed": False}
    Path("new.py").write_text("a file that git does not know")
    assert provenance()["git"]["changed"] is False
    Path("code.py").write_text("2")
    assert provenance()["git"]["changed"] is True
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no git
    assert provenance()["git"] is None


def test_a_test_of_an_earlier_checkpoint_is_forgotten(without_figures):
    short = ["--config", DIGITS, *SMALL, "--trainer.limit_train_batches", "4", "--resume", "run"]
    assert main(["fit", *short, "--trainer.max_epochs", "1"]) == 0
    assert "test/acc" in load_model("run/checkpoints/best.ckpt").metrics
    assert main(["fit", *short, "--trainer.max_epochs", "2", "--trainer.limit_test_batches", "0"]) == 0
    assert "test/acc" not in load_model("run/checkpoints/best.ckpt").metrics
