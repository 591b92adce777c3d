"""A training whose loss is no longer finite ends there, and leaves nothing that could be taken for a result."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.nn import functional as F

from resnet_lightning import DigitsDataModule
from resnet_lightning.cli.main import main
from resnet_lightning.errors import InputError
from resnet_lightning.runs.checkpoint_io import WholeCheckpoints
from resnet_lightning.training.callbacks import BestCheckpoint, FiniteLoss
from runs_alike import DDP, DIGITS, SMALL

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")

FIT = ["fit", "--config", DIGITS, *SMALL, "--data.batch_size", "60"]
# Step 24 is the fourth of the second epoch; from there on the learning rate is 1e29.
ASTRAY = ["--model.scheduler", "MultiStepLR", "--model.scheduler_args", "{milestones: [24], gamma: 1.0e+30}"]


def check_line(line: str) -> None:
    found = re.fullmatch(
        r"error: the loss is nan at step 25 \(epoch 1, batch (\d+)\): learning rate 1e\+29, gradient norm nan, "
        r"images ([\d, ]+), \.\.\. \(60 in all\); a smaller --model.lr may help",
        line,
    )
    assert found, line
    data = DigitsDataModule(batch_size=60)
    assert [int(number) for number in found[2].split(", ")] == data.training_indices(1, int(found[1]))[:8]


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


# Weights.


class Spoil(Callback):
    """Sets a weight to NaN, or to infinity, in one step, as the optimizer step of a step with a finite loss does.

    Args:
        step: the step.
        value: the value.
    """

    def __init__(self, step: int, value: float = float("nan")) -> None:
        self.step = step
        self.value = value

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            with torch.no_grad():
                next(pl_module.parameters()).view(-1)[3] = self.value


STEPS = 3  # an epoch
SHORT = [*FIT, "--trainer.limit_train_batches", str(STEPS), "--trainer.max_epochs", "2", "--resume", "run"]


def spoil(**arguments):
    entry = {"class_path": f"{__name__}.Spoil", "init_args": arguments}
    Path("spoil.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [entry]}}))
    return ["--config", "spoil.yaml"]


def saved_steps():
    found = {}
    for path in Path("run/checkpoints").glob("*.ckpt"):
        saved = torch.load(path, weights_only=True)
        assert all(value.isfinite().all() for value in saved["state_dict"].values()), path
        found[path.stem] = saved["global_step"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("monitor", ["val/loss", "val/acc"])
@pytest.mark.parametrize(("step", "value"), [(STEPS, "nan"), (2 * STEPS, "nan"), (2 * STEPS, "inf")])
def test_weights_that_are_not_finite_are_never_saved(step, value, monitor, capsys):
    more = [*spoil(step=step, value=float(value)), "--checkpoint.monitor", monitor]
    assert main([*SHORT, *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"the weights are NaN or infinite after step {step}: learning rate " in line
    assert line.endswith("a smaller --model.lr may help")
    state = json.loads(Path("run/run.json").read_text())
    assert state["state"] == "failed"
    assert state["reason"] in line
    assert all(saved < step for saved in saved_steps().values())
    if step > STEPS:
        assert saved_steps() == {"last": STEPS, "best": STEPS}
        assert main(SHORT) == 0  # the same command without what spoiled it
        assert saved_steps()["last"] == 2 * STEPS


def test_a_run_resumes_from_its_newest_finite_checkpoint(capsys):
    """Older versions have saved such weights."""
    assert main(SHORT) == 0
    last = Path("run/checkpoints/last.ckpt")
    saved = torch.load(last, weights_only=True)
    next(iter(saved["state_dict"].values())).view(-1)[0] = float("nan")
    WholeCheckpoints().save_checkpoint(saved, last)
    capsys.readouterr()
    assert main(SHORT) == 0
    printed = "".join(capsys.readouterr())
    assert "run/checkpoints/last.ckpt has NaN in its weights: renamed to last.ckpt.damaged" in printed
    assert f"Resumes from step {STEPS} of run/checkpoints/previous.ckpt" in printed
    assert saved_steps()["last"] == 2 * STEPS


# Several processes.


class Counted(Callback):
    """Counts the collectives of each step inside an epoch, without those of DDP itself, which are not Python's."""

    def on_train_start(self, trainer, pl_module) -> None:
        self.calls, self.steps = [], []
        for name in "all_reduce", "all_gather", "all_gather_object", "barrier", "broadcast":
            setattr(torch.distributed, name, self._counting(name, getattr(torch.distributed, name)))

    def _counting(self, name, function):
        def count(*args, **options):
            self.calls.append((name, bool(options.get("async_op"))))
            return function(*args, **options)

        return count

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if batch_idx > 1:  # the first two steps of an epoch follow its beginning
            self.steps.append(self.calls[:])
        self.calls.clear()

    def on_train_end(self, trainer, pl_module) -> None:
        Path(f"counted_{trainer.global_rank}").write_text(json.dumps(self.steps))


@pytest.mark.slow
def test_a_step_of_several_processes_has_one_collective_that_nothing_waits_for(warm):
    Path("more.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [{"class_path": f"{__name__}.Counted"}]}}))
    warm.run_together(*FIT, *DDP, "--config", "more.yaml", "--trainer.max_epochs", "1", "--data.batch_size", "30")
    for rank in range(2):
        steps = json.loads(Path(f"counted_{rank}").read_text())
        assert len(steps) > 10
        # Lightning itself broadcasts whether its first process has received SIGTERM.
        assert all(calls == [["all_reduce", True], ["broadcast", False]] for calls in steps), steps
