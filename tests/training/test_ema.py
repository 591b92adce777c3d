"""An average of the weights in place of the weights."""

import re

import pytest
import torch

from repository import ROOT
from resnet_lightning.cli.main import main
from runs_alike import DIGITS, SMALL, working_in

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")

FIT = ["fit", "--config", DIGITS, *SMALL, "--trainer.limit_train_batches", "4"]
EMA = ["--config", str(ROOT / "configs" / "overlays" / "ema.yaml")]


def train(name: str, *options: str) -> dict[str, dict]:
    """The last and the best checkpoint of a short run."""
    assert main([*FIT, "--trainer.max_epochs", "3", *options, "--resume", name]) == 0
    return {kind: torch.load(f"{name}/checkpoints/{kind}.ckpt", weights_only=True) for kind in ("last", "best")}


def weights(checkpoint: dict, key: str = "state_dict") -> torch.Tensor:
    return torch.cat([v.flatten() for k, v in checkpoint[key].items() if k.endswith("weight")])


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> dict[str, dict]:
    """The checkpoints of the training without an average."""
    with working_in(tmp_path_factory.mktemp("plain")):
        return train("plain")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MovingAverage", "EMAWeightAveraging"])
def test_the_checkpoint_holds_the_average_as_its_weights(plain, name):
    averaged = train("ema", "--trainer.callbacks+", name, "--trainer.callbacks.decay", "0.5")["last"]
    # The training itself is the same.
    assert torch.equal(weights(averaged, "current_model_state"), weights(plain["last"]))
    assert not torch.equal(weights(averaged), weights(plain["last"]))


def test_decay_0_is_the_weights_themselves(plain):
    averaged = train("ema", "--trainer.callbacks+", "MovingAverage", "--trainer.callbacks.decay", "0.0")
    for kind in plain:
        for key, value in plain[kind]["state_dict"].items():
            torch.testing.assert_close(averaged[kind]["state_dict"][key], value)


def test_the_average_is_tested(capsys):
    train("ema", *EMA, "--trainer.callbacks.decay", "0.9")
    printed = capsys.readouterr().out
    assert main(["test", "--ckpt_path", "ema/checkpoints/best.ckpt"]) == 0
    again = capsys.readouterr().out
    (accuracy,) = [line.split("│")[2].strip() for line in printed.splitlines() if "test accuracy" in line]
    (measured,) = [float(line.split("│")[2]) for line in again.splitlines() if "test/acc " in line]
    assert re.fullmatch(r"[\d.]+% \[[\d.]+, [\d.]+\], \d+ images", accuracy)
    assert float(accuracy.split("%")[0]) == pytest.approx(100 * measured, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["update_starting_at_step", "update_starting_at_epoch"])
def test_an_average_that_never_began_leaves_the_trained_weights(plain, option):
    never = ["--trainer.callbacks+", "MovingAverage", f"--trainer.callbacks.{option}", "1000"]
    if option.endswith("epoch"):
        never += ["--trainer.callbacks.update_every_n_steps", "0"]
    averaged = train("ema", *never)
    for kind in plain:
        for key, value in plain[kind]["state_dict"].items():
            assert torch.equal(averaged[kind]["state_dict"][key], value), key
