"""The feature interface of timm: its own wrappers and functions around our networks."""

import copy
import json
import pickle

import pytest
import torch
from torch import nn

from nets import randomize_norms, snapshot, tiny
from resnet_lightning import Bottleneck, InputError, ResNet, create_model
from resnet_lightning.models.feature_info import FeatureInfo

timm = pytest.importorskip("timm", reason="compares with timm: pip install -e '.[dev]'")
features = pytest.importorskip("timm.models._features")
optim = pytest.importorskip("timm.optim")

WRAPPERS = [
    features.FeatureListNet,
    features.FeatureDictNet,
    features.FeatureHookNet,
    timm.models.FeatureGraphNet,
    features.FeatureGetterNet,
]


def timms_maps(wrapper, net, out_indices, images):
    """The maps that a wrapper of timm returns, as a list, and the wrapper."""
    wrapped = wrapper(copy.deepcopy(net), out_indices=out_indices)
    wrapped.train(net.training)
    maps = wrapped(images)
    return list(maps.values()) if isinstance(maps, dict) else maps, wrapped


NETS = {
    "resnet18": (lambda: create_model("resnet18"), (0, 1, 2, 3, 4)),
    "bottlenecks": (lambda: ResNet(Bottleneck, (1, 1, 1), (8, 16, 24), stem="deep", output_stride=8), 2),
    "preact": (lambda: tiny(order="full_pre_activation"), (1, -1)),
    "resnet9": (lambda: create_model("resnet9"), (0, 2)),
    "plain": (lambda: tiny(shortcut="none"), 3),
}


@pytest.mark.slow
@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", NETS)
def test_timms_wrappers_give_the_maps_of_features_only(wrapper, name):
    make, out_indices = NETS[name]
    net = randomize_norms(make()).eval()
    body = copy.deepcopy(net).keep_features(out_indices)
    images = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        expected = body(images)
        found, wrapped = timms_maps(wrapper, net, out_indices, images)
    assert len(found) == len(expected) == len(body.feature_info)
    for ours, theirs in zip(expected, found, strict=True):
        assert torch.equal(ours, theirs)
    for method in ("channels", "reduction", "module_name"):
        assert getattr(wrapped.feature_info, method)() == getattr(body.feature_info, method)()


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("order", ["original", "full_pre_activation"])
def test_timms_wrappers_train_as_features_only(wrapper, order):
    net = tiny(order=order)
    body = copy.deepcopy(net).keep_features((1, 3))
    images = torch.randn(4, 3, 16, 16)
    found, wrapped = timms_maps(wrapper, net, (1, 3), images)
    for maps in (found, body(images)):
        sum(each.square().mean() for each in maps).backward()
    gradients = {key.removeprefix("model.").removeprefix("body."): p.grad for key, p in wrapped.named_parameters()}
    gradients = {key.removeprefix("graph_module."): gradient for key, gradient in gradients.items()}
    for key, parameter in body.named_parameters():
        torch.testing.assert_close(gradients[key], parameter.grad)
    buffers = wrapped.state_dict()
    assert any(key.endswith("bn1.running_mean") and buffers[key].any() for key in buffers)


@pytest.mark.parametrize("options", [{}, {"out_indices": (1, 3)}, {"out_indices": 2}, {"out_indices": (-2,)}], ids=str)
def test_feature_info_answers_as_timms(options):
    theirs = timm.create_model("resnet18", pretrained=False, features_only=True, **options).feature_info
    ours = create_model("resnet18", features_only=True, **options).feature_info

    def named(value):
        return json.loads(json.dumps(value).replace("act1", "relu"))

    for idx in (None, 0, 4, -1, [1, 2]):
        assert ours.channels(idx) == theirs.channels(idx)
        assert ours.reduction(idx) == theirs.reduction(idx)
        assert named(ours.module_name(idx)) == named(theirs.module_name(idx))
        assert ours.get("num_chs", idx) == theirs.get("num_chs", idx)
        keys = ["num_chs", "module"]
        assert named(ours.get_dicts(keys, idx)) == named(theirs.get_dicts(keys, idx))
    assert all({"num_chs", "reduction", "module"} <= set(row) for row in ours.get_dicts())
    other = ours.from_other((0, 2))
    assert other.channels() == theirs.from_other((0, 2)).channels() == [64, 128]


def test_rows_of_a_whole_net_are_dicts_and_survive_copies():
    net = create_model("resnet20")
    assert net.feature_info[1] == {"num_chs": 16, "reduction": 1, "module": "layer1"}
    assert (net.feature_info[3].channels, net.feature_info[3].reduction, net.feature_info[3].module) == (
        64,
        4,
        "layer3",
    )
    part = net.feature_info.from_other((1, 3))
    for again in (copy.deepcopy(part), pickle.loads(pickle.dumps(part))):
        assert isinstance(again, FeatureInfo)
        assert (again, again.info, again.out_indices) == (part, list(net.feature_info), (1, 3))
        assert again[0].channels == again.channels(1) == 16


CALLS = [
    {},
    {"indices": 2},
    {"indices": [0, 3]},
    {"indices": (-1, 1)},
    {"indices": [2], "stop_early": True},
    {"indices": 3, "intermediates_only": True},
    {"indices": [0, 1], "stop_early": True, "norm": True, "output_fmt": "NCHW"},
]


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_forward_intermediates_answers_as_timms(call):
    theirs = randomize_norms(timm.create_model("resnet18", pretrained=False)).eval()
    ours = create_model("resnet18", pretrained=theirs.state_dict()).eval()
    before = snapshot(ours)
    images = torch.randn(1, 3, 64, 80)
    with torch.no_grad():
        found, expected = ours.forward_intermediates(images, **call), theirs.forward_intermediates(images, **call)
        if not call.get("intermediates_only"):
            torch.testing.assert_close(found[0], expected[0])
            found, expected = found[1], expected[1]
        assert isinstance(found, list)
        assert len(found) == len(expected)
        for our_map, their_map in zip(found, expected, strict=True):
            torch.testing.assert_close(our_map, their_map)
    assert ours.state_dict().keys() == before.keys()


def test_forward_intermediates_ends_in_the_map_that_a_pre_activation_net_pools():
    net = randomize_norms(create_model("resnet20", order="full_pre_activation")).eval()
    images = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        last, (second, fourth) = net.forward_intermediates(images, indices=(1, 3))
        assert torch.equal(last, net.forward_features(images))
        assert last is fourth
        assert torch.equal(second, net.forward_intermediates(images, (1,), stop_early=True)[0])
        body = copy.deepcopy(net).keep_features((1,))
        assert torch.equal(body.forward_intermediates(images, 1, intermediates_only=True)[0], second)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"indices": [5]}, r"indices is \[5\]; give a list of maps; this net has 0 \(the stem\) to 3, -1 is the last"),
        ({"indices": 5}, r"indices is 5; give a list of maps.*a number n instead of a list stands for the last n"),
        ({"indices": 0}, r"indices is 0; "),
        ({"output_fmt": "NLC"}, r"output_fmt is 'NLC'; the maps of this net are 'NCHW'"),
    ],
)
def test_forward_intermediates_refuses_what_does_not_exist(call, message):
    with pytest.raises(InputError, match=message):
        tiny().forward_intermediates(torch.zeros(1, 3, 8, 8), **call)


@pytest.mark.parametrize(
    ("name", "indices", "kept", "children"),
    [
        ("resnet18", (0, 2), [0, 2], "conv1 bn1 relu maxpool layer1 layer2 avgpool fc"),
        ("preact_resnet164", (3, 1), [1, 3], "conv1 bn1 relu maxpool layer1 layer2 layer3 last_activation avgpool fc"),
        ("preact_resnet164", (-2,), [2], "conv1 bn1 relu maxpool layer1 layer2 avgpool fc"),
        ("resnet20", [0], [0], "conv1 bn1 relu avgpool fc"),
    ],
)
def test_pruning_removes_what_no_map_needs(name, indices, kept, children):
    net = randomize_norms(create_model(name)).eval()
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected = net.forward_intermediates(images, indices, intermediates_only=True)
        channels = net.feature_info.channels(kept)
        assert net.prune_intermediate_layers(indices) == kept
        assert [child for child, _ in net.named_children()] == children.split()
        assert net.feature_info.channels(kept) == channels
        assert net.num_features == net.head_hidden_size == channels[-1]
        last, found = net.forward_intermediates(images, kept)
        for before, after in zip(expected, found, strict=True):
            assert torch.equal(before, after)
        assert torch.equal(net(images), last)  # without a pool and a head
    assert net.num_classes == 0


def test_pruning_can_keep_the_head():
    net = create_model("resnet20").eval()
    images = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        logits = net(images)
        assert net.prune_intermediate_layers(1, prune_head=False) == [3]
        assert torch.equal(net(images), logits)


# The head and the stem that somebody replaced.


class Cosine(nn.Module):
    """A head whose sizes no attribute tells."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 64))

    def forward(self, x):
        return nn.functional.normalize(x) @ nn.functional.normalize(self.weight).T


@pytest.mark.parametrize(
    ("head", "num_classes"),
    [
        (nn.Linear(64, 7), 7),
        (nn.Sequential(nn.Dropout(0.2), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3)), 3),
        (nn.Sequential(nn.Linear(64, 4), nn.BatchNorm1d(4)), 4),
        (nn.Identity(), 0),
        (nn.utils.parametrizations.weight_norm(nn.Linear(64, 6)), 6),
    ],
)
def test_num_classes_follows_a_replaced_head(head, num_classes):
    net = create_model("resnet20").eval()
    net.fc = head.eval()
    assert net.num_classes == num_classes
    assert net.num_features == net.head_hidden_size == 64
    with torch.no_grad():
        assert net(torch.randn(2, 3, 8, 8)).shape == (2, num_classes or 64)
    net.reset_classifier(9)
    assert net.num_classes == net.fc.out_features == 9


def test_a_head_without_sizes_has_the_number_of_classes_that_was_asked_for():
    net = create_model("resnet20", num_classes=5, head=lambda features, classes: Cosine())
    assert (net.num_classes, net.num_features) == (5, 64)


def test_in_chans_follows_a_replaced_stem():
    net = create_model("resnet18", stem="deep", in_chans=2)
    assert net.in_chans == 2
    net.conv1 = nn.Conv2d(5, 64, 3, stride=2, padding=1)
    assert net.in_chans == 5


def test_the_head_drops_the_pooled_features_in_training_alone():
    net = create_model("resnet20", drop_rate=0.5)
    assert net.drop_rate == 0.5
    assert list(net.state_dict()) == list(create_model("resnet20").state_dict())
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        pooled = net.forward_head(net.forward_features(images), pre_logits=True)
        kept = pooled != 0
        assert 0.3 < kept.float().mean() < 0.7
        net.eval()
        maps = net.forward_features(images)
        torch.testing.assert_close(net.forward_head(maps, pre_logits=True), maps.mean((2, 3)))
        net.train().drop_rate = 0.0
        torch.testing.assert_close(net.forward_head(maps, pre_logits=True), maps.mean((2, 3)))


def test_grad_checkpointing_is_an_attribute_that_can_be_set():
    net = create_model("resnet20")
    assert net.grad_checkpointing is False
    net.set_grad_checkpointing()
    assert net.grad_checkpointing
    net.grad_checkpointing = False
    assert not any(stage.checkpointing for stage in (net.layer1, net.layer2, net.layer3))


# Groups of layers.


@pytest.mark.parametrize(("name", "coarse"), [("resnet18", True), ("resnet50", False)])
def test_groups_of_parameters_are_those_of_timm(name, coarse):
    ours, theirs = create_model(name), timm.create_model(name)
    groups = [timm.models.group_parameters(net, net.group_matcher(coarse), reverse=True) for net in (ours, theirs)]
    assert groups[0] == groups[1]
    assert len(set(groups[0].values())) > 5


def test_the_last_activation_belongs_to_the_last_block():
    net = create_model("resnet20", order="full_pre_activation")
    groups = timm.models.group_parameters(net, net.group_matcher(), reverse=True)
    assert groups["last_activation.0.weight"] == groups["layer3.2.conv2.weight"] == 9
    assert groups["conv1.weight"] == groups["bn1.weight"] == 0
    assert groups["fc.bias"] == 10


def test_layer_decay_gives_each_block_its_factor():
    net = create_model("resnet20")
    groups = optim.param_groups_layer_decay(net, layer_decay=0.5)
    factors = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
    assert factors[id(net.fc.weight)] == 1
    assert factors[id(net.layer3[2].conv1.weight)] == 0.5
    assert factors[id(net.layer1[0].conv1.weight)] == 0.5**9
    assert factors[id(net.conv1.weight)] == 0.5**10


# What timm knows of the images.


@pytest.mark.parametrize(
    ("name", "options", "size", "mean", "first_conv"),
    [
        ("resnet18", {}, (3, 224, 224), (0.485, 0.456, 0.406), "conv1"),
        ("resnet18", {"stem": "deep"}, (3, 224, 224), (0.485, 0.456, 0.406), "conv1.0"),
        ("preact_resnet110", {}, (3, 32, 32), (0.4914, 0.4822, 0.4465), "conv1"),
        ("resnet20", {"in_chans": 1}, (1, 32, 32), (0.4734,), "conv1"),
        ("resnet20", {"in_chans": 4}, (4, 32, 32), (0.4734,) * 4, "conv1"),
    ],
)
def test_pretrained_cfg_describes_the_images_of_the_net(name, options, size, mean, first_conv):
    net = create_model(name, **options)
    found = timm.data.resolve_model_data_config(net)
    assert found["input_size"] == size
    assert found["mean"] == mean
    assert len(found["std"]) == size[0]
    transform = timm.data.create_transform(**found)
    assert transform.transforms[-1].std.tolist() == pytest.approx(found["std"])
    cfg = net.pretrained_cfg
    assert net.default_cfg is cfg
    assert (cfg["architecture"], cfg["first_conv"], cfg["classifier"]) == (name, first_conv, "fc")
    assert cfg["num_classes"] == net.num_classes
    assert isinstance(net.get_submodule(cfg["first_conv"]), nn.Conv2d)
    assert net.get_classifier(name_only=True) == "fc"
    maps = create_model(name, features_only=True, **options).pretrained_cfg
    assert maps == {key: value for key, value in cfg.items() if key not in ("classifier", "num_classes")}


def test_the_name_may_be_given_as_timm_calls_it():
    net = create_model(model_name="resnet20", num_classes=7)
    assert net.num_classes == 7
    with pytest.raises(InputError, match="unknown model 'resnet'"):
        create_model(model_name="resnet")
