"""Any LightningModule is trained by its dotted path: those of Lightning's own examples, and classes in a file."""

import signal
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel

from commands import error_line
from resnet_lightning import InputError, from_config
from resnet_lightning.cli.main import main

DEMOS = "lightning.pytorch.demos.boring_classes"
SHORT = ["--trainer.accelerator", "cpu", "--trainer.max_epochs", "2", "--trainer.enable_progress_bar", "false"]

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")


NET = """
import random

import torch
from lightning import LightningDataModule, LightningModule
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Points(Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, index):
        noise = torch.randn(4) + random.random()  # from the generators of the process
        return noise + index % 2, index % 2


class Data(LightningDataModule):
    def __init__(self, num_workers: int = 0) -> None:
        super().__init__()
        self.num_workers = num_workers

    def train_dataloader(self):
        return DataLoader(Points(), batch_size=4, shuffle=True, num_workers=self.num_workers)

    def val_dataloader(self):
        return DataLoader(Points(), batch_size=4, num_workers=self.num_workers)

    test_dataloader = predict_dataloader = val_dataloader


class Net(LightningModule):
    def __init__(self, hidden: int = 8, num_classes: int = 2) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, hidden), nn.Dropout(0.5), nn.Linear(hidden, num_classes))

    def step(self, batch, name):
        loss = nn.functional.cross_entropy(self.layers(batch[0]), batch[1])
        self.log(name, loss)
        return loss

    def training_step(self, batch, batch_idx):
        return self.step(batch, "train_loss")

    def validation_step(self, batch, batch_idx):
        self.step(batch, "val_loss")

    def test_step(self, batch, batch_idx):
        self.step(batch, "test_loss")
        return self.layers(batch[0])

    def predict_step(self, batch, batch_idx):
        return self.layers(batch[0]).softmax(1)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)
"""

STOP = """
import os
import signal

from lightning import Callback


class StopAt(Callback):
    def __init__(self, epoch: int, batch: int) -> None:
        self.at = epoch, batch

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.at:
            os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.fixture
def name(request):
    """The name of a module of the user's own, in the folder ``configs`` beside its config, new for each test."""
    name = f"own_{abs(hash(request.node.name))}"
    Path("configs").mkdir()
    Path(f"configs/{name}.py").write_text(NET + STOP)
    Path("configs/own.yaml").write_text(
        f"model: {{class_path: {name}.Net, init_args: {{hidden: 6}}}}\ndata: {{class_path: {name}.Data}}\n"
    )
    return name


def fit(*arguments: str) -> int:
    return main(["fit", *arguments, *SHORT])


def weights(folder: str) -> dict[str, torch.Tensor]:
    return torch.load(f"{folder}/checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("model", ["BoringModel", "ManualOptimBoringModel"])
@pytest.mark.parametrize(
    "data",
    [[], pytest.param(["--data", f"{DEMOS}.BoringDataModule"], marks=pytest.mark.slow)],
    ids=["own-data", "data-module"],
)
def test_the_examples_of_lightning_are_trained_and_tested(model, data, capsys):
    Path("demo.yaml").write_text("trainer: {num_sanity_val_steps: 0}")
    assert fit("--config", "demo.yaml", "--model", f"{DEMOS}.{model}", *data, "--resume", "run") == 0
    checkpoint = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["state_dict"].keys() == BoringModel().state_dict().keys()
    output = capsys.readouterr().out
    assert f"{model} logs neither val/acc nor val/loss" in output
    assert "the test_step returns no logits" in output
    for command in "validate", "test":
        assert main([command, "--ckpt_path", "run/checkpoints/last.ckpt"]) == 0
    assert main(["runs", "."]) == 0
    assert "finished" in capsys.readouterr().out
    assert main(["report", "run"]) == 0


def test_a_module_without_validation_and_test_is_trained(capsys):
    assert fit("--model", f"{DEMOS}.DemoModel", "--data", f"{DEMOS}.BoringDataModule") == 0
    output = capsys.readouterr().out
    assert "DemoModel has no test_step or no test data" in output
    assert "train longer" in output
    assert "test it again" not in output


@pytest.mark.slow
def test_parts_that_a_command_adds_are_not_added_again_when_it_resumes(name, capsys):
    added = ["--overlay", "ema", "--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val_loss"]
    added += ["--trainer.callbacks.mode=min", f"--trainer.callbacks+={name}.StopAt"]
    added += ["--trainer.callbacks.epoch=1", "--trainer.callbacks.batch=2"]
    start = ["--model", f"{name}.Net", "--data", f"{name}.Data", *added, "--resume", "run"]
    sys.path.insert(0, "configs")
    try:
        assert fit(*start) == 143
        assert fit(*start) == 0
    finally:
        sys.path.remove("configs")
    output = capsys.readouterr().out
    assert "Resumes from step 9" in output
    assert "trainer.callbacks:" not in output  # would be a change


@pytest.mark.slow
@pytest.mark.parametrize("at", [(0, 2), (1, 3)], ids=str)
@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_that_was_stopped_goes_on_bitwise_with_any_loader(name, at, workers):
    options = ["--config", "configs/own.yaml", "--data.num_workers", str(workers)]
    assert fit(*options, "--resume", "whole") == 0
    stop = [f"--trainer.callbacks={name}.StopAt"]
    stop += [f"--trainer.callbacks.epoch={at[0]}", f"--trainer.callbacks.batch={at[1]}"]
    assert fit(*options, *stop, "--resume", "stopped") == 143
    assert fit(*options, "--resume", "stopped") == 0
    whole, stopped = weights("whole"), weights("stopped")
    assert all(torch.equal(whole[key], stopped[key]) for key in whole)


def test_a_class_beside_the_config_is_found_again_from_the_checkpoint(name, capsys):
    before = list(sys.path)
    assert fit("--config", "configs/own.yaml", "--resume", "run") == 0
    assert "only val_loss" in capsys.readouterr().out
    assert main(["test", "--ckpt_path", "run/checkpoints/last.ckpt"]) == 0
    assert main(["predict", "--ckpt_path", "run/checkpoints/last.ckpt"]) == 0
    (file,) = Path("runs").rglob("predictions.csv")
    assert file.read_text().startswith("index,label,probability\n0,")
    assert len(file.read_text().splitlines()) == 25
    assert sys.path == before


def test_the_options_of_the_classifier_in_a_config_are_not_those_of_another_module(name, capsys):
    Path("configs/flat.yaml").write_text("model: {backbone: resnet20, optimizer_args: {momentum: 0.9}}\n")
    own = ["--model", f"{name}.Net", "--data", f"{name}.Data"]
    assert fit("--config", "configs/flat.yaml", *own, "--resume", "run") == 0
    assert "the options of model in configs/flat.yaml are not those of Net: left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "path", "reason"),
    [
        ("import torhc\n", "Net", "No module named 'torhc' (broken.py, line 1)"),
        ("\nx = (\n", "Net", "'(' was never closed (broken.py, line 2)"),
        ("import torch\n\ntorch.zeros(2).view(3)\n", "Net", "size 2 (broken.py, line 3)"),
        ("class Net: pass\n", "Nett", "'broken' has no 'Nett'; did you mean 'Net'?"),
        ("class Net: pass\n", "Net", "model 'broken.Net' is a plain class, not a LightningModule"),
        ("def net(): pass\n", "net", "model 'broken.net' is a function, not a LightningModule"),
    ],
    ids=["import", "syntax", "exception", "attribute", "class", "function"],
)
def test_an_import_that_fails_is_reported_with_its_reason(code, path, reason, capsys):
    Path("broken.py").write_text(code)
    sys.modules.pop("broken", None)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        assert reason in error_line(capsys, "fit", "--model", f"broken.{path}")
        if path == "Net" and "class" not in code:
            callback = error_line(capsys, "fit", "--config", "digits", "--trainer.callbacks+=broken.Net")
            assert callback.endswith(reason) or reason in callback
    finally:
        sys.dont_write_bytecode = before


def test_from_config_builds_and_runs_nothing(name):
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)
    model, data, trainer = from_config(
        "configs/own.yaml",
        {"model.hidden": 3, "trainer.max_epochs": 1, "trainer.log_every_n_steps": 1, "trainer.accelerator": "cpu"},
    )
    assert model.layers[0].out_features == 3
    assert type(data).__name__ == "Data"
    assert not Path("runs").exists()
    trainer.fit(model, data)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)) == handlers
    (folder,) = Path("runs/own").iterdir()
    assert '"state": "finished"' in (folder / "run.json").read_text()
    assert (folder / "checkpoints/last.ckpt").is_file()
    sys.path.remove(str(Path("configs").absolute()))


def test_from_config_raises_what_the_command_line_prints(name):
    with pytest.raises(InputError, match="unknown option 'hiden'; did you mean 'hidden'"):
        from_config("configs/own.yaml", {"model.hiden": 3})
    with pytest.raises(InputError, match="resume is no override"):
        from_config("configs/own.yaml", {"resume": "run"})
