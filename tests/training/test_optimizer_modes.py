"""Optimizers with train and eval modes: which weights evaluate, are saved and are trained on."""

from importlib.util import find_spec

import pytest
import torch
from lightning import Callback, Trainer, seed_everything
from own_parts import Averaged
from torch import nn

from resnet_lightning import DigitsDataModule, ImageClassifier
from resnet_lightning.training.callbacks import ExactResume

OPTIMIZERS = [
    "own_parts.Averaged",
    pytest.param(
        "schedulefree.AdamWScheduleFree",
        marks=pytest.mark.skipif(find_spec("schedulefree") is None, reason="pip install schedulefree"),
    ),
]


class Modes(Callback):
    """Notes the mode of the optimizer and a weight, where things happen."""

    def __init__(self) -> None:
        self.seen = []

    def _note(self, where, trainer, pl_module) -> None:
        if trainer.optimizers and not trainer.sanity_checking:
            mode = trainer.optimizers[0].param_groups[0]["train_mode"]
            self.seen.append((where, mode, pl_module.backbone[1].weight.detach().clone()))

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        self._note("step", trainer, pl_module)

    def on_validation_batch_start(self, trainer, pl_module, *_) -> None:
        self._note("validation", trainer, pl_module)

    def on_test_batch_start(self, trainer, pl_module, *_) -> None:
        self._note("test", trainer, pl_module)


class SaveAt(Callback):
    """Saves a checkpoint in the middle of an epoch."""

    def __init__(self, path, step) -> None:
        self.path, self.step = path, step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def run(optimizer, *callbacks, ckpt_path=None, **options):
    seed_everything(0, verbose=False)
    model = ImageClassifier(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), lr=0.02, optimizer=optimizer, scheduler=None
    )
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        **{**quiet, "enable_model_summary": False, "accelerator": "cpu", "max_epochs": 2, **options},
        limit_train_batches=4,
        limit_val_batches=1,
        callbacks=[*callbacks, ExactResume()],
    )
    trainer.fit(model, DigitsDataModule(batch_size=16), ckpt_path=ckpt_path, weights_only=True)
    return trainer, model


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_are_in_train_mode_and_evaluations_in_eval_mode(optimizer):
    modes = Modes()
    trainer, model = run(optimizer, modes)
    trainer.test(model, DigitsDataModule(), verbose=False)
    assert [(where, mode) for where, mode, _ in modes.seen if where == "step"] == [("step", True)] * 8
    evaluated = {(where, mode) for where, mode, _ in modes.seen if where != "step"}
    assert evaluated == {("validation", False), ("test", False)}
    assert not trainer.optimizers[0].param_groups[0]["train_mode"]


def test_a_validation_does_not_change_the_training():
    seen = []
    for interval in (1, 4):
        modes = Modes()
        run("own_parts.Averaged", modes, val_check_interval=interval)
        seen.append([weight for where, _, weight in modes.seen if where == "step"])
    assert all(torch.equal(often, seldom) for often, seldom in zip(*seen, strict=True))


def test_a_checkpoint_has_the_averaged_weights_and_saving_does_not_change_the_training(tmp_path):
    modes = Modes()
    _, whole = run("own_parts.Averaged", modes)
    _, saved = run("own_parts.Averaged", SaveAt(tmp_path / "middle.ckpt", 2))
    assert torch.equal(whole.backbone[1].weight, saved.backbone[1].weight)
    # By hand: the average of the weights after each of two steps, which are those before the second and third.
    before = [weight for where, _, weight in modes.seen if where == "step"]
    loaded = torch.load(tmp_path / "middle.ckpt", weights_only=True)
    expected = 0.3 * before[2] + 0.7 * (before[1] + before[2]) / 2
    torch.testing.assert_close(loaded["state_dict"]["backbone.1.weight"], expected)
    assert torch.equal(loaded["training_weights"][0], before[2])


@pytest.mark.filterwarnings("ignore:.*your dataloader is not resumable")  # it is
@pytest.mark.parametrize("step", [3, 4, 6])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, optimizer, step):
    _, whole = run(optimizer)
    run(optimizer, SaveAt(tmp_path / "run.ckpt", step))
    trainer, resumed = run(optimizer, ckpt_path=tmp_path / "run.ckpt")
    assert trainer.global_step == 8
    assert torch.equal(resumed.backbone[1].weight, whole.backbone[1].weight)
    assert trainer.optimizers[0].param_groups[0]["k"] == 8


def test_the_optimizer_of_these_tests_needs_its_modes():
    weight = nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    with pytest.raises(RuntimeError, match="eval mode"):
        Averaged([weight]).step()
