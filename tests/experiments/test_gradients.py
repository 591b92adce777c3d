"""Gradients by layer, along training, and from image to image."""

import csv
from pathlib import Path

import pytest
import torch
from lightning import Trainer, seed_everything
from torch import nn
from torch.nn import functional as F

from nets import assert_unchanged, state_of, tiny
from resnet_lightning import DigitsDataModule, ImageClassifier, InputError
from resnet_lightning.cli.main import main
from resnet_lightning.experiments.gradients import (
    LayerGradients,
    autocorrelation,
    images_between,
    input_gradients,
    layer_gradient_norms,
    measured_statistics,
)
from runs_alike import DIGITS, SMALL

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
CALLBACK = "--trainer.callbacks+=resnet_lightning.experiments.gradients.LayerGradients"


def digit_batch():
    return next(iter(DigitsDataModule(batch_size=32).train_dataloader()))


def test_the_norm_in_each_layer_is_that_of_the_gradient():
    torch.manual_seed(0)
    net = tiny(in_chans=1, num_classes=10, shortcut="zero_pad")
    before = state_of(net)
    images, labels = digit_batch()
    found = layer_gradient_norms(net, images, labels)
    assert_unchanged(net, before)
    F.cross_entropy(net(images), labels).backward()
    layers = ["conv1", *(f"layer{k}.{i}.conv{j}" for k in (1, 2, 3) for i in (0, 1) for j in (1, 2)), "fc"]
    assert list(found) == layers
    for name, norm in found.items():
        assert norm == pytest.approx(net.get_submodule(name).weight.grad.norm().item(), rel=1e-5)


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_run_writes_the_norms_of_its_steps(tmp_path):
    """The first row is the gradient of the first batch at the initial weights."""
    seed_everything(3, verbose=False)
    module = ImageClassifier("resnet20", in_chans=1)
    data = DigitsDataModule(batch_size=32)
    images, labels = next(iter(data.train_dataloader()))
    expected = layer_gradient_norms(module.backbone, images, labels)
    callback = LayerGradients(every_n_steps=2)
    trainer = Trainer(
        max_steps=5, limit_val_batches=0, callbacks=callback, default_root_dir=tmp_path, accelerator="cpu", **QUIET
    )
    trainer.fit(module, data)
    rows = rows_of(tmp_path / "layer_gradients.csv")
    assert [row["step"] for row in rows] == ["0", "2", "4"]
    assert list(rows[0]) == ["step", *expected]
    for name, norm in expected.items():
        assert float(rows[0][name]) == pytest.approx(norm, rel=1e-3)
        assert float(rows[2][name]) == callback.norms[4][name]


@pytest.mark.slow
@pytest.mark.usefixtures("in_an_empty_folder", "without_figures")
def test_a_resumed_run_writes_the_file_of_an_uninterrupted_one():
    command = ["fit", "--config", DIGITS, *SMALL, "--model.scheduler=null", CALLBACK]
    command += ["--trainer.callbacks.every_n_steps=3", "--trainer.limit_train_batches=4"]
    assert main([*command, "--trainer.max_epochs=3", "--resume=whole"]) == 0
    assert main([*command, "--trainer.max_epochs=1", "--resume=resumed"]) == 0
    assert len(rows_of(Path("resumed/layer_gradients.csv"))) == 2
    assert main([*command, "--trainer.max_epochs=3", "--resume=resumed"]) == 0
    found = Path("resumed/layer_gradients.csv").read_text()
    assert found == Path("whole/layer_gradients.csv").read_text()
    assert [line.split(",")[0] for line in found.splitlines()] == ["step", "0", "3", "6", "9"]


@pytest.mark.parametrize(("series", "expected"), [([1, -1, 1, -1], [1, -3 / 4, 2 / 4]), ([1, 2, 3], [1, 0, -1 / 2])])
def test_the_autocorrelation_of_short_series(series, expected):
    vectors = torch.tensor(series, dtype=torch.float32)[:, None] * torch.tensor([[3.0, -4.0]])
    assert autocorrelation(vectors, 2).tolist() == pytest.approx(expected)


def test_the_autocorrelation_of_noise_falls_at_once_and_that_of_its_sum_slowly():
    noise = torch.randn(500, 20, generator=torch.Generator().manual_seed(0))
    white, brown = autocorrelation(noise, 10), autocorrelation(noise.cumsum(0), 10)
    assert white[1:].abs().max() < 0.1
    assert brown.min() > 0.8


class HalfSquares(nn.Module):
    """Its first logit is half the squared norm of the image, the second the sum of all images, in training mode."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return torch.stack([self.weight * x.square().sum((1, 2, 3)) / 2, x.sum((1, 2, 3))], 1)


def test_the_gradient_at_an_image_is_that_of_one_logit():
    first, last = torch.rand(2, 1, 3, 3)
    images = images_between(first, last, 5)
    assert torch.equal(images[0], first)
    assert torch.allclose(images[1], 0.75 * first + 0.25 * last)
    assert torch.allclose(images[-1], last)
    net = HalfSquares()
    assert torch.allclose(input_gradients(net, images, batch_size=2), images.flatten(1))
    assert torch.equal(input_gradients(net, images, logit=1), torch.ones(5, 9))
    assert net.weight.grad is None


def test_measured_statistics_are_those_of_the_batches_and_are_put_back():
    net = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU())
    net[0].eval()
    before = state_of(net)
    torch.manual_seed(0)
    batches = [(torch.rand(4, 2, 3, 3), torch.zeros(4)) for _ in range(3)]
    with measured_statistics(net, batches):
        means = torch.stack([images.mean((0, 2, 3)) for images, _ in batches]).mean(0)
        assert torch.allclose(net[0].running_mean, means)
    assert_unchanged(net, before)
    assert net[0].momentum == 0.1


def test_bad_arguments_end_in_one_line():
    with pytest.raises(InputError, match="every_n_steps is 0; give a whole number of at least 1"):
        LayerGradients(every_n_steps=0)
    with pytest.raises(InputError, match="max_lag is -1"):
        autocorrelation(torch.zeros(3, 1), -1)
