"""Deleted and swapped blocks: what a network computes with them, and that it is afterwards what it was."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from nets import assert_unchanged, randomize_norms, state_of, tiny
from resnet_lightning import Bottleneck, DigitsDataModule, InputError, ResNet
from resnet_lightning.experiments.evaluation import batches_of
from resnet_lightning.experiments.lesions import (
    Lesion,
    errors_of,
    kendall_tau,
    lesioned,
    places_after,
    random_deletions,
    random_swaps,
    single_deletions,
)
from resnet_lightning.experiments.residual_blocks import Reconnected, find_blocks
from resnet_lightning.models.blocks import ORDERS
from resnet_lightning.models.shortcuts import SHORTCUTS

IMAGES = torch.rand(4, 3, 20, 20, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3])


def trained_like(make, *args, **options):
    torch.manual_seed(0)
    return randomize_norms(make(*args, **options)).eval()


def assert_same_with_nothing_changed(net):
    for block in find_blocks(net):
        x = torch.rand(2, block.in_planes, 8, 8)
        with torch.no_grad():
            assert torch.equal(Reconnected(block.module, lambda x, residual: (x, residual))(x), block.module(x))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_a_block_in_which_nothing_is_changed_computes_the_same(order, shortcut):
    assert_same_with_nothing_changed(trained_like(tiny, shortcut=shortcut, order=order))


@pytest.mark.parametrize("make", [torchvision.models.resnet18, torchvision.models.resnet50])
def test_a_block_of_torchvision_in_which_nothing_is_changed_computes_the_same(make):
    assert_same_with_nothing_changed(trained_like(make, num_classes=5))


def test_shapes_and_shortcuts_of_blocks_are_found():
    blocks = find_blocks(tiny())
    assert [block.name for block in blocks] == [f"layer{stage}.{i}" for stage in (1, 2, 3) for i in (0, 1)]
    assert [block.keeps_shape for block in blocks] == [True, True, False, True, False, True]
    assert all(block.has_shortcut for block in blocks)
    assert not any(block.has_shortcut for block in find_blocks(tiny(shortcut="none")))
    wide = find_blocks(tiny(Bottleneck))[0]
    assert (wide.in_planes, wide.out_planes, wide.keeps_size, wide.keeps_shape) == (4, 16, True, False)


@pytest.mark.parametrize(
    "options", [{"order": "full_pre_activation"}, {"order": "original"}, {"shortcut": "none"}], ids=str
)
def test_a_network_without_a_block_is_the_network_built_without_it(options):
    """The block becomes the identity: in the original order because its input, after a ReLU, is not negative."""
    net = trained_like(tiny, **options)
    shorter = copy.deepcopy(net)
    del shorter.layer2[1]
    with torch.no_grad():
        with lesioned(net, Lesion(("layer2.1",))):
            found = net(IMAGES)
        assert torch.equal(found, shorter(IMAGES))
        assert not torch.allclose(found, net(IMAGES), atol=1e-3)


@pytest.mark.parametrize("order", ["original", "norm_after_addition", "full_pre_activation"])
@pytest.mark.parametrize("shortcut", ["zero_pad", "projection", "constant_scaling", "exclusive_gating"])
def test_a_deleted_block_is_one_whose_residual_branch_has_weights_of_zero(order, shortcut):
    """Also a block that down-samples. What scales or gates the shortcut, and what follows the addition, stays."""
    net = trained_like(tiny, shortcut=shortcut, order=order)
    for lesion in single_deletions(net):
        silent = copy.deepcopy(net)
        block = silent.get_submodule(lesion.deleted[0])
        for parameter in getattr(block, block.branch[-1]).parameters():
            nn.init.zeros_(parameter)
        with torch.no_grad(), lesioned(net, lesion):
            assert torch.allclose(net(IMAGES), silent(IMAGES), atol=1e-6)


def test_torchvisions_networks_have_the_same_lesions_as_ours():
    ours = trained_like(ResNet, Bottleneck, (1, 2, 1, 1), num_classes=5)
    theirs = torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 2, 1, 1], num_classes=5).eval()
    theirs.load_state_dict(ours.state_dict())
    before = state_of(theirs)
    for lesion in [*single_deletions(ours), *random_deletions(ours, 3, draws=2)]:
        with torch.no_grad(), lesioned(ours, lesion), lesioned(theirs, lesion):
            assert torch.allclose(ours(IMAGES), theirs(IMAGES), rtol=1e-4, atol=1e-4)
    assert_unchanged(theirs, before)


def test_convolutions_of_vgg_can_be_deleted_if_they_keep_the_shape():
    with torch.device("meta"):  # VGG has half a gigabyte of weights
        net = torchvision.models.vgg11()
    assert [lesion.deleted for lesion in single_deletions(net)] == [
        ("features.8",), ("features.13",), ("features.16",), ("features.18",)
    ]  # fmt: skip
    with lesioned(net, Lesion(("features.8",))):
        assert isinstance(net.features[8], nn.Identity)
    assert isinstance(net.features[8], nn.Conv2d)


def test_swapped_blocks_run_in_each_others_place():
    net = trained_like(ResNet, **{"block": Bottleneck, "depths": (4, 1), "planes": (4, 8), "stem": "cifar"})
    reordered = copy.deepcopy(net)
    first, second, third, fourth = reordered.layer1
    reordered.layer1 = type(net.layer1)(first, fourth, second, third)
    # Places 1 and 2 change their blocks, then the places of blocks 1 and 3.
    lesion = Lesion(swapped=(("layer1.1", "layer1.2"), ("layer1.1", "layer1.3")))
    assert list(places_after(net, lesion.swapped).values()) == [
        "layer1.0",
        "layer1.3",
        "layer1.1",
        "layer1.2",
        "layer2.0",
    ]
    with torch.no_grad():
        with lesioned(net, lesion):
            found = net(IMAGES)
        assert torch.equal(found, reordered(IMAGES))
        assert not torch.allclose(found, net(IMAGES), atol=1e-3)


def test_kendalls_tau_is_the_share_of_pairs_in_order_minus_the_others():
    net = ResNet(Bottleneck, (4,), (4,))
    assert kendall_tau(net, Lesion()) == 1
    assert kendall_tau(net, Lesion(swapped=(("layer1.1", "layer1.2"),))) == pytest.approx(4 / 6)  # one pair of six
    assert kendall_tau(net, Lesion(swapped=(("layer1.0", "layer1.3"), ("layer1.1", "layer1.2")))) == -1


@pytest.mark.parametrize("make", [tiny, lambda: tiny(shortcut="none"), torchvision.models.resnet18])
def test_a_lesion_leaves_the_network_as_it_was(make):
    net = randomize_norms(make())
    net.layer1.eval()  # the modes of the modules differ
    before = state_of(net)
    lesions = [Lesion(), *single_deletions(net), *random_swaps(net, 2, draws=2), *random_deletions(net, 2, draws=2)]
    errors_of(net, [(IMAGES, LABELS)], lesions)
    assert_unchanged(net, before)
    with pytest.raises(RuntimeError, match="on the way"), lesioned(net, Lesion(("layer1.1",))):
        raise RuntimeError("on the way")
    assert_unchanged(net, before)


def test_the_error_of_each_lesion_is_that_of_the_changed_network():
    """On digits that are labelled with what the intact network predicts."""
    net = trained_like(tiny, in_chans=1, num_classes=10)
    with torch.no_grad():
        net.fc.bias -= net(batches_of(DigitsDataModule())[0][0]).mean(0)  # so that it predicts several classes
        shorter = copy.deepcopy(net)
        del shorter.layer1[1]
        batches = [(images, net(images).argmax(1)) for images, _ in batches_of(DigitsDataModule(), batch_size=100)]
        assert [len(labels) for _, labels in batches] == [100, 100, 100, 55]
        wrong = sum(int((shorter(images).argmax(1) != labels).sum()) for images, labels in batches)
    assert 0 < wrong < 355
    assert errors_of(net, batches, [Lesion(), Lesion(("layer1.1",))]) == pytest.approx([0, 100 * wrong / 355])


def test_a_limit_spreads_the_images_evenly_over_the_split():
    data = DigitsDataModule()
    (images, labels), (last, _) = batches_of(data, "test", limit=101, batch_size=100)
    everything, targets = next(iter(data.test_dataloader()))
    assert (len(images), len(last)) == (100, 1)
    assert torch.equal(images[:30], everything[[i * 355 // 101 for i in range(30)]])
    assert torch.equal(labels[:30], targets[[i * 355 // 101 for i in range(30)]])
    assert sum(len(part) for _, part in batches_of(data, "test", limit=10_000)) == 355


def test_draws_depend_on_the_seed_alone():
    net = ResNet(Bottleneck, (2, 4), (4, 8))
    for draw in random_deletions, random_swaps:
        assert draw(net, 2, draws=5, seed=1) == draw(net, 2, draws=5, seed=1)
        assert draw(net, 2, draws=5, seed=1) != draw(net, 2, draws=5, seed=2)
    assert {len(set(lesion.deleted)) for lesion in random_deletions(net, 4, draws=5)} == {4}
    swaps = {pair for lesion in random_swaps(net, 3, draws=9) for pair in lesion.swapped}
    assert swaps == {("layer2.1", "layer2.2"), ("layer2.1", "layer2.3"), ("layer2.2", "layer2.3")}


@pytest.mark.parametrize(
    ("lesion", "message"),
    [
        (Lesion(("layer1.9",)), r"no block 'layer1.9'; did you mean 'layer1\.\d"),
        (Lesion(("layer2.0",)), "'layer2.0' changes the shape and has no shortcut"),
        (Lesion(swapped=(("layer1.1", "layer2.1"),)), "'layer1.1' and 'layer2.1' cannot be swapped"),
        (Lesion(("layer1.0",), (("layer1.0", "layer1.1"),)), "'layer1.0' is both deleted and swapped"),
    ],
)
def test_what_is_impossible_ends_in_one_line(lesion, message):
    net = tiny(shortcut="none")
    before = state_of(net)
    with pytest.raises(InputError, match=message), lesioned(net, lesion):
        pass
    assert_unchanged(net, before)


def test_more_blocks_than_there_are_and_networks_without_blocks_end_in_one_line():
    with pytest.raises(InputError, match="count is 7, but only 6 blocks can be deleted"):
        random_deletions(tiny(), 7, draws=1)
    with pytest.raises(InputError, match="Linear has neither residual blocks nor convolutions"):
        find_blocks(nn.Linear(2, 2))
    with pytest.raises(InputError, match="no two blocks can be swapped"):
        random_swaps(ResNet(Bottleneck, (1, 1), (4, 8)), 1, draws=1)
