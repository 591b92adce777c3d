"""An average of the weights in place of the weights."""

import pytest
import torch

from repository import ROOT
from resnet_lightning.cli.main import main

DIGITS = ["fit", "--config", str(ROOT / "configs" / "digits.yaml"), "--trainer.limit_train_batches", "4"]
SMALL = ["--model.backbone", "resnet_lightning.models.cifar.cifar_resnet", "--model.backbone_args", "{depth: 8}"]
EMA = ["--config", str(ROOT / "configs" / "overlays" / "ema.yaml")]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(name: str, *options: str) -> dict[str, dict]:
    """The last and the best checkpoint of a short run."""
    assert main([*DIGITS, *SMALL, "--trainer.max_epochs", "3", *options, "--resume", name]) == 0
    return {kind: torch.load(f"{name}/checkpoints/{kind}.ckpt", weights_only=True) for kind in ("last", "best")}


def weights(checkpoint: dict, key: str = "state_dict") -> torch.Tensor:
    return torch.cat([v.flatten() for k, v in checkpoint[key].items() if k.endswith("weight")])


@pytest.mark.parametrize("name", ["MovingAverage", "EMAWeightAveraging"])
def test_the_average_is_what_the_checkpoint_holds_as_its_weights(name):
    plain = train("plain")["last"]
    averaged = train("ema", "--trainer.callbacks+", name, "--trainer.callbacks.decay", "0.5")["last"]
    # The training itself is the same.
    assert torch.equal(weights(averaged, "current_model_state"), weights(plain))
    assert not torch.equal(weights(averaged), weights(plain))


def test_decay_0_is_the_weights_themselves():
    plain = train("plain")
    averaged = train("ema", "--trainer.callbacks+", "MovingAverage", "--trainer.callbacks.decay", "0.0")
    for kind in plain:
        for key, value in plain[kind]["state_dict"].items():
            torch.testing.assert_close(averaged[kind]["state_dict"][key], value)


def test_the_average_is_what_is_tested(capsys):
    train("ema", *EMA, "--trainer.callbacks.decay", "0.9")
    printed = capsys.readouterr().out
    assert main(["test", "--ckpt_path", "ema/checkpoints/best.ckpt"]) == 0
    again = capsys.readouterr().out
    (accuracy,) = [line.split("│")[2].strip() for line in printed.splitlines() if "test accuracy" in line]
    (measured,) = [float(line.split("│")[2]) for line in again.splitlines() if "test/acc " in line]
    assert float(accuracy.rstrip("%")) == pytest.approx(100 * measured, abs=0.01)


@pytest.mark.parametrize("option", ["update_starting_at_step", "update_starting_at_epoch"])
def test_an_average_that_never_began_leaves_the_trained_weights(option):
    never = ["--trainer.callbacks+", "MovingAverage", f"--trainer.callbacks.{option}", "1000"]
    if option.endswith("epoch"):
        never += ["--trainer.callbacks.update_every_n_steps", "0"]
    plain, averaged = train("plain"), train("ema", *never)
    for kind in plain:
        for key, value in plain[kind]["state_dict"].items():
            assert torch.equal(averaged[kind]["state_dict"][key], value), key
