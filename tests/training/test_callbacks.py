"""The callbacks, with a LightningModule that uses nothing of this package."""

import csv
import io
import re
import subprocess
import sys
from importlib.metadata import version
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from torch import nn
from torch.nn import functional as F

from resnet_lightning import DigitsDataModule
from resnet_lightning.training.callbacks import (
    PredictionWriter,
    RunProgress,
    RunRecord,
    Throughput,
    progress_bar,
    throughput,
)


class Plain(LightningModule):
    """A linear net on the digits."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        self.losses = []

    def training_step(self, batch, batch_idx):
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/acc", (self.net(batch[0]).argmax(dim=1) == batch[1]).float().mean())

    def test_step(self, batch, batch_idx):
        self.net(batch[0])

    def predict_step(self, batch, batch_idx):
        return self.net(batch[0]).softmax(dim=1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Batches:
    """Any iterable is a loader to Lightning."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self):
        return ((torch.rand(size, 1, 8, 8), torch.zeros(size, dtype=torch.int64)) for size in self.sizes)


def make_trainer(*callbacks: Callback, **options) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    # Lightning takes a progress bar that it is given for one that is wanted.
    bar = any(isinstance(callback, RunProgress) for callback in callbacks)
    defaults = {"accelerator": "cpu", "max_epochs": 1, "num_sanity_val_steps": 0, "enable_progress_bar": bar}
    return Trainer(callbacks=list(callbacks), **{**quiet, **defaults, **options})


# Throughput.


def test_throughput_counts_the_images():
    measured = Throughput()
    make_trainer(measured, max_epochs=2).fit(Plain(), Batches(16, 16, 5), Batches(100))
    assert measured.images == 2 * (16 + 16 + 5)


class Clock(Plain):
    """A module whose steps take as long as a test decides; its attribute ``now`` is what the callbacks are shown."""

    def __init__(self, monkeypatch, seconds_of_step, seconds_of_validation: float = 0.0) -> None:
        super().__init__()
        self.now = 0.0
        self.seconds_of_step = seconds_of_step
        self.seconds_of_validation = seconds_of_validation
        for module in throughput, progress_bar:
            clock = SimpleNamespace(perf_counter=lambda: self.now, monotonic=lambda: self.now)
            monkeypatch.setattr(module, "time", clock)

    def training_step(self, batch, batch_idx):
        self.now += self.seconds_of_step(self.current_epoch)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.now += self.seconds_of_validation
        super().validation_step(batch, batch_idx)


def test_throughput_leaves_the_validation_out(monkeypatch):
    model = Clock(monkeypatch, lambda epoch: 2.0, seconds_of_validation=100.0)
    measured = Throughput()
    assert measured.images_per_second == 0
    # Twice an epoch, in the middle of it as well.
    trainer = make_trainer(measured, max_epochs=1, val_check_interval=2)
    trainer.fit(model, Batches(8, 8, 8, 8), Batches(8))
    assert measured.seconds == 4 * 2.0
    assert measured.images_per_second == 32 / 8


def test_throughput_is_logged_each_epoch(monkeypatch):
    logged = []

    class Logged(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            logged.append(trainer.callback_metrics["train/images_per_second"].item())

    model = Clock(monkeypatch, lambda epoch: 2.0 if epoch == 0 else 1.0)
    measured = Throughput()
    make_trainer(measured, Logged(), max_epochs=2).fit(model, Batches(30, 30), Batches(1))
    assert logged == [60 / 4, 60 / 2]  # each of its own epoch, not the mean
    assert measured.images_per_second == 120 / 6


# Progress without a terminal.


def text_console() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=100)


def bar_console(width: int = 120) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width)


def written(progress: RunProgress) -> str:
    return progress.console.file.getvalue()


def test_without_a_terminal_each_epoch_ends_in_a_line():
    progress = RunProgress(console=text_console())
    model = Plain()
    make_trainer(progress, max_epochs=3).fit(model, Batches(8, 8), Batches(8))
    lines = written(progress).splitlines()
    assert len(lines) == 3
    for epoch, line in enumerate(lines, start=1):
        loss = model.losses[2 * epoch - 1]
        accuracies, speed = r"val acc \d+\.\d\d% \(best \d+\.\d\d%\)", r"[\d,]+ images/s"
        assert re.fullmatch(rf"epoch {epoch}/3  loss {loss:.3f}  {accuracies}  {speed}  \d+:\d\d:\d\d left", line), line
    assert lines[-1].endswith("  0:00:00 left")


def test_the_time_left_follows_from_the_steps_so_far(monkeypatch):
    progress = RunProgress(console=text_console(), line_seconds=1000)  # steps take a minute each
    make_trainer(progress, max_epochs=35).fit(Clock(monkeypatch, lambda epoch: 60), Batches(2, 2), Batches(1))
    assert written(progress).splitlines()[0].endswith("  1:08:00 left")  # 34 epochs of two steps
    assert written(progress).splitlines()[30].endswith("  0:08:00 left")


def test_the_validation_accuracy_is_that_of_the_epoch():
    class Counting(Plain):
        def validation_step(self, batch, batch_idx):
            self.log("val/acc", 0.1 * (self.current_epoch + 1))

    progress = RunProgress(console=text_console())
    make_trainer(progress, max_epochs=3).fit(Counting(), Batches(8), Batches(8))
    assert re.findall(r"val acc (\S+)", written(progress)) == ["10.00%", "20.00%", "30.00%"]


def test_the_loss_is_not_divided_where_gradients_are_accumulated():
    progress = RunProgress(console=text_console())
    model = Plain()
    make_trainer(progress, accumulate_grad_batches=4).fit(model, Batches(8, 8, 8, 8), Batches(8))
    assert f"loss {model.losses[-1]:.3f}" in written(progress)


def test_a_run_without_an_end_shows_no_time_left():
    class Stop(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            trainer.should_stop = trainer.current_epoch == 1

    progress = RunProgress(console=text_console())
    make_trainer(progress, Stop(), max_epochs=-1).fit(Plain(), Batches(8), Batches(8))
    first = written(progress).splitlines()[0]
    assert re.fullmatch(r"epoch 1  loss \d\.\d{3}  val acc .*  \? left", first), first


def test_a_module_that_optimises_by_itself_needs_no_loss():
    class Manual(Plain):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx))
            optimizer.step()

    progress = RunProgress(console=text_console())
    make_trainer(progress).fit(Manual(), Batches(8, 8), Batches(8))
    assert written(progress).startswith("epoch 1/1")


def test_without_a_terminal_evaluation_writes_nothing():
    progress = RunProgress(console=text_console())
    trainer = make_trainer(progress)
    trainer.validate(Plain(), DigitsDataModule(), verbose=False)
    trainer.test(Plain(), DigitsDataModule(), verbose=False)
    trainer.predict(Plain(), DigitsDataModule())
    assert written(progress) == ""


def test_without_a_terminal_long_stages_print_a_line_a_minute(monkeypatch):
    model = Clock(monkeypatch, lambda epoch: 25.0, seconds_of_validation=40.0)
    progress = RunProgress(console=text_console())
    make_trainer(progress).fit(model, Batches(*[8] * 7), Batches(*[8] * 4))
    lines = [re.sub(r"loss \S+  ", "", line) for line in written(progress).splitlines()]
    assert lines[:4] == [
        "epoch 1/1  batch 3/7  0 images/s  0:01:40 left",  # after 75 seconds
        "epoch 1/1  batch 6/7  0 images/s  0:00:25 left",
        "epoch 1/1  validating  batch 1/4",
        "epoch 1/1  validating  batch 3/4",
    ]
    assert len(lines) == 5  # with that of the epoch


@pytest.mark.parametrize("make_console", [text_console, bar_console])
def test_the_sanity_check_prints_nothing(make_console):
    progress = RunProgress(console=make_console())
    make_trainer(progress, num_sanity_val_steps=2).fit(Plain(), Batches(8), Batches(8, 8))
    assert "validating" not in written(progress)
    assert written(progress).count("\n") == 1  # the epoch, or where the bar is left


@pytest.mark.slow
def test_a_log_is_written_line_by_line_while_the_run_goes_on(tmp_path):
    options = "--trainer.max_epochs 1 --trainer.limit_train_batches 6 --trainer.accelerator cpu --overlay csv"
    every_batch = "--trainer.callbacks+ RunProgress --trainer.callbacks.line_seconds 0"
    command = [
        sys.executable,
        "-m",
        "resnet_lightning",
        "fit",
        "--config",
        "digits",
        *f"{options} {every_batch}".split(),
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as process:
        first = next(line for line in process.stdout if line.startswith("epoch 1/1  batch"))
        assert process.poll() is None
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert re.fullmatch(r"epoch 1/1  batch 1/6  loss \d\.\d{3}  [\d,]+ images/s  \d:\d\d:\d\d left", first.rstrip())
    shown = re.findall(
        r"^(epoch 1/1  (?:validating  )?batch \d+|epoch 1/1  loss|testing  batch \d+)", out, re.MULTILINE
    )
    trained = [f"epoch 1/1  batch {number}" for number in range(2, 6)]
    validated = [f"epoch 1/1  validating  batch {number}" for number in range(1, 4)]
    assert shown == [*trained, *validated, "epoch 1/1  loss", *(f"testing  batch {number}" for number in range(1, 7))]
    assert "\r" not in out + err


def test_what_a_module_prints_goes_to_the_same_console():
    class Talking(Plain):
        def on_train_start(self):
            self.print("hello")

    progress = RunProgress(console=text_console())
    make_trainer(progress).fit(Talking(), Batches(8), Batches(8))
    assert written(progress).splitlines()[0] == "hello"


# Progress on a terminal.


def frames(progress: RunProgress) -> list[str]:
    """What the terminal showed, one redrawn line after the other."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written(progress))
    return [frame.strip() for frame in re.split(r"[\r\n]+", plain) if frame.strip()]


def bar_length(frame: str) -> int:
    return len(re.findall(r"[━╸╺]", frame))


def test_on_a_terminal_a_bar_fills_up():
    progress = RunProgress(refresh_seconds=0, console=bar_console())
    model = Plain()
    make_trainer(progress, max_epochs=2).fit(model, Batches(8, 8, 8), Batches(8))
    lengths = [bar_length(frame) for frame in frames(progress) if "epoch" in frame]
    assert lengths == sorted(lengths)
    assert set(lengths) == {4, 8, 12, 16, 20, 24}  # a sixth of the 24 characters a step
    last = frames(progress)[-1]
    assert re.fullmatch(rf"epoch 2/2  loss {model.losses[-1]:.3f}  val acc .* images/s ━{{24}} 0:00:00 left", last), (
        last
    )


def test_on_a_narrow_terminal_the_text_stays_on_one_line():
    progress = RunProgress(refresh_seconds=0, console=bar_console(width=80))
    make_trainer(progress, max_epochs=2).fit(Plain(), Batches(8, 8, 8), Batches(8))
    assert written(progress).count("\n") == 1  # where the bar is left
    assert all(len(frame) <= 80 and bar_length(frame) == 0 for frame in frames(progress))
    assert re.fullmatch(r"epoch 2/2  loss .* \(best \d+\.\d\d%\).* 0:00:00 left", frames(progress)[-1])


def test_the_best_so_far_is_shown_beside_the_last_and_survives_a_resume(tmp_path):
    class Falling(Plain):
        def on_validation_epoch_end(self):
            self.log("val/acc", 0.5 - 0.1 * self.trainer.current_epoch)

    progress = RunProgress(console=text_console())
    trainer = make_trainer(progress, max_epochs=3)
    trainer.fit(Falling(), Batches(8), Batches(8))
    shown = re.findall(r"val acc (\S+) \(best (\S+)\)", written(progress))
    assert shown == [("50.00%", "50.00%"), ("40.00%", "50.00%"), ("30.00%", "50.00%")]
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    later = RunProgress(console=text_console())
    make_trainer(later, max_epochs=4).fit(Falling(), Batches(8), Batches(8), ckpt_path=tmp_path / "last.ckpt")
    assert "val acc 20.00% (best 50.00%)" in written(later)


def test_a_bar_counts_optimizer_steps():
    progress = RunProgress(refresh_seconds=0, console=bar_console())
    make_trainer(progress, max_epochs=2, accumulate_grad_batches=2).fit(Plain(), Batches(8, 8, 8), Batches(8))
    assert {bar_length(frame) for frame in frames(progress) if "epoch" in frame} - {0} == {6, 12, 18, 24}


@pytest.mark.parametrize(
    ("method", "word"), [("validate", "validating"), ("test", "testing"), ("predict", "predicting")]
)
def test_evaluation_has_a_bar_of_its_own(method, word):
    progress = RunProgress(refresh_seconds=0, console=bar_console())
    getattr(make_trainer(progress), method)(Plain(), DigitsDataModule(batch_size=40))
    lengths = [bar_length(frame) for frame in frames(progress) if word in frame]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 2
    assert lengths[-1] == 24


def test_the_bar_is_redrawn_seldom(monkeypatch):
    clock = Clock(monkeypatch, lambda epoch: 0.1)
    drawn = []
    refresh = Progress.refresh
    monkeypatch.setattr(Progress, "refresh", lambda bar: (drawn.append(clock.now), refresh(bar)))

    progress = RunProgress(refresh_seconds=1.0, console=bar_console())
    make_trainer(progress).fit(clock, Batches(*[2] * 50), Batches(1))
    # 5 seconds; besides, it is drawn where it appears, at the end of the epoch and at the end of the run.
    assert 4 <= len(drawn) <= 5 + 4
    during = [when for when in drawn if 0 < when < clock.now]
    assert all(later - earlier > 0.99 for earlier, later in pairwise(during))


@pytest.mark.parametrize(("refresh_seconds", "reads"), [(0, 20), (1000, 0)])
def test_the_loss_is_read_only_where_it_is_shown(monkeypatch, refresh_seconds, reads):
    monkeypatch.setattr(progress_bar, "time", SimpleNamespace(monotonic=lambda: 0.0))
    counted = []
    to_float = torch.Tensor.__float__
    monkeypatch.setattr(torch.Tensor, "__float__", lambda tensor: (counted.append(1), to_float(tensor))[1])
    progress = RunProgress(refresh_seconds=refresh_seconds, console=bar_console())
    make_trainer(progress).fit(Plain(), Batches(*[2] * 20), Batches(1))
    # Once more at the end of the epoch, and there the accuracy too, which after validation was compared with the best.
    assert len(counted) == reads + 3


@pytest.mark.parametrize("make_console", [text_console, bar_console])
def test_a_disabled_bar_shows_nothing(make_console):
    progress = RunProgress(refresh_seconds=0, console=make_console())
    progress.disable()
    trainer = make_trainer(progress)
    trainer.fit(Plain(), Batches(8, 8), Batches(8))
    trainer.test(Plain(), DigitsDataModule(), verbose=False)
    progress.print("hello")
    assert written(progress) == ""
    progress.enable()
    trainer.test(Plain(), DigitsDataModule(), verbose=False)
    assert ("testing" in written(progress)) == (make_console is bar_console)


@pytest.mark.parametrize(
    ("method", "step"),
    [("fit", "training_step"), ("fit", "validation_step"), ("test", "test_step"), ("predict", "predict_step")],
)
def test_an_exception_leaves_the_terminal_as_it_was(monkeypatch, method, step):
    def broken(self, batch, batch_idx):
        raise RuntimeError("a bug in the step")

    progress = RunProgress(refresh_seconds=0, console=bar_console())
    trainer = make_trainer(progress)
    before = sys.stdout, sys.stderr
    with monkeypatch.context() as patch:
        patch.setattr(Plain, step, broken)
        with pytest.raises(RuntimeError, match="a bug in the step"):
            getattr(trainer, method)(Plain(), datamodule=DigitsDataModule())
    assert (sys.stdout, sys.stderr) == before
    assert written(progress).count("\x1b[?25l") == written(progress).count("\x1b[?25h") == 1  # cursor hidden, shown
    # And the bar can be used again.
    trainer.predict(Plain(), DigitsDataModule())
    assert re.search("predicting ━{24} 3/3 batches", frames(progress)[-1])


# The record of a run.

CONFIG = "model:\n  lr: 0.1\n  backbone_args: {stem: cifar}\ntrainer:\n  max_epochs: 1\n  callbacks: [a, b]\n"


def test_the_config_is_written_into_the_folder(tmp_path):
    record = RunRecord("digits", CONFIG, tmp_path / "runs" / "one")
    make_trainer(record).fit(Plain(), Batches(8), Batches(8))
    assert (tmp_path / "runs" / "one" / "config.yaml").read_text() == CONFIG


def test_the_loggers_get_the_whole_nested_config(tmp_path):
    loggers = [CSVLogger(tmp_path / name, name="", version="") for name in ("a", "b")]
    make_trainer(RunRecord("digits", CONFIG, tmp_path), logger=loggers, log_every_n_steps=1).fit(
        Plain(), Batches(8), Batches(8)
    )
    for name in "a", "b":
        logged = yaml.safe_load((tmp_path / name / "hparams.yaml").read_text())
        assert logged.pop("versions")["torch"] == version("torch")
        assert logged.pop("git")["commit"] == subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip()
        assert logged == yaml.safe_load(CONFIG)


def test_the_checkpoint_holds_the_config(tmp_path):
    trainer = make_trainer(RunRecord("digits", CONFIG, tmp_path))
    data = DigitsDataModule()
    trainer.fit(Plain(), data)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    saved = torch.load(tmp_path / "run.ckpt", weights_only=True)
    assert saved["run"].pop("seconds") > 0  # of the training so far
    assert saved["run"] == {"name": "digits", "config": CONFIG, "data": data.state_dict(), "metrics": ""}


def test_testing_does_not_touch_the_folder(tmp_path):
    make_trainer(RunRecord("digits", CONFIG, tmp_path / "run")).test(Plain(), DigitsDataModule(), verbose=False)
    assert list(tmp_path.iterdir()) == []


# Predictions.


def table(path) -> tuple[list[str], list[dict[str, str]]]:
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    return list(reader.fieldnames), rows


def test_predictions_are_written_in_the_order_of_the_images(tmp_path):
    seed_everything(0, verbose=False)
    path = tmp_path / "new" / "predictions.csv"

    class Letters(DigitsDataModule):
        class_names = tuple("abcdefghij")

    model, data = Plain(), Letters(batch_size=100)
    make_trainer(PredictionWriter(path)).predict(model, data, return_predictions=False)
    header, rows = table(path)
    assert header == ["index", "label", "probability"]
    assert [row["index"] for row in rows] == [str(i) for i in range(355)]
    with torch.no_grad():
        images = data.normalize(data.split("test").images.permute(0, 3, 1, 2))
        probability, label = model.net(images).softmax(dim=1).max(dim=1)
    assert [row["label"] for row in rows] == ["abcdefghij"[k] for k in label]
    assert [float(row["probability"]) for row in rows] == pytest.approx(probability.tolist(), abs=2e-6)
    assert list(path.parent.iterdir()) == [path]  # no unfinished file beside it


def test_predictions_of_a_folder_name_the_files(tmp_path):
    rng = np.random.default_rng(0)
    for name in "b.png", "a.png", "sub/c.jpg":
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 12), dtype=np.uint8)).save(tmp_path / "images" / name)
    path = tmp_path / "predictions.csv"
    data = DigitsDataModule(batch_size=2, predict_folder=tmp_path / "images")
    make_trainer(PredictionWriter(path)).predict(Plain(), data, return_predictions=False)
    header, rows = table(path)
    assert header == ["file", "label", "probability"]
    assert [row["file"] for row in rows] == [
        str(tmp_path / "images" / name) for name in ("a.png", "b.png", "sub/c.jpg")
    ]


def test_predictions_that_fail_midway_leave_nothing(tmp_path):
    class Broken(Plain):
        def predict_step(self, batch, batch_idx):
            if batch_idx == 2:
                raise RuntimeError("a bug in the step")
            return super().predict_step(batch, batch_idx)

    with pytest.raises(RuntimeError, match="a bug in the step"):
        make_trainer(PredictionWriter(tmp_path / "predictions.csv")).predict(Broken(), DigitsDataModule(batch_size=100))
    assert list(tmp_path.iterdir()) == []


def test_predicting_again_writes_the_table_anew(tmp_path):
    path = tmp_path / "predictions.csv"
    trainer = make_trainer(PredictionWriter(path), limit_predict_batches=2)
    for _ in range(2):
        trainer.predict(Plain(), DigitsDataModule(batch_size=10), return_predictions=False)
    _, rows = table(path)
    assert [row["index"] for row in rows] == [str(i) for i in range(20)]
