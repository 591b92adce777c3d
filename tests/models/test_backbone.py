import copy
import re
import weakref
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nets import part_of, randomize_norms, snapshot, tiny
from resnet_lightning import Bottleneck, InputError, create_model
from resnet_lightning.models.blocks import ORDERS

# One of each kind: block, stem, order, shortcut.
NETS = [
    pytest.param(name, options, id="-".join([name, *map(str, options.values())]))
    for name, options in [
        ("resnet18", {}),
        ("resnet50", {"stem": "deep"}),
        ("plain20", {}),
        ("resnet9", {}),
        ("resnet_fast", {"zero_init_residual": False}),
        ("resnet20", {"shortcut": "exclusive_gating"}),
        ("resnet20", {"shortcut": "shortcut_gating", "order": "full_pre_activation"}),
        ("preact_resnet164", {"stem": "imagenet"}),
        *(("resnet20", {"order": order}) for order in ORDERS),
    ]
]


def map_modules(net):
    """The modules of a whole net that return its maps, in order."""
    last = "last_activation" if hasattr(net, "last_activation") else net.stage_names[-1]
    return [net.get_submodule(name) for name in ("relu", *net.stage_names[:-1], last)]


def maps_by_hooks(net, images):
    """A net's maps and its logits, each copied as soon as there is one."""
    maps = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: maps.append(output.clone()))
        for module in map_modules(net)
    ]
    logits = net(images)
    for hook in hooks:
        hook.remove()
    return maps, logits


# Feature maps.


@pytest.mark.parametrize(("name", "options"), NETS)
def test_feature_maps_are_those_inside_the_whole_net(name, options):
    net = randomize_norms(create_model(name, **options)).eval()
    body = create_model(name, features_only=True, pretrained=net.state_dict(), **options).eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps, (expected, _) = body(images), maps_by_hooks(net, images)
    assert isinstance(maps, list)
    assert len(maps) == len(expected) == len(net.stage_names) + 1
    for found, wanted in zip(maps, expected, strict=True):
        assert torch.equal(found, wanted)  # nor has anything later in the net changed it in place
        assert found.unique().numel() > 100  # nor are they all the same number

    info = body.feature_info
    assert info.channels() == [found.shape[1] for found in maps]
    assert [(64 // reduction, 96 // reduction) for reduction in info.reduction()] == [
        tuple(found.shape[2:]) for found in maps
    ]
    assert [net.get_submodule(module) for module in info.module_name()] == map_modules(net)
    assert body.num_features == net.num_features == info.channels()[-1]
    assert body.reduction == net.reduction == info.reduction()[-1]


@pytest.mark.parametrize(("name", "options"), NETS)
def test_a_map_is_not_changed_in_place_after_it_is_handed_on_in_training(name, options):
    body = create_model(name, features_only=True, **options)
    copies = []
    for module in map_modules(body):
        module.register_forward_hook(lambda module, inputs, output: copies.append(output.detach().clone()))
    maps = body(torch.randn(2, 3, 64, 64))
    for found, copied in zip(maps, copies, strict=True):
        assert torch.equal(found, copied)
    # All of them at once have gradients: none was overwritten that the backward pass needs.
    sum(found.square().mean() for found in maps).backward()
    for key, parameter in body.named_parameters():
        assert parameter.grad.any(), key


@pytest.mark.parametrize("order", [order for order in ORDERS if ORDERS[order].before_conv])
def test_a_map_is_not_changed_in_place_where_the_norms_do_nothing(order):
    class NoNorm(nn.Module):
        def __init__(self, planes):
            super().__init__()

        def forward(self, x):
            return x

    net = tiny(order=order, norm_layer=NoNorm)
    body = copy.deepcopy(net).keep_features()
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        maps, (expected, _) = body(images), maps_by_hooks(net, images)
    for found, wanted in zip(maps, expected, strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    ("name", "out_indices"),
    [
        *(("resnet20", out_indices) for out_indices in [(1, 2), (-1,), (-2, 1), (3, -4), (1, 1)]),
        *(("resnet18", out_indices) for out_indices in [(2, 0), (3, -4)]),
    ],
)
def test_maps_come_in_the_order_asked_for(name, out_indices):
    net = create_model(name).eval()
    body = create_model(name, features_only=True, out_indices=out_indices, pretrained=net.state_dict()).eval()
    everything = create_model(name).feature_info
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps, (expected, _) = body(images), maps_by_hooks(net, images)
    assert len(maps) == len(out_indices)
    for found, i in zip(maps, out_indices, strict=True):
        assert torch.equal(found, expected[i])
    assert list(body.feature_info) == [everything[i] for i in out_indices]


@pytest.mark.parametrize(
    ("name", "channels", "reduction", "modules"),
    [
        ("resnet18", [64, 64, 128, 256, 512], [2, 4, 8, 16, 32], "relu layer1 layer2 layer3 layer4"),
        ("resnet50", [64, 256, 512, 1024, 2048], [2, 4, 8, 16, 32], "relu layer1 layer2 layer3 layer4"),
        ("resnet20", [16, 16, 32, 64], [1, 1, 2, 4], "relu layer1 layer2 layer3"),
        ("preact_resnet164", [16, 64, 128, 256], [1, 1, 2, 4], "relu layer1 layer2 last_activation"),
        ("wide_resnet28_10", [16, 160, 320, 640], [1, 1, 2, 4], "relu layer1 layer2 last_activation"),
        ("resnet9", [64, 128, 256, 512], [1, 2, 4, 8], "relu layer1 layer2 layer3"),
        ("resnet_fast", [16, 32, 64, 128], [1, 2, 4, 8], "relu layer1 layer2 layer3"),
    ],
)
def test_feature_info_holds_channels_reduction_and_module_of_each_map(name, channels, reduction, modules):
    with torch.device("meta"):
        whole, body = create_model(name), create_model(name, features_only=True, out_indices=(-1, 1))
    assert whole.feature_info.channels() == channels
    assert whole.num_features == channels[-1]
    assert whole.feature_info.reduction() == reduction
    assert whole.feature_info.module_name() == modules.split()
    assert body.feature_info.channels() == [channels[-1], channels[1]]
    assert body.feature_info[0].reduction == reduction[-1]


def test_the_last_map_of_a_pre_activation_net_is_activated_and_no_other():
    net = randomize_norms(create_model("resnet20", order="full_pre_activation")).eval()
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        last, middle = copy.deepcopy(net).keep_features((3, 2))(images)
        x = net.layer2(net.layer1(net.relu(net.bn1(net.conv1(images)))))
        assert torch.equal(middle, x)
        assert middle.min() < 0
        bn, relu = net.last_activation
        assert isinstance(relu, nn.ReLU)
        assert torch.equal(last, bn(net.layer3(x)).clamp(min=0))

    # The map of its second stage is not activated either where it is the last one asked for.
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(net).keep_features((2,))(images)[0], middle)


@pytest.mark.parametrize("order", ["original", "full_pre_activation"])
@pytest.mark.parametrize(
    ("out_indices", "children"),
    [
        ((0,), "conv1 bn1 relu"),
        ((1,), "conv1 bn1 relu maxpool layer1"),
        ((2, 0), "conv1 bn1 relu maxpool layer1 layer2"),
        ((1, -1), "conv1 bn1 relu maxpool layer1 layer2 layer3"),
    ],
)
def test_nothing_after_the_last_map_exists(order, out_indices, children):
    whole = create_model("resnet20", order=order)
    body = create_model("resnet20", order=order, features_only=True, out_indices=out_indices)
    expected = children.split()
    if order == "full_pre_activation" and "layer3" in expected:
        expected.append("last_activation")
    assert [name for name, _ in body.named_children()] == expected
    assert list(body.state_dict()) == [key for key in whole.state_dict() if part_of(key) in expected]


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_nothing_after_the_last_map_is_computed(depth):
    net = create_model("resnet20", order="full_pre_activation").eval()
    body = copy.deepcopy(net).keep_features((depth,))
    parts = nn.Sequential(*(getattr(net, name) for name in ["conv1", "bn1", *net.stage_names[:depth]]))
    flops = []
    for module in (body, parts):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(torch.randn(1, 3, 16, 16))
        flops.append(counter.get_total_flops())
    assert flops[0] == flops[1] > 0


def test_only_the_maps_asked_for_are_kept():
    body = create_model("resnet18", features_only=True, out_indices=(1, 4)).eval()
    maps, alive = {}, {}

    def remember(i, module, inputs, output):
        maps[i] = weakref.ref(output)

    def look(i, module, inputs):
        alive[i] = [k for k in maps if maps[k]() is not None]

    for i, name in enumerate(["relu", "layer1", "layer2", "layer3", "layer4"]):
        body.get_submodule(name).register_forward_hook(partial(remember, i))
        body.get_submodule(name).register_forward_pre_hook(partial(look, i))
    with torch.no_grad():
        kept = body(torch.randn(1, 3, 64, 64))
    # As a stage begins, its input is alive, and the first stage's map from then on.
    assert alive == {0: [], 1: [], 2: [1], 3: [1, 2], 4: [1, 3]}
    assert [k for k in maps if maps[k]() is not None] == [1, 4]
    assert [found is maps[k]() for found, k in zip(kept, (1, 4), strict=True)] == [True, True]


def test_the_weights_of_a_body_are_loaded_into_a_body():
    options = {"features_only": True, "out_indices": (1, 2)}
    body = create_model("resnet20", **options)
    again = create_model("resnet20", pretrained=body.state_dict(), **options)
    images = torch.randn(2, 3, 16, 16)
    for found, expected in zip(again(images), body(images), strict=True):
        assert torch.equal(found, expected)


def test_everything_asked_for_at_once_gives_the_maps_and_gradients_of_the_whole_net():
    weights = randomize_norms(create_model("resnet18")).state_dict()
    body = create_model(
        "resnet18",
        features_only=True,
        out_indices=(2, -1),
        output_stride=8,
        frozen_stages=1,
        pretrained=weights,
    ).train()
    body.set_grad_checkpointing()
    assert body.feature_info.reduction() == [8, 8]

    net = create_model("resnet18", output_stride=8, pretrained=weights).train()
    for module in (net.conv1, net.bn1, net.layer1):
        module.eval().requires_grad_(False)

    images = torch.randn(2, 3, 64, 64)
    maps, (expected, _) = body(images), maps_by_hooks(net, images)
    for found, wanted in zip(maps, (expected[2], expected[4]), strict=True):
        assert torch.equal(found, wanted)
        assert found.shape[2:] == (8, 8)
    (maps[0].square().mean() + maps[1].square().mean()).backward()
    (expected[2].square().mean() + expected[4].square().mean()).backward()
    theirs = dict(net.named_parameters())
    for key, parameter in body.named_parameters():
        if part_of(key) in ("conv1", "bn1", "layer1"):
            assert parameter.grad is None, key
        else:
            torch.testing.assert_close(parameter.grad, theirs[key].grad)
    for key, buffer in body.named_buffers():
        assert torch.equal(buffer, net.get_buffer(key)), key


@pytest.mark.parametrize("out_indices", [(5,), (-6,), (1, 7), (), [], 6, 0, True, ["layer1"]])
def test_out_indices_that_do_not_exist_are_refused_by_name(out_indices):
    message = rf"out_indices is {re.escape(str(out_indices))}; give a list of maps; this net has 0 \(the stem\) to 4"
    with torch.device("meta"), pytest.raises(InputError, match=message):
        create_model("resnet18", features_only=True, out_indices=out_indices)


def test_out_indices_without_features_only_are_refused():
    with pytest.raises(InputError, match=r"out_indices selects feature maps; it needs features_only=True"):
        create_model("resnet20", out_indices=(1,))


# Dilation.


DILATED = [
    pytest.param(make, output_stride, id=f"{key}-{output_stride}")
    for key, make, strides in [
        ("resnet18", partial(create_model, "resnet18"), (16, 4)),
        ("resnet50", partial(create_model, "resnet50"), (8,)),
        ("deep", partial(create_model, "resnet18", stem="deep"), (8,)),
        ("resnet20", partial(create_model, "resnet20"), (1,)),
        ("plain20", partial(create_model, "plain20"), (1,)),
        ("gates", partial(create_model, "resnet20", shortcut="exclusive_gating"), (1,)),
        ("preact-resnet20", partial(create_model, "resnet20", order="full_pre_activation"), (2,)),
        ("bottlenecks-of-cifar", partial(tiny, Bottleneck, order="full_pre_activation"), (1,)),
        ("strides-of-their-own", partial(tiny, strides=(2, 1, 4), stem_planes=3), (2, 1)),
    ]
    for output_stride in strides
]


# One side that all strides divide, and one that they do not.
@pytest.mark.parametrize(("height", "width"), [(64, 45)])
@pytest.mark.parametrize(("make", "output_stride"), DILATED)
def test_dilated_maps_are_the_strided_ones_between_more_pixels(make, output_stride, height, width):
    strided = randomize_norms(make()).double().eval()
    dilated = make(output_stride=output_stride).double().eval()
    dilated.load_state_dict(strided.state_dict())
    natural, changed = strided.feature_info.reduction(), dilated.feature_info.reduction()
    assert changed == [min(reduction, output_stride) for reduction in natural]
    assert dilated.reduction == output_stride < strided.reduction

    images = torch.randn(1, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        found, expected = dilated.keep_features()(images), strided.keep_features()(images)
    for i, (dense, sparse) in enumerate(zip(found, expected, strict=True)):
        step = natural[i] // changed[i]
        assert dense.shape[2:] == (-(-height // changed[i]), -(-width // changed[i]))
        torch.testing.assert_close(dense[:, :, ::step, ::step], sparse, rtol=1e-9, atol=1e-9)


def test_an_output_stride_as_by_nature_changes_nothing():
    net, same = create_model("resnet18"), create_model("resnet18", output_stride=32)
    assert repr(net) == repr(same)
    assert net.feature_info == same.feature_info


@pytest.mark.parametrize(
    ("name", "output_stride", "possible"),
    [
        ("resnet18", 2, "4, 8, 16, 32"),
        ("resnet50", 64, "4, 8, 16, 32"),
        ("resnet18", 0, "4, 8, 16, 32"),
        ("resnet20", 3, "1, 2, 4"),
    ],
)
def test_an_output_stride_that_cannot_be_is_refused_with_those_that_can(name, output_stride, possible):
    message = f"output_stride is {output_stride}; this net can have {possible}$"
    with torch.device("meta"), pytest.raises(InputError, match=message):
        create_model(name, output_stride=output_stride)


# The head and the pool.


POOLS = {"avg": lambda x: x.mean((2, 3)), "max": lambda x: x.amax((2, 3)), "": lambda x: x}


@pytest.mark.parametrize(("name", "pool"), [("resnet18", "max"), ("resnet18", ""), ("preact_resnet110", "avg")])
def test_a_net_without_classes_returns_what_its_pool_makes_of_the_last_map(name, pool):
    net = create_model(name, num_classes=0, global_pool=pool).eval()
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        maps = net.forward_features(images)
        expected = POOLS[pool](maps)
        torch.testing.assert_close(net(images), expected)
        assert torch.equal(net.forward_head(maps, pre_logits=True), net(images))
    assert maps.shape[2] == 2 * maps.shape[3]
    assert expected.shape[1] == net.num_features
    assert isinstance(net.get_classifier(), nn.Identity)
    assert not any(key.startswith("fc.") for key in net.state_dict())


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_logits_are_the_classifier_of_the_pooled_features(pool):
    net = create_model("resnet20", global_pool=pool, num_classes=7).eval()
    images = torch.randn(2, 3, 16, 24)
    with torch.no_grad():
        maps = net.forward_features(images)
        features = net.forward_head(maps, pre_logits=True)
        torch.testing.assert_close(features, POOLS[pool](maps))
        classifier = net.get_classifier()
        assert classifier.weight.shape == (7, net.num_features)
        torch.testing.assert_close(net(images), features @ classifier.weight.T + classifier.bias)
        assert torch.equal(net.forward_head(maps), net(images))


def test_reset_classifier_changes_head_and_pool_and_nothing_else():
    net = create_model("resnet20").eval()
    body = {key: tensor for key, tensor in snapshot(net).items() if part_of(key) != "fc"}
    images = torch.randn(2, 3, 16, 24)
    maps = net.forward_features(images)

    old = net.get_classifier()
    net.reset_classifier(10)
    assert not torch.equal(net.get_classifier().weight, old.weight)

    net.reset_classifier(7, "max")
    assert net.num_classes == 7
    torch.testing.assert_close(net(images), net.get_classifier()(maps.amax((2, 3))))
    net.reset_classifier(3)  # keeps the pool
    torch.testing.assert_close(net(images), net.get_classifier()(maps.amax((2, 3))))
    net.reset_classifier(0, global_pool="")
    assert torch.equal(net(images), maps)
    net.reset_classifier(0, "avg")
    torch.testing.assert_close(net(images), maps.mean((2, 3)))

    assert list(net.state_dict()) == list(body)
    assert all(torch.equal(tensor, body[key]) for key, tensor in net.state_dict().items())


# Images that are too small.


@pytest.mark.parametrize(
    ("name", "options", "smallest"),
    [
        ("resnet18", {}, 17),
        ("resnet18", {"output_stride": 8}, 5),
        ("resnet18", {"stem": "cifar"}, 5),
        ("resnet18", {"features_only": True, "out_indices": (2,)}, 5),
        ("resnet18", {"features_only": True, "out_indices": (0,)}, 2),
        ("resnet20", {}, 3),
        ("resnet20", {"output_stride": 1}, 1),
    ],
)
def test_the_smallest_image_still_has_two_pixels_before_the_last_stride(name, options, smallest):
    with torch.device("meta"):
        net = create_model(name, **options)
        net(torch.empty(2, 3, smallest, smallest))
        if smallest > 1:
            with pytest.raises(InputError, match=f"give at least {smallest}x{smallest}"):
                net(torch.empty(2, 3, smallest - 1, smallest))


def test_a_net_that_returns_maps_has_no_head_and_drops_no_more():
    body = create_model("resnet20", features_only=True, out_indices=(0, 1))
    for use_head in (
        body.get_classifier,
        lambda: body.reset_classifier(10),
        lambda: body.forward_head(torch.ones(1, 16)),
    ):
        with pytest.raises(InputError, match="this net returns feature maps and has no head"):
            use_head()
    with pytest.raises(InputError, match="this net returns feature maps already"):
        body.keep_features((1,))
    assert [child for child, _ in body.named_children()] == ["conv1", "bn1", "relu", "maxpool", "layer1"]
