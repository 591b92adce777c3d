"""The memory format and the fused optimizer are chosen, can be set, and do not prevent a run from being resumed."""

import pytest
import torch
from lightning import Trainer

from resnet_lightning import create_model
from resnet_lightning.data import DigitsDataModule
from resnet_lightning.training.classifier import ImageClassifier
from resnet_lightning.training.fast_step import can_fuse, match_layouts, wants_channels_last


@pytest.mark.parametrize(
    ("name", "options", "size", "device", "precision", "expected"),
    [
        ("resnet34", {}, 32, "cpu", "32-true", False),
        ("resnet34", {}, 32, "cpu", "bf16-mixed", False),
        ("resnet50", {}, 32, "cpu", "32-true", False),
        ("resnet50", {}, 32, "cpu", "bf16-mixed", True),
        ("resnet18", {}, 28, "cpu", "32-true", False),
        ("resnet18", {"stem": "cifar"}, 32, "cpu", "32-true", True),
        ("resnet20", {}, 32, "cpu", "32-true", True),
        ("resnet20", {}, 8, "cpu", "32-true", True),
        ("resnet18", {}, 224, "cpu", "32-true", True),
        ("resnet34", {}, 32, "cuda", "bf16-mixed", True),
    ],
)
def test_small_maps_are_contiguous_on_a_cpu(name, options, size, device, precision, expected):
    with torch.device("meta"):
        net = create_model(name, **options)
    assert wants_channels_last(net, (size, size), device, precision) is expected
    assert wants_channels_last(net, None, device, precision)


def trainer(**options):
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(accelerator="cpu", **{"max_epochs": 2, "limit_train_batches": 2, **quiet, **options})


def classifier(**options):
    torch.manual_seed(0)
    return ImageClassifier("resnet20", in_chans=1, lr=1e-3, optimizer="Adam", **options)


@pytest.mark.parametrize(
    ("options", "optimizer", "args", "expected"),
    [
        ({}, "Adam", {}, True),
        ({}, "RMSprop", {}, False),
        ({}, "Adam", {"foreach": True}, False),
        ({}, "Adam", {"fused": False}, False),
        ({"gradient_clip_val": 1.0}, "Adam", {}, True),
        ({"gradient_clip_val": 1.0, "precision": "bf16-mixed"}, "Adam", {}, False),
    ],
)
def test_a_fused_optimizer_is_used_where_it_can_be(options, optimizer, args, expected):
    assert can_fuse(trainer(**options), classifier(), optimizer, args) is expected


def test_states_and_gradients_get_the_format_of_their_parameters():
    parameter = torch.nn.Parameter(torch.randn(8, 4, 3, 3).contiguous(memory_format=torch.channels_last))
    values = torch.randn(8, 4, 3, 3)
    optimizer = torch.optim.Adam([parameter], fused=True)
    optimizer.state[parameter] = {"step": torch.tensor(1.0), "exp_avg": values, "exp_avg_sq": values**2}
    parameter.grad = torch.randn(8, 4, 3, 3).contiguous(memory_format=torch.channels_last)
    match_layouts(optimizer)
    state = optimizer.state[parameter]
    assert state["exp_avg"].stride() == state["exp_avg_sq"].stride() == parameter.stride()
    assert torch.equal(state["exp_avg"], values)


@pytest.mark.slow
def test_a_run_of_the_other_choice_is_resumed(tmp_path):
    """It ends with the weights of the run that kept its choice, up to rounding."""
    first = trainer(max_epochs=1)
    begun = classifier(channels_last=True, optimizer_args={"fused": False}, scheduler=None)
    first.fit(begun, datamodule=DigitsDataModule(batch_size=8))
    first.save_checkpoint(tmp_path / "run.ckpt")
    ends = []
    for options in ({"channels_last": True, "optimizer_args": {"fused": False}}, {"channels_last": False}):
        module, run = classifier(scheduler=None, **options), trainer()
        run.fit(module, datamodule=DigitsDataModule(batch_size=8), ckpt_path=tmp_path / "run.ckpt")
        assert bool(run.optimizers[0].param_groups[0]["fused"]) is ("optimizer_args" not in options)
        ends.append(module)
    for expected, found in zip(ends[0].parameters(), ends[1].parameters(), strict=True):
        torch.testing.assert_close(found, expected, atol=5e-4, rtol=1e-3)
