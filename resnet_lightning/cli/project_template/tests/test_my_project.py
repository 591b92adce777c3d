"""The parts compute what they should, and each config trains."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from my_project.blocks import SqueezeExcitation, se_resnet
from my_project.data import Parity
from my_project.losses import FocalLoss
from my_project.metrics import Confidence
from resnet_lightning.cli.main import main

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def test_the_gate_scales_whole_channels():
    x = torch.rand(2, 8, 5, 5) + 1
    factors = SqueezeExcitation(8)(x) / x
    assert torch.allclose(factors, factors[:, :, :1, :1].expand_as(factors))
    assert ((factors > 0) & (factors < 1)).all()


def test_the_network_has_a_gate_in_each_block():
    network = se_resnet(num_classes=2, in_chans=1, depth=14)
    assert sum(isinstance(module, SqueezeExcitation) for module in network.modules()) == 6
    assert network(torch.rand(3, 1, 8, 8)).shape == (3, 2)


def test_the_focal_loss_with_gamma_zero_is_cross_entropy():
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    expected = F.cross_entropy(logits, labels, reduction="none")
    assert torch.allclose(FocalLoss(gamma=0.0)(logits, labels), expected)
    assert (FocalLoss(gamma=2.0)(logits, labels) < expected).all()


def test_confidence_is_the_mean_over_all_images():
    confidence = Confidence()
    confidence.update(torch.tensor([[0.9, 0.1], [0.3, 0.7]]), torch.tensor([0, 0]))
    confidence.update(torch.tensor([[0.5, 0.5]]), torch.tensor([1]))
    assert confidence.compute().item() == pytest.approx((0.9 + 0.7 + 0.5) / 3)


def test_digits_are_even_or_odd():
    pixels, labels = Parity().read("train")
    assert (pixels.dtype, pixels.shape[1:]) == (torch.uint8, (8, 8))
    assert set(labels.tolist()) == {0, 1}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_trains_and_its_checkpoint_is_tested(config, tmp_path, capsys):
    run = str(tmp_path / "run")
    short = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "5"]
    assert main(["fit", "--config", str(config), *short, "--resume", run]) == 0
    assert (tmp_path / "run" / "evaluation.json").is_file()
    assert main(["test", "--ckpt_path", f"{run}/checkpoints/best.ckpt"]) == 0
    assert "test/acc" in capsys.readouterr().out
