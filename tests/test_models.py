import io
import math

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.feature_extraction import create_feature_extractor

from resnet_lightning import BasicBlock, Bottleneck, InputError, ResNet, create_model, list_models
from resnet_lightning.models.shortcuts import projection, zero_pad

PUBLISHED_PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "resnet1202": 19_421_274,
}
TORCHVISION_NAMES = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


def on_meta(name, **options):
    """The net without memory for its weights, which costs no time."""
    with torch.device("meta"):
        return create_model(name, **options)


def with_weights(net, weights):
    """``net``, made by ``on_meta``, around weights that exist; it does not copy them."""
    net.load_state_dict(weights, strict=True, assign=True)
    return net


def image_sizes(net):
    """Two sizes, one of them odd and not square, that leave every stage more than one pixel.

    A norm over two values, one of each image, has no gradient to speak of.
    """
    if isinstance(net.maxpool, nn.MaxPool2d):
        return [(64, 64), (45, 70)]
    return [(8, 8), (9, 14)]


def randomise_norms(net):
    """Statistics and scales as after training: of a fresh net, two norms that were mixed up would go unnoticed."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.0),
                (module.bias, -0.2, 0.2),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
            ):
                nn.init.uniform_(tensor, low, high)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module", params=list_models())
def named(request):
    torch.manual_seed(0)
    return request.param, create_model(request.param)


@pytest.fixture(scope="module", params=TORCHVISION_NAMES)
def theirs(request):
    torch.manual_seed(0)
    net = getattr(torchvision.models, request.param)()
    randomise_norms(net)
    return request.param, net.eval()


# Every model of the table.


# Fresh nets run in training mode: with untrained statistics, the map of a net of 600 blocks grows beyond float32.
def test_forward_is_finite_at_any_size(named):
    _, net = named
    for height, width in image_sizes(net):
        logits = net(torch.randn(2, 3, height, width))
        assert logits.shape == (2, net.num_classes)
        assert logits.isfinite().all()
        assert not torch.equal(logits[0], logits[1])


def test_grey_images_change_the_first_convolution_alone(named):
    name, net = named
    weights = net.state_dict()
    grey = on_meta(name, in_chans=1)
    changed = [key for key, tensor in grey.state_dict().items() if tensor.shape != weights[key].shape]
    assert changed == ["conv1.weight"]

    # A colour image of three equal channels is a grey one, for a first convolution of the summed weights.
    with_weights(grey, {**weights, "conv1.weight": weights["conv1.weight"].sum(1, keepdim=True)})
    images = torch.randn(2, 1, *image_sizes(net)[0])
    with torch.no_grad():
        torch.testing.assert_close(grey(images), net(images.expand(-1, 3, -1, -1)), rtol=1e-2, atol=1e-2)


def test_every_parameter_gets_a_gradient(named):
    _, net = named
    net.zero_grad()
    F.cross_entropy(net(torch.randn(2, 3, *image_sizes(net)[0])), torch.tensor([0, 1])).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    net.zero_grad()


def test_without_classes_the_net_gives_pooled_features(named):
    name, net = named
    body = on_meta(name, num_classes=0)
    assert set(net.state_dict()) - set(body.state_dict()) == {"fc.weight", "fc.bias"}
    with_weights(body, {key: tensor for key, tensor in net.state_dict().items() if not key.startswith("fc.")})

    images = torch.randn(2, 3, *image_sizes(net)[0])
    with torch.no_grad():
        features, maps = body(images), net.forward_features(images)
        assert features.shape == (2, net.num_features)
        torch.testing.assert_close(features, maps.mean((2, 3)))
        assert torch.equal(net.fc(features), net(images))
        assert torch.equal(net.forward_head(maps, pre_logits=True), features)


def test_state_dict_survives_a_file(named):
    name, net = named
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    again = with_weights(on_meta(name), torch.load(file, weights_only=True))

    images = torch.randn(2, 3, *image_sizes(net)[0])
    with torch.no_grad():
        assert torch.equal(again(images), net(images))


def test_convolutions_have_no_bias_and_start_as_he_et_al_draw_them(named):
    _, net = named
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None, name
            n = module.weight.numel()
            std = math.sqrt(2 / (module.out_channels * module.kernel_size[0] * module.kernel_size[1]))
            # Within 5 standard deviations of what n normal numbers give.
            assert module.weight.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * n)), name
            assert abs(module.weight.mean().item()) < 5 * std / math.sqrt(n), name


def test_shortcuts_have_parameters_only_where_an_imagenet_net_changes_shape(named):
    _, net = named
    owners = sorted({key.partition(".downsample")[0] for key, _ in net.named_parameters() if "downsample" in key})
    if len(net.stage_names) == 3:
        assert owners == []  # option A
    elif isinstance(net.layer1[0], Bottleneck):
        assert owners == ["layer1.0", "layer2.0", "layer3.0", "layer4.0"]
    else:
        assert owners == ["layer2.0", "layer3.0", "layer4.0"]


def test_the_published_sizes_cover_every_model():
    assert set(PUBLISHED_PARAMETERS) == set(list_models())


def test_parameter_count_is_the_published_one(named):
    name, net = named
    assert sum(parameter.numel() for parameter in net.parameters()) == PUBLISHED_PARAMETERS[name]


def test_models_are_listed_by_depth_and_by_pattern():
    depths = [int(name.removeprefix("resnet")) for name in list_models("resnet*")]
    assert depths == sorted(depths)
    assert list_models("resnet1*") == ["resnet18", "resnet101", "resnet110", "resnet152", "resnet1202"]
    assert list_models("no such*") == []


# torchvision's nets.


def test_torchvision_weights_load_and_give_equal_logits(theirs):
    name, their_net = theirs
    ours = with_weights(on_meta(name), their_net.state_dict()).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits = ours(images)
        assert logits.isfinite().all()
        assert torch.equal(logits, their_net(images))


def test_our_weights_load_into_torchvision_and_give_equal_logits(theirs):
    name, their_net = theirs
    ours = with_weights(on_meta(name), {key: tensor.flip(0) for key, tensor in their_net.state_dict().items()}).eval()
    with torch.device("meta"):
        fresh = getattr(torchvision.models, name)()
    with_weights(fresh, ours.state_dict()).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits = ours(images)
        assert logits.isfinite().all()
        assert torch.equal(fresh(images), logits)
        assert not torch.equal(their_net(images), logits)  # the weights are not those that came from there


def test_children_and_state_dict_keys_are_torchvisions_in_order(theirs):
    name, their_net = theirs
    ours = on_meta(name)
    assert [child for child, _ in ours.named_children()] == [child for child, _ in their_net.named_children()]
    assert list(ours.state_dict()) == list(their_net.state_dict())


# What people do to torchvision's nets.


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20"])
def test_all_children_but_the_last_are_the_feature_extractor(name):
    net = create_model(name).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = nn.Sequential(*list(net.children())[:-1])(images)
        assert features.shape == (2, net.num_features, 1, 1)
        assert torch.equal(net.fc(features.flatten(1)), net(images))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_intermediate_layer_getter_gives_torchvisions_maps(name):
    theirs = getattr(torchvision.models, name)().eval()
    ours = with_weights(on_meta(name), theirs.state_dict()).eval()
    wanted = {"layer1": "low", "layer3": "middle", "layer4": "high"}
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found, expected = (IntermediateLayerGetter(net, wanted)(images) for net in (ours, theirs))
    assert list(found) == ["low", "middle", "high"]
    for key in found:
        assert torch.equal(found[key], expected[key])


# A block's last activation is its second, a bottleneck's its third.
@pytest.mark.parametrize(("name", "last"), [("resnet18", "relu_1"), ("resnet50", "relu_2"), ("resnet20", "relu_1")])
def test_create_feature_extractor_finds_stages_and_blocks(name, last):
    net = create_model(name).eval()
    images = torch.randn(1, 3, 64, 64)
    nodes = ["layer1", f"layer2.0.{last}", "layer3", "avgpool"]
    with torch.no_grad():
        found = create_feature_extractor(net, nodes)(images)

        low = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(images)))))
        first_block = net.layer2[0](low)
        middle = net.layer3(net.layer2[1:](first_block))
        pooled = net.avgpool(net.forward_features(images))
    for node, expected in zip(nodes, (low, first_block, middle, pooled), strict=True):
        assert torch.equal(found[node], expected), node


# Blocks and shortcuts against a second implementation.


def functional_norm(x, bn, training):
    return F.batch_norm(
        x, bn.running_mean.clone(), bn.running_var.clone(), bn.weight, bn.bias, training=training, eps=bn.eps
    )


def functional_shortcut(x, block, stride, training):
    if not isinstance(block.downsample, nn.Sequential):
        return x
    weight, bn = block.downsample[0].weight, block.downsample[1]
    return functional_norm(F.conv2d(x[:, :, ::stride, ::stride], weight), bn, training)


def functional_basic_block(x, block, stride, training):
    y = F.conv2d(x, block.conv1.weight, stride=stride, padding=1)
    y = F.relu(functional_norm(y, block.bn1, training))
    y = functional_norm(F.conv2d(y, block.conv2.weight, padding=1), block.bn2, training)
    return F.relu(y + functional_shortcut(x, block, stride, training))


def functional_bottleneck(x, block, stride, training):
    y = F.relu(functional_norm(F.conv2d(x, block.conv1.weight), block.bn1, training))
    y = F.conv2d(y, block.conv2.weight, stride=stride, padding=1)
    y = F.relu(functional_norm(y, block.bn2, training))
    y = functional_norm(F.conv2d(y, block.conv3.weight), block.bn3, training)
    return F.relu(y + functional_shortcut(x, block, stride, training))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("in_planes", "stride"), [(16, 1), (16, 2), (6, 1), (6, 2)])
@pytest.mark.parametrize(
    ("make", "planes", "functional"), [(BasicBlock, 16, functional_basic_block), (Bottleneck, 4, functional_bottleneck)]
)
def test_block_equals_its_formula(make, planes, functional, in_planes, stride, training):
    block = make(in_planes, planes, stride, projection, nn.BatchNorm2d).train(training)
    randomise_norms(block)
    x = torch.randn(3, in_planes, 9, 8)
    before = x.clone()
    with torch.no_grad():
        expected = functional(x, block, stride, training)
        found = block(x)
    assert found.shape == (3, 16, -(-9 // stride), 8 // stride)
    torch.testing.assert_close(found, expected)
    assert torch.equal(x, before)  # no activation in place reaches the block's input
    assert isinstance(block.downsample, nn.Identity) == (in_planes == 16 and stride == 1)


@pytest.mark.parametrize(("in_planes", "out_planes", "stride"), [(4, 8, 2), (4, 7, 1), (5, 5, 2), (3, 3, 1)])
def test_option_a_takes_every_other_pixel_and_appends_zeros(in_planes, out_planes, stride):
    x = torch.randn(2, in_planes, 7, 6)
    rows, columns = range(0, 7, stride), range(0, 6, stride)
    kept = torch.stack([torch.stack([x[:, :, r, c] for c in columns], dim=-1) for r in rows], dim=-2)
    expected = torch.cat([kept, torch.zeros(2, out_planes - in_planes, len(rows), len(columns))], dim=1)

    shortcut = zero_pad(in_planes, out_planes, stride, nn.BatchNorm2d)
    assert torch.equal(shortcut(x), expected)
    assert not list(shortcut.parameters())


# Options.


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "resnet50"])
def test_group_norm_makes_an_image_independent_of_its_batch(name):
    net = create_model(name, norm_layer="group", num_classes=10)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert sum(isinstance(module, nn.GroupNorm) for module in net.modules()) == sum(
        isinstance(module, nn.BatchNorm2d) for module in create_model(name).modules()
    )
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        together = net(images)
        alone = torch.cat([net(image[None]) for image in images])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
        assert together.std(dim=0).max() > 0.01  # the images do differ


@pytest.mark.parametrize(
    ("name", "planes", "stride"), [("resnet18", 512, 8), ("resnet50", 2048, 8), ("resnet20", 64, 4)]
)
def test_cifar_stem_keeps_the_size(name, planes, stride):
    net = on_meta(name, stem="cifar")
    images = torch.empty(1, 3, 32, 48, device="meta")
    stem = net.maxpool(net.relu(net.bn1(net.conv1(images))))
    assert stem.shape[2:] == (32, 48)
    assert net.forward_features(images).shape == (1, planes, 32 // stride, 48 // stride)


@pytest.mark.parametrize(("name", "planes", "stride"), [("resnet18", 512, 32), ("resnet50", 2048, 32)])
def test_imagenet_stem_quarters_the_size(name, planes, stride):
    net = on_meta(name)
    images = torch.empty(1, 3, 64, 96, device="meta")
    assert net.maxpool(net.conv1(images)).shape[2:] == (16, 24)
    assert net.forward_features(images).shape == (1, planes, 64 // stride, 96 // stride)


def test_stem_shortcut_and_norm_can_be_functions():
    def stem(in_chans, planes, norm_layer):
        layers = {"conv1": nn.Conv2d(in_chans, planes, 1), "bn1": norm_layer(planes)}
        return {**layers, "relu": nn.ReLU(), "maxpool": nn.AvgPool2d(2)}

    def norm(planes):
        return nn.InstanceNorm2d(planes)

    net = ResNet(BasicBlock, (1, 1), (4, 8), num_classes=5, stem=stem, shortcut=zero_pad, norm_layer=norm)
    assert isinstance(net.maxpool, nn.AvgPool2d)
    assert isinstance(net.layer2[0].bn1, nn.InstanceNorm2d)
    assert net.forward_features(torch.randn(2, 3, 16, 16)).shape == (2, 8, 4, 4)
    assert net(torch.randn(2, 3, 16, 16)).shape == (2, 5)


def test_reset_classifier_replaces_the_head_and_leaves_the_body():
    net = create_model("resnet20")
    body = {key: tensor.clone() for key, tensor in net.state_dict().items() if not key.startswith("fc.")}
    net.eval().reset_classifier(7)
    assert net.num_classes == 7
    assert net.get_classifier() is net.fc
    assert net(torch.randn(2, 3, 8, 8)).shape == (2, 7)
    net.reset_classifier(0)
    assert isinstance(net.fc, nn.Identity)
    after = net.state_dict()
    assert list(after) == list(body)
    assert all(torch.equal(after[key], body[key]) for key in body)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet5", {}, r"unknown model 'resnet5'; did you mean 'resnet5[06]' or "),
        ("vgg", {}, r"unknown model 'vgg'; known: resnet101, resnet110, .*resnet56"),
        ("resnet18", {"num_clases": 10}, r"model 'resnet18' takes no option 'num_clases'; did you mean 'num_classes'"),
        (
            "resnet20",
            {"norm_laier": "group"},
            r"model 'resnet20' takes no option 'norm_laier'; did you mean 'norm_layer'",
        ),
        ("resnet18", {"stem": "cifr"}, r"unknown stem 'cifr'; did you mean 'cifar'\?"),
        ("resnet18", {"stem": "x"}, r"unknown stem 'x'; known: cifar, imagenet$"),
        ("resnet18", {"norm_layer": "grup"}, r"unknown norm_layer 'grup'; did you mean 'group'\?"),
        ("resnet18", {"norm_layer": "layer"}, r"unknown norm_layer 'layer'; known: batch, group$"),
        ("resnet18", {"in_chans": 0}, r"in_chans is 0; a net needs at least 1 input channel"),
        ("resnet20", {"num_classes": -1}, r"num_classes is -1; give the number of classes, or 0 for pooled features"),
        ("resnet20", {"num_classes": "ten"}, r"model 'resnet20' cannot be built from \{'num_classes': 'ten'\}"),
    ],
)
def test_wrong_input_is_named_with_the_nearest_right_one(name, options, message):
    with pytest.raises(InputError, match=message) as caught:
        create_model(name, **options)
    assert "\n" not in str(caught.value)


def test_reset_classifier_refuses_a_negative_number():
    with pytest.raises(InputError, match="num_classes is -3"):
        create_model("resnet20").reset_classifier(-3)
