"""Structured pruning with torch-pruning."""

import copy

import pytest
import torch
from torch import nn

from nets import randomize_norms, snapshot
from resnet_lightning import create_model
from resnet_lightning.models.pruning import PRUNERS, ZeroPadPruner
from resnet_lightning.models.shortcuts import ZeroPad

NETS = [
    ("resnet20", {}),
    ("resnet20", {"order": "full_pre_activation"}),
    ("resnet20", {"shortcut": "shortcut_gating"}),
    ("resnet20", {"shortcut": "dropout"}),
    ("resnet18", {"stem": "cifar"}),
    ("preact_resnet164", {}),
    ("resnet9", {}),
    ("resnet_fast", {"zero_init_residual": False}),
]


# The shortcut alone, without the library.


def test_a_pruned_shortcut_copies_and_pads_what_is_left():
    shortcut = ZeroPad(4, 7, stride=2)
    images = torch.randn(2, 4, 6, 6)
    expected = shortcut(images)
    pruner = ZeroPadPruner()
    pruner.prune_in_channels(shortcut, [1])
    kept = [0, 2, 3]
    expected[:, 1] = 0
    assert torch.equal(shortcut(images[:, kept]), expected)
    pruner.prune_out_channels(shortcut, [0, 5])
    assert torch.equal(shortcut(images[:, kept]), expected[:, [1, 2, 3, 4, 6]])
    pruner.prune_in_channels(shortcut, [0])  # whose copy is gone already
    assert torch.equal(shortcut(images[:, [2, 3]]), expected[:, [1, 2, 3, 4, 6]])
    assert (pruner.get_in_channels(shortcut), pruner.get_out_channels(shortcut)) == (2, 5)
    assert repr(shortcut) == "ZeroPad(2, 5, stride=2)"
    assert torch.equal(copy.deepcopy(shortcut)(images[:, [2, 3]]), expected[:, [1, 2, 3, 4, 6]])
    assert not shortcut.state_dict()


def prune(net, images, ratio=0.5, **options):
    tp = pytest.importorskip("torch_pruning", reason="prunes our networks: pip install torch-pruning")
    tp.pruner.MagnitudePruner(
        net,
        images,
        importance=tp.importance.MagnitudeImportance(),
        pruning_ratio=ratio,
        ignored_layers=[net.fc],
        **options,
    ).step()


@pytest.mark.parametrize(("name", "options"), NETS)
def test_a_pruned_net_trains_with_half_of_the_channels(name, options):
    net = create_model(name, num_classes=4, **options)
    before = copy.deepcopy(net)
    images = torch.randn(4, 3, 16, 16)
    prune(net, images, customized_pruners=PRUNERS)
    for key, tensor in net.named_parameters():
        whole = before.get_parameter(key)
        if key.startswith("fc"):
            assert tensor.shape[0] == 4
        else:
            assert tensor.shape[0] == whole.shape[0] // 2, key
    assert net.num_features == net.head_hidden_size == before.num_features // 2
    assert net.num_classes == 4
    weights = snapshot(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    nn.functional.cross_entropy(net(images), torch.arange(4)).backward()
    optimizer.step()
    assert all(not torch.equal(tensor, weights[key]) for key, tensor in net.named_parameters())
    net.reset_classifier(3)
    assert net.eval()(images).shape == (4, 3)


def test_pruning_channels_of_zeros_changes_no_logit():
    net = randomize_norms(create_model("resnet20")).eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
                module.weight[1::2] = 0
            if isinstance(module, nn.BatchNorm2d):
                module.bias[1::2] = 0
    images = torch.randn(3, 3, 16, 16)
    expected = net(images).detach()
    prune(net, images, customized_pruners=PRUNERS)
    assert net.layer3[0].downsample.sources.shape == (32,)
    torch.testing.assert_close(net(images), expected)


def test_without_our_pruners_the_zero_padding_cannot_be_followed():
    net = create_model("resnet20").eval()
    images = torch.randn(3, 3, 16, 16)

    def prune_and_run():
        prune(net, images)
        return net(images)

    with pytest.raises((RuntimeError, IndexError)):
        prune_and_run()
