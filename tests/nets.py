"""Small networks and what several tests do to networks."""

import torch
from torch import nn

from resnet_lightning import BasicBlock, ResNet


def randomize_norms(net: nn.Module) -> nn.Module:
    """Draws scales, biases and statistics as after training. All norms of a fresh network are equal, and a test would
    not notice that two of them are swapped.
    """
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.0),
                (module.bias, -0.2, 0.2),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
            ):
                nn.init.uniform_(tensor, low, high)
    return net


def tiny(block=BasicBlock, **options):
    """Three stages of two blocks: a hundred training steps on 8x8 images take about a second."""
    return ResNet(block, (2, 2, 2), (4, 8, 12), **{"stem": "cifar", "num_classes": 5, **options})


def snapshot(net):
    return {key: tensor.clone() for key, tensor in net.state_dict().items()}


def part_of(key):
    """``layer1.0.conv1.weight`` to ``layer1``."""
    return key.partition(".")[0]


def frozen_parts(net, stages):
    parts = ["conv1", "bn1", "layer1", "layer2", "layer3"][: stages + 2]
    return [*parts, "last_activation"] if stages == 3 and hasattr(net, "last_activation") else parts


def state_of(net):
    """All that an experiment may change in a network: its modules, their order and modes, and its tensors."""
    modules = [(name, id(module), module.training) for name, module in net.named_modules()]
    attributes = [list(vars(module)) for module in net.modules()]
    return modules, attributes, snapshot(net), [parameter.grad for parameter in net.parameters()]


def assert_unchanged(net, before):
    modules, attributes, tensors, gradients = state_of(net)
    assert modules == before[0]
    assert attributes == before[1]
    assert list(tensors) == list(before[2])
    assert all(torch.equal(tensor, before[2][key]) for key, tensor in tensors.items())
    assert all(gradient is old for gradient, old in zip(gradients, before[3], strict=True))
