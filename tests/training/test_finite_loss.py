"""A training whose loss is no longer finite ends there, and leaves nothing that could be taken for a result."""

import re
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import nn
from torch.nn import functional as F

from resnet_lightning import DigitsDataModule
from resnet_lightning.cli.main import main
from resnet_lightning.errors import InputError
from resnet_lightning.training.callbacks import BestCheckpoint, FiniteLoss
from runs_alike import DDP, DIGITS, SMALL

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")

FIT = ["fit", "--config", DIGITS, *SMALL, "--data.batch_size", "60"]
# Step 24 is the fourth of the second epoch; from there on the learning rate is 1e29.
ASTRAY = ["--model.scheduler", "MultiStepLR", "--model.scheduler_args", "{milestones: [24], gamma: 1.0e+30}"]


def check_line(line: str) -> None:
    found = re.fullmatch(
        r"error: the loss is nan at step 25 \(epoch 1, batch (\d+)\): learning rate 1e\+29, gradient norm nan, "
        r"images ([\d, ]+); a smaller --model.lr may help",
        line,
    )
    assert found, line
    data = DigitsDataModule(batch_size=60)
    assert [int(number) for number in found[2].split(", ")] == data.training_indices(1, int(found[1]))


@pytest.mark.parametrize("more", [[], ["--trainer.accumulate_grad_batches", "2"]], ids=["every-batch", "accumulate"])
def test_a_loss_that_is_not_finite_ends_the_run_before_it_reaches_the_weights(capsys, more):
    milestones = ASTRAY if not more else [*ASTRAY[:3], "{milestones: [12], gamma: 1.0e+30}"]
    assert main([*FIT, *milestones, *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    if not more:
        check_line(line)
    checkpoints = list(Path("runs").rglob("*.ckpt"))
    assert {path.name for path in checkpoints} >= {"best.ckpt", "last.ckpt"}
    for path in checkpoints:
        saved = torch.load(path, weights_only=True)
        assert saved["epoch"] <= 1
        assert all(value.isfinite().all() for value in saved["state_dict"].values())


@pytest.mark.slow
def test_two_processes_end_together(warm):
    """Each of them may be the one whose loss it is; neither waits for the other."""
    printed = warm.run_together(*FIT, *ASTRAY, "--data.batch_size", "30", *DDP, code=2)
    assert "error: the loss is nan at step 25 (epoch 1, batch 4): learning rate 1e+29" in printed


class Scored(LightningModule):
    """A linear net whose validation accuracies are given."""

    def __init__(self, scores: list[float], losses: float = 1.0) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        self.scores = scores
        self.factor = losses

    def training_step(self, batch, batch_idx):
        return self.factor * F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val/acc", self.scores[self.current_epoch])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("scores", "best"),
    [([float("nan"), 0.2, 0.3], 2), ([0.2, float("nan"), 0.1], 0), ([0.1, float("inf"), 0.2], 2)],
)
def test_what_is_not_finite_is_never_the_best(tmp_path, scores, best):
    callback = BestCheckpoint(tmp_path / "best", monitor="val/acc", mode="max", filename="{epoch}")
    quiet = {"logger": False, "enable_model_summary": False, "enable_progress_bar": False, "num_sanity_val_steps": 0}
    trainer = Trainer(max_epochs=3, accelerator="cpu", callbacks=[callback], limit_train_batches=1, **quiet)
    trainer.fit(Scored(scores), DigitsDataModule())
    assert callback.best_model_path.endswith(f"epoch={best}.ckpt")
    assert [path.name for path in (tmp_path / "best").iterdir()] == [f"epoch={best}.ckpt"]


def test_any_module_and_an_infinite_loss(tmp_path):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", max_epochs=1, callbacks=[FiniteLoss()], enable_progress_bar=False, **quiet)
    with pytest.raises(InputError, match=r"the loss is inf at step 0 \(epoch 0, batch 0\): learning rate 0.1"):
        trainer.fit(Scored([0.0], losses=float("inf")), DigitsDataModule())
