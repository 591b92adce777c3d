"""The named models: published sizes, torchvision's weights and logits, shapes, and refused arguments."""

import functools
import math
import re

import pytest
import torch
import torchvision
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

import resnet_lightning
from nets import randomize_norms
from resnet_lightning import BasicBlock, InputError, ResNet, create_model, list_models
from resnet_lightning.models import MODELS
from resnet_lightning.models.cifar import cifar_bottlenecks, cifar_resnet, wide_resnet

TORCHVISION_NAMES = [
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
]
IMAGENET_NAMES = ["plain18", "plain34", *TORCHVISION_NAMES]
# One of each kind of block, shortcut, order and stem. The other models differ from one of these in depth or width.
FAMILIES = [
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "resnet20",
    "plain20",
    "preact_resnet110",
    "preact_resnet164",
    "wide_resnet16_8",
    "resnet9",
    "resnet_fast",
]
SPEED_RUNS = ["resnet9", "resnet_fast"]  # a max pool before a head whose logits are divided by 8

PUBLISHED_PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "resnet1202": 19_421_274,
    "preact_resnet110": 1_727_962,
    "preact_resnet164": 1_703_258,
    "preact_resnet1001": 10_327_706,
    "wide_resnet16_8": 10_961_370,
    "wide_resnet28_10": 36_479_194,
    "wide_resnet40_4": 8_949_210,
    "resnet9": 6_573_120,
    "resnet_fast": 468_368,
}
# Option A has no parameters, so a plain network has as many as the residual one; on ImageNet, minus three projections.
PROJECTIONS = sum(planes // 2 * planes + 2 * planes for planes in (128, 256, 512))
PUBLISHED_PARAMETERS |= {
    f"plain{depth}": PUBLISHED_PARAMETERS[f"resnet{depth}"] - (PROJECTIONS if depth < 20 or depth == 34 else 0)
    for depth in (18, 20, 32, 34, 44, 56, 110)
}


def on_meta(name, **options):
    """The network without memory for its weights: enough for shapes, and fast."""
    with torch.device("meta"):
        return create_model(name, **options)


def torchvisions(name, **options):
    """torchvision's network on the meta device."""
    with torch.device("meta"):
        return getattr(torchvision.models, name)(**options)


def with_random_weights(net):
    """The network with weights and batch-norm statistics as after training, drawn faster than by its constructor."""
    net.to_empty(device="cpu")
    for parameter in net.parameters():
        bound = math.sqrt(6 / parameter[0].numel()) if parameter.ndim > 1 else 0.2  # keeps the scale of the map
        nn.init.uniform_(parameter, -bound, bound)
    for buffer in net.buffers():
        buffer.zero_()
    return randomize_norms(net).eval()


def image_sizes(net):
    """Two image sizes, one of them odd and not square, that leave more than one pixel in every stage.

    A batch norm over two values, one of each image, has almost no gradient.
    """
    r = net.reduction
    return [(40, 40), (33, 50)] if r == 32 else [(2 * r, 2 * r), (2 * r + 1, 3 * r + 2)]


# Every registered model, on the meta device.


@functools.cache
def outline(name):
    return on_meta(name)


every_model = pytest.mark.parametrize("name", list_models())


def test_the_published_sizes_cover_every_model():
    assert set(PUBLISHED_PARAMETERS) == set(list_models())
    assert set(FAMILIES) < set(list_models())


@every_model
def test_parameter_count_is_the_published_one_and_the_one_in_the_docstring(name):
    net = outline(name)
    count = sum(parameter.numel() for parameter in net.parameters())
    assert count == PUBLISHED_PARAMETERS[name]
    assert re.findall(r"([\d,]+) parameters", getattr(resnet_lightning, name).__doc__) == [f"{count:,}"]
    assert all(module.bias is None for module in net.modules() if isinstance(module, nn.Conv2d))


@every_model
def test_shortcuts_have_parameters_only_where_the_shape_changes_and_the_paper_gives_them_some(name):
    net = outline(name)
    found = [key for key, _ in net.named_parameters() if "downsample" in key]
    with_norm = [f"downsample.{key}" for key in ("0.weight", "1.weight", "1.bias")]  # option B
    if name in ("resnet18", "resnet34"):
        expected = [f"layer{k}.0.{key}" for k in (2, 3, 4) for key in with_norm]
    elif name in TORCHVISION_NAMES:  # bottlenecks, whose first stage has four times the channels of the stem
        expected = [f"layer{k}.0.{key}" for k in (1, 2, 3, 4) for key in with_norm]
    elif name.startswith("wide_resnet") or name in ("preact_resnet164", "preact_resnet1001"):
        expected = [f"layer{k}.0.downsample.weight" for k in (1, 2, 3)]
    else:  # option A, no shortcut, or no change of shape
        expected = []
    assert found == expected


# The others are built like their shallower kin; a thousand layers take seconds even on the meta device.
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FAMILIES else pytest.mark.slow) for name in list_models()]
)
def test_logits_and_feature_maps_have_the_documented_shapes_down_to_the_smallest_image(name):
    net = outline(name)
    classes = 1000 if name in IMAGENET_NAMES else 10
    assert net.forward_head(torch.zeros(2, net.num_features, 1, 1, device="meta")).shape == (2, classes)

    # Also for gray images and without a head: only the first convolution and the head differ.
    body = on_meta(name, in_chans=1, features_only=True)
    weights = net.state_dict()
    head = [key for key in weights if key.startswith("fc.")]
    assert head == (["fc.weight"] if name in SPEED_RUNS else ["fc.weight", "fc.bias"])
    assert list(body.state_dict()) == [key for key in weights if key not in head]
    assert [key for key, tensor in body.state_dict().items() if tensor.shape != weights[key].shape] == ["conv1.weight"]

    # Strides and pools round up, so the last one needs two pixels to halve something.
    reduction, smallest = (32, 17) if name in IMAGENET_NAMES else (8, 5) if name in SPEED_RUNS else (4, 3)
    for height, width in [(smallest - 1, smallest), (smallest, smallest - 1)]:
        with pytest.raises(InputError, match=f"{height}x{width} is too small .* at least {smallest}x{smallest}, or"):
            body(torch.zeros(2, 1, height, width, device="meta"))
    info = body.feature_info
    assert len(info) == (5 if name in IMAGENET_NAMES else 4)
    assert info.reduction()[-1] == body.reduction == reduction
    maps = body(torch.zeros(2, 1, smallest, 3 * reduction, device="meta"))
    assert [tuple(feature.shape) for feature in maps] == [
        (2, channels, -(-smallest // r), 3 * reduction // r)
        for channels, r in zip(info.channels(), info.reduction(), strict=True)
    ]
    assert maps[-1].shape == (2, net.num_features, 1, 3)


def test_the_function_of_a_model_is_create_model_with_its_name(monkeypatch):
    monkeypatch.setattr("resnet_lightning.models.registry.create_model", lambda *names, **options: (names, options))
    for name in list_models():
        function = getattr(resnet_lightning, name)
        assert function(num_classes=7, in_chans=1) == ((name,), {"num_classes": 7, "in_chans": 1})
        assert function.__name__ == name


# Forward and backward passes, once a family.


@pytest.fixture(scope="module", params=FAMILIES)
def named(request):
    torch.manual_seed(0)
    return request.param, create_model(request.param)


# Fresh networks run in training mode: with the initial statistics, the maps of a deep one have large values.
def test_logits_are_finite_at_any_size_and_the_head_of_the_pooled_last_map(named):
    name, net = named
    for height, width in image_sizes(net):
        images = torch.randn(2, 3, height, width)
        with torch.no_grad():
            maps = net.forward_features(images)
            found = net(images)
            assert found.isfinite().all()
            assert not torch.equal(found[0], found[1])
            pooled = maps.amax((2, 3)) if name in SPEED_RUNS else maps.mean((2, 3))
            torch.testing.assert_close(net.forward_head(maps, pre_logits=True), pooled)
            logits = F.linear(pooled, net.fc.weight / 8) if name in SPEED_RUNS else net.fc(pooled)
            torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FAMILIES else pytest.mark.slow) for name in list_models()]
)
def test_every_parameter_gets_a_gradient(name):
    # Residual branches that begin at zero pass no gradient on before the first step.
    net = create_model(name, zero_init_residual=False)
    F.cross_entropy(net(torch.randn(2, 3, *image_sizes(net)[0])), torch.tensor([0, 1])).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


def test_a_gray_image_gives_the_logits_of_its_color_copy(named):
    name, net = named
    gray = on_meta(name, in_chans=1, num_classes=0)
    weights = net.state_dict()
    head = [key for key in weights if key.startswith("fc.")]
    # A color image of three equal channels is a gray one for a first convolution of the summed weights. Each layer
    # amplifies the rounding errors before it, 110 plain layers ten million times; the small networks run in doubles.
    dtype, tolerance = (torch.float, 2e-2) if name in IMAGENET_NAMES else (torch.double, 1e-6)
    weights = {key: tensor.to(dtype) for key, tensor in weights.items()}
    others = {key: weights[key] for key in gray.state_dict()}
    others["conv1.weight"] = weights["conv1.weight"].sum(1, keepdim=True)
    images = torch.randn(2, 1, *image_sizes(net)[1], dtype=dtype)
    with torch.no_grad():
        features = functional_call(gray, others, images)
        logits = functional_call(net, weights, images.expand(-1, 3, -1, -1))
        assert features.shape == (2, net.num_features)
        assert features.isfinite().all()
        found = functional_call(net.fc, {key.removeprefix("fc."): weights[key] for key in head}, features)
    torch.testing.assert_close(found, logits, rtol=0, atol=tolerance)


def test_convolutions_are_initialized_as_in_he_et_al(named):
    _, net = named
    if named[0] == "resnet_fast":
        net = create_model("resnet_fast", dirac_init=False)
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            n = module.weight.numel()
            std = math.sqrt(2 / (module.out_channels * module.kernel_size[0] * module.kernel_size[1]))
            # Within 5 standard deviations of the statistics of n normal numbers.
            assert module.weight.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * n)), name
            assert abs(module.weight.mean().item()) < 5 * std / math.sqrt(n), name


def test_the_function_of_a_model_draws_the_weights_that_create_model_draws():
    torch.manual_seed(3)
    weights = resnet_lightning.preact_resnet110(num_classes=7).state_dict()
    torch.manual_seed(3)
    same = create_model("preact_resnet110", num_classes=7).state_dict()
    assert list(weights) == list(same)
    assert all(torch.equal(weights[key], same[key]) for key in weights)
    with pytest.raises(InputError, match="model 'resnet20' takes no option 'in_chan'; did you mean 'in_chans'"):
        resnet_lightning.resnet20(in_chan=1)


def test_models_are_listed_by_family_and_depth_and_by_pattern():
    assert list_models("resnet1*") == ["resnet18", "resnet101", "resnet110", "resnet152", "resnet1202"]
    assert list_models("plain*") == [f"plain{depth}" for depth in (18, 20, 32, 34, 44, 56, 110)]
    assert list_models("preact*") == ["preact_resnet110", "preact_resnet164", "preact_resnet1001"]
    assert list_models("resnext*") == ["resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"]
    assert list_models("wide*") == [f"wide_resnet{size}" for size in ("16_8", "28_10", "40_4", "50_2", "101_2")]
    assert list_models("no such*") == []
    families = [re.match(r"\D+", name)[0] for name in list_models()]
    assert families == sorted(families)
    assert sorted(list_models()) == sorted(MODELS)


# torchvision's networks.


@pytest.mark.parametrize("name", TORCHVISION_NAMES)
def test_children_and_state_dict_are_torchvisions_in_names_order_and_shapes(name):
    ours, theirs = on_meta(name), torchvisions(name)
    assert [child for child, _ in ours.named_children()] == [child for child, _ in theirs.named_children()]
    assert [(key, tensor.shape) for key, tensor in ours.state_dict().items()] == [
        (key, tensor.shape) for key, tensor in theirs.state_dict().items()
    ]
    # Where the strides, groups and dilations are: the shapes of the weights do not depend on them.
    assert [str(module) for module in ours.modules() if isinstance(module, nn.Conv2d)] == [
        str(module) for module in theirs.modules() if isinstance(module, nn.Conv2d)
    ]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2"])
def test_weights_load_into_torchvisions_network_and_back_and_give_equal_logits(name):
    theirs = with_random_weights(torchvisions(name))
    ours = on_meta(name).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    images = torch.randn(2, 3, 40, 33)
    with torch.no_grad():
        logits = ours(images)
        assert logits.isfinite().all()
        assert not torch.allclose(logits[0], logits[1])
        assert torch.equal(logits, theirs(images))

        back = torchvisions(name).eval()
        back.load_state_dict(ours.state_dict(), strict=True, assign=True)
        assert torch.equal(back(images), logits)


@pytest.mark.parametrize(
    ("name", "output_stride", "replaced"),
    [("resnet50", 8, [False, True, True]), ("resnext50_32x4d", 16, [False, False, True])],
)
def test_output_stride_is_torchvisions_replace_stride_with_dilation(name, output_stride, replaced):
    theirs = with_random_weights(torchvisions(name, replace_stride_with_dilation=replaced))
    ours = on_meta(name, output_stride=output_stride).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    images = torch.randn(1, 3, 48, 32)
    with torch.no_grad():
        maps = ours.forward_features(images)
        assert maps.shape[2:] == (48 // output_stride, 32 // output_stride)
        assert torch.equal(ours.forward_head(maps), theirs(images))


# The head.


def test_reset_classifier_keeps_the_kind_of_head():
    net = create_model("resnet9")
    net.reset_classifier(7)
    features = torch.randn(2, 512)
    torch.testing.assert_close(net.fc(features), features @ net.fc.weight.T / 8)
    assert net.fc.weight.shape == (7, 512)


def test_a_new_head_has_the_dtype_and_the_device_of_the_body():
    net = create_model("resnet20").double()
    net.reset_classifier(3)
    assert net(torch.randn(2, 3, 8, 8, dtype=torch.double)).shape == (2, 3)
    net = on_meta("resnet20")
    net.reset_classifier(3)
    assert {parameter.device.type for parameter in net.fc.parameters()} == {"meta"}


# Wrong input.

ORDERS = "act_before_addition, act_only_pre_activation, full_pre_activation, norm_after_addition, original"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet5", {}, r"unknown model 'resnet5'; did you mean 'resnet5[06]' or "),
        ("vgg", {}, r"unknown model 'vgg'; known: plain110, plain18, .*resnet56, .*, wide_resnet50_2$"),
        ("resnet18", {"num_clases": 10}, r"model 'resnet18' takes no option 'num_clases'; did you mean 'num_classes'"),
        ("resnet20", {"norm_laier": "batch"}, r"model 'resnet20' takes no option 'norm_laier'; did you mean 'norm_lay"),
        ("resnet20", {"dropout": 0.1}, r"model 'resnet20' takes no option 'dropout'; did you mean 'drop_rate'\?"),
        ("resnet20", {"bias": True}, r"model 'resnet20' takes no option 'bias'; known: act_layer, .*, strides, z"),
        ("wide_resnet16_8", {"dropot": 0.1}, r"'wide_resnet16_8' takes no option 'dropot'; did you mean 'dropout'"),
        ("wide_resnet16_8", {"dropout": 2}, r"cannot be built from \{'dropout': 2\}: dropout probability has to be"),
        ("resnet20", {"depths": (1, 1)}, r"model 'resnet20' takes no option 'depths'"),
        ("resnet18", {"stem": "cifr"}, r"unknown stem 'cifr'; did you mean 'cifar'\?"),
        ("resnet18", {"norm_layer": "grup"}, r"unknown norm_layer 'grup'; did you mean 'group'\?"),
        (
            "resnet18",
            {"act_layer": "mish"},
            r"unknown act_layer 'mish'; known: celu, elu, gelu, leaky_relu, relu, silu$",
        ),
        ("resnet18", {"shortcut": "projektion"}, r"unknown shortcut 'projektion'; did you mean 'projection'"),
        ("resnet18", {"order": "x"}, rf"unknown order 'x'; known: {ORDERS}$"),
        ("resnet18", {"order": None}, rf"unknown order None; known: {ORDERS}$"),
        ("resnet18", {"in_chans": 0}, r"in_chans is 0; give a whole number of at least 1"),
        ("resnet20", {"num_classes": -1}, r"num_classes is -1; give a whole number of at least 0"),
        ("resnet20", {"num_classes": "ten"}, r"num_classes is 'ten'; give a whole number of at least 0"),
        ("resnet20", {"num_classes": True}, r"num_classes is True; give a whole number of at least 0$"),
        ("resnet20", {"stem_planes": 0}, r"stem_planes is 0; give a whole number of at least 1$"),
        (
            "resnet20",
            {"frozen_stages": "two"},
            r"frozen_stages is 'two'; this net has 3 stages, and 0 is its stem alone$",
        ),
        ("resnet20", {"norm_layer": torch.nn.BatchNorm2d(3)}, r"norm_layer is a module, a BatchNorm2d; give its class"),
        ("plain18", {"shortcut": "projection"}, r"model 'plain18' sets shortcut itself; the option cannot be given$"),
        (None, {}, r"unknown model None; known: "),
        ("resnet20", {"drop_rate": -0.5}, r"drop_rate is -0.5; give a number from 0 to below 1$"),
        ("resnet20", {"drop_path_rate": 1}, r"drop_path_rate is 1; give a number from 0 to below 1$"),
        ("resnet20", {"drop_path_rate": math.nan}, r"drop_path_rate is nan; give a number from 0 to below 1$"),
        ("resnet50", {"output_stride": 12}, r"output_stride is 12; this net can have 4, 8, 16, 32$"),
        ("resnet20", {"output_stride": 8}, r"output_stride is 8; this net can have 1, 2, 4$"),
        (
            "resnet9",
            {"output_stride": 4},
            r"resnet9 downsamples by pooling, which dilation cannot replace; leave output_stride out$",
        ),
        ("resnet20", {"strides": (1, 2)}, r"3 depths, 3 planes and 2 strides; give one of each per stage$"),
        ("resnet20", {"global_pool": "mean"}, r"unknown global_pool 'mean'; known: 'avg', 'max', and '' for none"),
        ("resnet20", {"global_pool": ""}, r"a head of 10 classes needs a pool; give global_pool, or num_classes=0"),
        ("resnet20", {"stem_planes": 17}, r"the shortcut zero_pad can only add channels, but the block maps 17 to 16"),
        ("resnet20", {"norm_layer": {"group": {"num_groups": 0}}}, r"num_groups is 0; a group norm has at least 1$"),
        ("resnet20", {"out_indices": (1,)}, r"out_indices selects feature maps; it needs features_only=True"),
    ],
)
def test_wrong_input_is_named_with_the_nearest_right_one(name, options, message):
    with pytest.raises(InputError, match=message) as caught, torch.device("meta"):
        create_model(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shortcut": {"exclusive_gating": {"bais": -3}}}, r"'exclusive_gating' takes no .* 'bais'; .* 'bias'\?"),
        ({"shortcut": {"dropout": {"p": 3}}}, r"shortcut 'dropout' cannot .* \{'p': 3\}: dropout probability"),
        ({"shortcut": {"zero_pad": {"stride": 2}}}, r"shortcut 'zero_pad' cannot be built from \{'stride': 2\}"),
        ({"norm_layer": {"group": {"groups": 4}}}, r"norm_layer 'group' takes no option 'groups'; .* 'num_groups'"),
        ({"norm_layer": {"batch": {"decay": 1}}}, r"norm_layer 'batch' takes no option 'decay'; known: .*momentum"),
        (
            {"act_layer": {"leaky_relu": {"slope": 1}}},
            r"act_layer 'leaky_relu' .*; did you mean 'negative_slope'",
        ),
        ({"stem": {"cifar": {"pool": True}}}, r"stem 'cifar' takes no option 'pool'; known: "),
        ({"stem": {"cifar": 3}}, r"stem 'cifar' has the arguments 3; give \{argument: value\}$"),
        ({"stem": {"cifar": {}, "deep": {}}}, r"stem is \{'cifar': \{\}, 'deep': \{\}\}; give a name, \{name: "),
        ({"norm_layer": 3}, r"norm_layer is 3; give a name, \{name: \{argument: value\}\} or a function"),
        ({"act_layer": None}, r"act_layer is None; give a name, \{name: \{argument: value\}\} or a function"),
    ],
)
def test_a_wrong_argument_of_a_name_is_named_with_the_nearest_right_one(options, message):
    with pytest.raises(InputError, match=message) as caught, torch.device("meta"):
        create_model("resnet20", **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("depths", "planes", "strides", "message"),
    [
        ((1, 1), (4, 8, 16), None, "2 depths, 3 planes and 2 strides; give one of each per stage"),
        ((1, 1, 1), (4, 8), None, "3 depths, 2 planes and 3 strides; give one of each per stage"),
        ((1, 1), (4, 8), (1,), "2 depths, 2 planes and 1 strides; give one of each per stage"),
        ((1, 0), (4, 8), None, "depths is (1, 0); give at least one stage, with at least one block each"),
        ((10_000, 1), (4, 8), None, "depths is (10000, 1); give at most 10,000 blocks in all"),
        ((), (), None, "depths is (); give at least one stage, with at least one block each"),
        ((1, 1), (4, 8), (1, 0), "strides is (1, 0); a stride is at least 1"),
    ],
)
def test_stages_that_are_missing_or_empty_are_refused(depths, planes, strides, message):
    with pytest.raises(InputError, match=re.escape(message)):
        ResNet(BasicBlock, depths, planes, strides=strides)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-3,), "num_classes is -3"),
        ((3, "mean"), "unknown global_pool 'mean'; known: 'avg', 'max', and '' for none"),
        ((3, ""), "a head of 3 classes needs a pool"),
    ],
)
def test_reset_classifier_refuses_what_does_not_exist_and_changes_nothing(arguments, message):
    net = create_model("resnet20")
    head = net.fc
    with pytest.raises(InputError, match=message):
        net.reset_classifier(*arguments)
    assert net.fc is head
    assert (net.num_classes, net.global_pool) == (10, "avg")


@pytest.mark.parametrize(
    ("network", "depth", "allowed"),
    [
        (cifar_resnet, 9, "6n + 2, such as 8 or 14"),
        (cifar_bottlenecks, 21, "9n + 2, such as 20 or 29"),
        (functools.partial(wide_resnet, width=1), 12, "6n + 4, such as 10 or 16"),
    ],
)
def test_a_depth_that_no_network_has_is_refused(network, depth, allowed):
    with pytest.raises(InputError, match=re.escape(f"depth is {depth}; give {allowed}")):
        network(depth)
    for wrong in (0, -8, 8.5, "20", True):
        with pytest.raises(InputError, match=f"depth is {wrong!r}; give a whole number of at least"):
            network(wrong)
