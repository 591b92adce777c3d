"""Networks before their first training step."""

import pytest
import torch
from torch import nn

from resnet_lightning import BasicBlock, ResNet, create_model, list_models
from resnet_lightning.models.blocks import ORDERS

QUICK = {"resnet18", "resnet20", "plain20", "resnet9", "resnet_fast", "preact_resnet110", "preact_resnet1001"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in list_models()]
)
def test_every_model_is_finite_and_tells_images_apart_in_evaluation_and_in_training(name):
    net = create_model(name)
    size = 2 * net.reduction
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        for mode in (False, True, False):  # the last with statistics that one batch has moved
            logits = net.train(mode)(images)
            assert logits.isfinite().all()
            if mode or not name.startswith(
                "plain"
            ):  # without shortcuts, a deep net fades with statistics of another scale
                assert not torch.equal(logits[0], logits[1])
            maps = net.forward_intermediates(images, intermediates_only=True)
            assert all(found.isfinite().all() for found in maps)


def deep(blocks=90, **options):
    return ResNet(BasicBlock, (blocks,) * 3, (8, 12, 16), **{"stem": "cifar", "num_classes": 5, **options}).eval()


@pytest.mark.parametrize("order", ORDERS)
def test_a_deep_net_of_any_order_is_finite_in_evaluation(order):
    with torch.no_grad():
        assert deep(order=order, shortcut="zero_pad")(torch.randn(2, 3, 8, 8)).isfinite().all()


def test_the_variances_at_the_start_are_about_those_of_a_batch():
    net = deep(order="full_pre_activation").train()
    ratios = []
    for stage in (net.layer1, net.layer2, net.layer3):
        for block in list(stage)[1:]:
            expected = block.bn1.running_var.mean()
            block.bn1.register_forward_pre_hook(
                lambda norm, inputs, expected=expected: ratios.append(inputs[0].var((0, 2, 3)).mean() / expected)
            )
    with torch.no_grad():
        net(torch.randn(16, 3, 16, 16))
    assert len(ratios) == 3 * 89
    assert min(ratios) > 1 / 3
    assert max(ratios) < 3


def test_shallow_nets_and_blocks_without_a_shortcut_start_with_ones():
    for net in (create_model("preact_resnet164"), deep(shortcut="none")):
        norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
        assert all(torch.equal(norm.running_var, torch.ones_like(norm.running_var)) for norm in norms)


def test_the_training_of_a_deep_net_is_as_with_ones():
    net = deep(40)
    images = torch.randn(4, 3, 8, 8)
    expected = net.train()(images)
    assert net.layer1[7].bn1.running_var.mean() > 5
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    assert torch.equal(net(images), expected)
