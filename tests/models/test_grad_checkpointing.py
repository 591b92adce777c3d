"""Activations that are computed again instead of kept."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from nets import frozen_parts, part_of, tiny
from resnet_lightning import BasicBlock, Bottleneck, create_model
from resnet_lightning.models.blocks import ORDERS
from resnet_lightning.models.layers import group_norm


def cumulative_norm(planes):
    return nn.BatchNorm2d(planes, momentum=None)


CHECKPOINTED = {
    "resnet18": partial(create_model, "resnet18"),
    "resnet44": partial(create_model, "resnet44"),
    "drop-path": partial(create_model, "resnet32", drop_path_rate=0.5),
    "dropout": partial(tiny, partial(BasicBlock, dropout=0.5)),
    "bottlenecks": partial(tiny, Bottleneck),
    "gates": partial(create_model, "resnet20", shortcut="exclusive_gating"),
    "resnet9": partial(create_model, "resnet9"),
    "resnet_fast": partial(create_model, "resnet_fast"),
    "cumulative-norms": partial(create_model, "resnet20", norm_layer=cumulative_norm),
    "group-norms": partial(create_model, "resnet20", norm_layer=group_norm),
    "features": partial(create_model, "resnet20", features_only=True, out_indices=(2, 0)),
    "all-features": partial(create_model, "resnet20", features_only=True, order="full_pre_activation"),
    "frozen": partial(create_model, "resnet32", frozen_stages=2, drop_path_rate=0.5),
    **{order: partial(create_model, "resnet20", order=order) for order in ORDERS},
}


@pytest.mark.slow
@pytest.mark.parametrize("make", CHECKPOINTED.values(), ids=CHECKPOINTED)
def test_checkpointing_changes_neither_gradients_nor_statistics(make):
    plain = make()
    checkpointed = copy.deepcopy(plain)
    checkpointed.set_grad_checkpointing()
    images = torch.randn(3, 3, 32, 32)
    for _ in range(2):  # the second step begins with what the first has left
        outputs = []
        for net in (plain, checkpointed):
            torch.manual_seed(1)
            output = net(images)
            outputs.append(output if isinstance(output, list) else [output])
            sum(found.square().mean() for found in outputs[-1]).backward()
        for found, expected in zip(*outputs, strict=True):
            assert torch.equal(found, expected)
        buffers = dict(plain.named_buffers())
        for key, buffer in checkpointed.named_buffers():
            assert torch.equal(buffer, buffers[key]), key
        parameters = dict(plain.named_parameters())
        for key, parameter in checkpointed.named_parameters():
            if parameters[key].grad is None:
                assert parameter.grad is None, key
            else:
                assert torch.equal(parameter.grad, parameters[key].grad), key
    counts = {key: int(buffer) for key, buffer in plain.named_buffers() if key.endswith("num_batches_tracked")}
    frozen = () if plain.frozen_stages is None else frozen_parts(plain, plain.frozen_stages)
    assert all(count == 2 * (part_of(key) not in frozen) for key, count in counts.items())


def test_a_checkpointed_block_runs_again_in_the_backward_pass_until_that_is_switched_off():
    net = tiny()
    runs = []
    net.layer2[0].conv1.register_forward_hook(lambda module, inputs, output: runs.append(torch.is_grad_enabled()))
    for enable, expected in ((True, 2), (False, 1)):
        net.set_grad_checkpointing(enable)
        runs.clear()
        net(torch.randn(2, 3, 8, 8)).sum().backward()
        assert len(runs) == expected


def test_checkpointing_leaves_the_hooks_of_a_stage_in_place():
    net = tiny()
    net.set_grad_checkpointing()
    seen = []
    net.layer2.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    net(torch.randn(2, 3, 8, 8))
    assert seen == [(2, 8, 4, 4)]


def peak_memory(net, images):
    """Bytes at the worst moment of a training step, beyond those at its beginning."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        F.cross_entropy(net(images), torch.zeros(len(images), dtype=torch.long)).backward()
    now = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


def checkpointed_share_of_memory(name, images):
    net = create_model(name)
    net(images).sum().backward()  # the gradients, which both steps then have
    without = peak_memory(net, images)
    net.set_grad_checkpointing()
    return peak_memory(net, images) / without


# With the input of every block kept, instead of every so manieth, it would be more than a quarter of both nets.
def test_checkpointing_takes_less_than_a_quarter_of_the_memory_of_resnet110():
    assert checkpointed_share_of_memory("resnet110", torch.randn(4, 3, 32, 32)) < 1 / 4


@pytest.mark.slow
def test_checkpointing_takes_less_than_a_tenth_of_the_memory_of_resnet1202():
    assert checkpointed_share_of_memory("resnet1202", torch.randn(4, 3, 16, 16)) < 1 / 10
