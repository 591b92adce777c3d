"""Stages that stay as they are."""

import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn

from nets import frozen_parts, part_of, snapshot, tiny
from resnet_lightning import BasicBlock, InputError, create_model


class Heads(nn.Module):
    """A prediction from each map of a body, as a detector makes one."""

    def __init__(self, channels):
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(planes, 2, 1) for planes in channels)

    def forward(self, maps):
        return torch.cat([conv(x).flatten(1) for conv, x in zip(self.convolutions, maps, strict=True)], dim=1)


def train(model, steps):
    """SGD with momentum and weight decay, which moves a parameter even where its gradient is zero."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.01)
    for step in range(steps):
        if step % 5 == 0:
            model.eval().train()  # as a trainer does around its validation
        optimizer.zero_grad()
        (model(torch.randn(4, 3, 8, 8)) - 1).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("order", "features_only", "stages"),
    [
        *(("original", stages % 2 == 0, stages) for stages in range(4)),
        *(("full_pre_activation", stages % 2 == 1, stages) for stages in range(4)),
    ],
)
def test_training_changes_all_that_is_not_frozen_and_nothing_else(order, features_only, stages):
    net = tiny(order=order)
    model = net
    if features_only:
        net.keep_features((0, 1, 3))
        model = nn.Sequential(net, Heads(net.feature_info.channels()))
    net.freeze_stages(stages)
    before, all_before = snapshot(net), snapshot(model)
    train(model, steps=10)
    frozen = frozen_parts(net, stages)
    for key, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[key]) == (part_of(key) in frozen), key
    changed = [key for key, tensor in model.state_dict().items() if not torch.equal(tensor, all_before[key])]
    assert len(changed) == len(all_before) - sum(part_of(key) in frozen for key in before)


def by_pickle(net):
    return pickle.loads(pickle.dumps(net))


@pytest.mark.parametrize(
    "change",
    [
        copy.deepcopy,
        by_pickle,
        lambda net: net.train(),
        lambda net: net.eval().train(),
        lambda net: nn.Sequential(net).train()[0],
        nn.SyncBatchNorm.convert_sync_batchnorm,
        lambda net: net.double().float(),
    ],
    ids=["deepcopy", "pickle", "train", "eval", "child", "sync", "cast"],
)
def test_what_is_frozen_stays_frozen(change):
    net = tiny(order="full_pre_activation")
    net.freeze_stages(2)
    net = change(net)
    before = snapshot(net)
    train(net, steps=2)
    changed = {part_of(key) for key, tensor in net.state_dict().items() if not torch.equal(tensor, before[key])}
    assert changed == {"layer3", "last_activation", "fc"}
    assert {part_of(key) for key, module in net.named_modules() if key and not module.training} == {
        *("conv1", "bn1", "relu", "maxpool", "layer1", "layer2")
    }


def test_frozen_stages_of_create_model_are_those_of_freeze_stages():
    net = create_model("resnet20", frozen_stages=1)
    assert {part_of(key) for key, parameter in net.named_parameters() if not parameter.requires_grad} == {
        *("conv1", "bn1", "layer1")
    }
    assert net.training
    assert not net.layer1[0].bn1.training
    assert net.layer2[0].bn1.training


def test_dropout_and_drop_path_are_off_in_what_is_frozen():
    net = tiny(partial(BasicBlock, dropout=0.5), drop_path_rate=0.5).keep_features((1, 2, 3))
    images = torch.randn(8, 3, 8, 8)
    with torch.no_grad():
        expected = net.eval()(images)
        net.freeze_stages(2)
        found = net.train()(images)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])
        assert not torch.equal(found[2], net(images)[2])

        net.freeze_stages(None)
        assert not torch.equal(net(images)[1], net(images)[1])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stages", [None, 1])
def test_freezing_less_thaws_the_rest(stages, training):
    net = tiny(order="full_pre_activation").train(training)
    net.fc.requires_grad_(False)  # by someone else, whose business it stays
    net.freeze_stages(3)
    net.freeze_stages(stages)
    frozen = [] if stages is None else frozen_parts(net, stages)
    for key, parameter in net.named_parameters():
        assert parameter.requires_grad == (part_of(key) not in [*frozen, "fc"]), key
    for key, module in net.named_modules():
        assert module.training == (training and part_of(key) not in [*frozen, *(["relu", "maxpool"] if frozen else [])])

    before = snapshot(net)
    train(net, steps=2)
    changed = {part_of(key) for key, tensor in net.state_dict().items() if not torch.equal(tensor, before[key])}
    assert changed == {"conv1", "bn1", "layer1", "layer2", "layer3", "last_activation"} - set(frozen)


def test_a_frozen_net_still_hands_gradients_to_its_images():
    net = tiny()
    net.freeze_stages(3)
    images = torch.randn(2, 3, 8, 8, requires_grad=True)
    net(images).square().sum().backward()
    assert images.grad.any()


@pytest.mark.parametrize("stages", [-1, 4, 100])
def test_stages_that_cannot_be_frozen_are_refused(stages):
    message = f"frozen_stages is {stages}; this net has 3 stages, and 0 is its stem alone"
    with torch.device("meta"), pytest.raises(InputError, match=message):
        create_model("resnet20", frozen_stages=stages)


def test_a_stage_that_a_body_has_lost_cannot_be_frozen():
    with torch.device("meta"), pytest.raises(InputError, match="frozen_stages is 3; this net has 2 stages"):
        create_model("resnet18", features_only=True, out_indices=(1, 2), frozen_stages=3)
