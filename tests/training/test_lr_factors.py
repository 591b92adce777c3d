"""Factors of the learning rate by parameter name."""

import math

import pytest
import torch
from lightning import Callback, Trainer, seed_everything
from own_parts import Net
from torch import nn

from resnet_lightning import DigitsDataModule, ImageClassifier, InputError
from resnet_lightning.training import tuner
from small_trainings import make_trainer

FACTORS = {"output.*": 10, "begin*": 0.1, "*.bias": 0.5, "first.*": 0}


def make_model(factors=FACTORS, **options) -> ImageClassifier:
    return ImageClassifier(Net(10, 1), lr=0.02, lr_factors=factors, **options)


class Rates(Callback):
    """Notes the rate of each parameter in every step."""

    def __init__(self) -> None:
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        names = {parameter: name for name, parameter in pl_module.backbone.named_parameters()}
        self.seen.append({names[p]: group["lr"] for group in optimizer.param_groups for p in group["params"]})
        decays = {names[p]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
        assert decays == {name: 0.1 if parameter.ndim > 1 else 0 for parameter, name in names.items() if name in decays}


SCHEDULES = [
    (None, {}),
    ("OneCycleLR", {}),
    ("OneCycleLR", {"max_lr": 0.02}),
    ("CyclicLR", {"base_lr": 0.001, "max_lr": 0.02, "step_size_up": 3}),
    ("CosineAnnealingLR", {}),
    ("MultiStepLR", {"milestones": [0.5]}),
    ("LinearLR", {}),
    ("PolynomialLR", {}),
    ("ReduceLROnPlateau", {"patience": 0, "threshold": 0.999, "min_lr": 0.0001}),
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")  # what is frozen is, on purpose
@pytest.mark.parametrize(("scheduler", "options"), SCHEDULES, ids=str)
def test_the_rates_keep_their_ratio_in_every_schedule_also_when_resumed(tmp_path, scheduler, options):
    def run(epochs, factors=FACTORS, ckpt_path=None):
        seed_everything(0, verbose=False)
        rates = Rates()
        arguments = {"scheduler": scheduler, "scheduler_args": options, "optimizer_args": {"weight_decay": 0.1}}
        model = make_model(factors, **arguments)
        short = {"max_epochs": 4, "limit_train_batches": 2, "limit_val_batches": 1}
        trainer = make_trainer(callbacks=[rates, StopAfter(epochs)], **short)
        trainer.fit(model, DigitsDataModule(batch_size=16), ckpt_path=ckpt_path, weights_only=True)
        return trainer, model, rates.seen

    _, whole, seen = run(4)
    _, _, plain = run(4, None)
    for with_factors, without in zip(seen, plain, strict=True):
        rate = without["begin.weight"]
        expected = {
            "begin.weight": 0.1,
            "begin.bias": 0.1,  # as specific as *.bias, and listed before it
            "begin_norm.weight": 0.1,
            "begin_norm.bias": 0.1,
            "second.0.weight": 1,
            "second.0.bias": 0.5,
            "second.1.weight": 1,
            "second.1.bias": 0.5,
            "output.weight": 10,
            "output.bias": 10,
        }
        assert with_factors == pytest.approx({name: factor * rate for name, factor in expected.items()})

    trainer, _, first = run(2)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    _, resumed, second = run(4, ckpt_path=tmp_path / "half.ckpt")
    assert [*first, *second] == seen
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


class StopAfter(Callback):
    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        if trainer.current_epoch + 1 == self.epochs:
            trainer.should_stop = True


@pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")  # what is frozen is, on purpose
def test_zero_freezes_parameters_and_statistics():
    model = make_model()
    before = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    make_trainer(max_epochs=1, limit_train_batches=2, limit_val_batches=1).fit(model, DigitsDataModule(batch_size=16))
    changed = {name for name, tensor in model.backbone.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.partition(".")[0] for name in changed} == {"begin", "begin_norm", "second", "output"}
    assert not any(p.requires_grad for p in model.backbone.first.parameters())


def test_the_most_specific_pattern_counts_in_any_order():
    for factors in ({"*": 0.1, "output.*": 2}, {"output.*": 2, "*": 0.1}):
        groups = make_model(factors)._parameter_groups()
        found = {
            group["lr_factor"]: sum(p.numel() for p in group["params"]) for group in groups if "weight_decay" in group
        }
        assert found.keys() == {0.1, 2}
        assert found[2] == 10


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        (
            {"outptu.*": 10},
            "model.lr_factors: 'outptu.*' matches no parameter of the backbone; did you mean 'output.*'",
        ),
        ({"output": 10}, "'output' matches no parameter of the backbone; did you mean 'output.*'"),
        ({"output.*": -1}, "model.lr_factors: 'output.*' is -1; give a finite number of at least 0"),
        ({"output.*": math.nan}, "is nan; give a finite number"),
        ({"output.*": "high"}, "is 'high'; give a finite number"),
        ({"*": 0}, "model.lr_factors freezes every parameter of the backbone; leave some to train"),
    ],
    ids=str,
)
def test_a_wrong_factor_is_named_in_one_line(factors, words):
    with pytest.raises(InputError) as error:
        make_model(factors)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_the_learning_rate_finder_applies_the_factors(tmp_path, monkeypatch):
    """A network of which everything but the head stands still learns nothing else, whatever the rate is."""
    seen = []

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            if len(self.param_groups) > 1:
                seen.append([group["lr"] for group in self.param_groups])
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "SGD", Watched)
    model = make_model({"output.*": 10, "begin*": 0.5})
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = Trainer(**options, max_steps=tuner.STEPS, max_epochs=-1, enable_model_summary=False)
    tuner.find_lr(trainer, model, DigitsDataModule(batch_size=16), tmp_path / "rates.png")
    factors = [group["lr_factor"] for group in model._parameter_groups()]
    assert set(factors) == {1.0, 10.0, 0.5}
    assert len(seen) > 50
    for rates in seen:
        assert rates == pytest.approx([rates[factors.index(1.0)] * factor for factor in factors])
    assert seen[-1][0] > 100 * seen[0][0]


def test_without_factors_there_are_the_two_groups_of_before():
    model = ImageClassifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    groups = model._parameter_groups()
    assert [set(group) for group in groups] == [{"params"}, {"params", "weight_decay"}]
