"""Blocks, shortcuts, stems and layers, each against its formula written out a second time."""

import math
from types import SimpleNamespace

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from nets import randomize_norms
from resnet_lightning import BasicBlock, Bottleneck, InputError, ResNet, create_model
from resnet_lightning.models.blocks import ORDERS, ResidualBlock
from resnet_lightning.models.layers import ACT_LAYERS, DropPath, conv, group_norm
from resnet_lightning.models.resnet import FeatureMap
from resnet_lightning.models.shortcuts import SHORTCUTS, ExclusiveGating, ZeroPad
from resnet_lightning.models.stems import STEMS


def functional_norm(x, bn):
    mean, var = bn.running_mean, bn.running_var
    if bn.training:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    column = (slice(None), None, None)
    return (x - mean[column]) / (var[column] + bn.eps).sqrt() * bn.weight[column] + bn.bias[column]


def functional_parts(block, stride=1, activation=F.relu):
    """A block's convolutions c1, c2 .., norms n1, n2 .., activation a and shortcut s, as functions of its weights."""
    parts = SimpleNamespace(a=activation)
    strided = 2 if isinstance(block, Bottleneck) else 1
    for i in (1, 2, 3):
        weight = getattr(block, f"conv{i}").weight if hasattr(block, f"conv{i}") else None
        step = stride if i == strided else 1
        setattr(parts, f"c{i}", lambda x, w=weight, step=step: F.conv2d(x, w, None, step, w.shape[-1] // 2))
        setattr(parts, f"n{i}", lambda x, i=i: functional_norm(x, getattr(block, f"bn{i}")))
    projected = dict(block.downsample.named_parameters())
    if not projected:
        parts.s = lambda x: x
    elif "weight" in projected:
        parts.s = lambda x: F.conv2d(x[:, :, ::stride, ::stride], projected["weight"])
    else:
        weight, norm = projected["0.weight"], block.downsample[1]
        parts.s = lambda x: functional_norm(F.conv2d(x[:, :, ::stride, ::stride], weight), norm)
    return parts


# Orders. Figure 4 of He et al. 2016: a basic block as drawn there, a bottleneck with one layer more.
BASIC_BLOCKS = {
    "original": lambda p, x: p.a(p.n2(p.c2(p.a(p.n1(p.c1(x))))) + p.s(x)),
    "norm_after_addition": lambda p, x: p.a(p.n2(p.c2(p.a(p.n1(p.c1(x)))) + p.s(x))),
    "act_before_addition": lambda p, x: p.a(p.n2(p.c2(p.a(p.n1(p.c1(x)))))) + p.s(x),
    "act_only_pre_activation": lambda p, x: p.n2(p.c2(p.a(p.n1(p.c1(p.a(x)))))) + p.s(x),
    "full_pre_activation": lambda p, x: p.c2(p.a(p.n2(p.c1(p.a(p.n1(x)))))) + p.s(x),
    # x is already activated
    "act_only_pre_activation none": lambda p, x: p.n2(p.c2(p.a(p.n1(p.c1(x))))) + p.s(x),
    "full_pre_activation none": lambda p, x: p.c2(p.a(p.n2(p.c1(x)))) + p.s(x),
}
BOTTLENECKS = {
    "original": lambda p, x: p.a(p.n3(p.c3(p.a(p.n2(p.c2(p.a(p.n1(p.c1(x)))))))) + p.s(x)),
    "norm_after_addition": lambda p, x: p.a(p.n3(p.c3(p.a(p.n2(p.c2(p.a(p.n1(p.c1(x))))))) + p.s(x))),
    "act_before_addition": lambda p, x: p.a(p.n3(p.c3(p.a(p.n2(p.c2(p.a(p.n1(p.c1(x))))))))) + p.s(x),
    "act_only_pre_activation": lambda p, x: p.n3(p.c3(p.a(p.n2(p.c2(p.a(p.n1(p.c1(p.a(x))))))))) + p.s(x),
    "full_pre_activation": lambda p, x: p.c3(p.a(p.n3(p.c2(p.a(p.n2(p.c1(p.a(p.n1(x))))))))) + p.s(x),
    "act_only_pre_activation none": lambda p, x: p.n3(p.c3(p.a(p.n2(p.c2(p.a(p.n1(p.c1(x)))))))) + p.s(x),
    "full_pre_activation none": lambda p, x: p.c3(p.a(p.n3(p.c2(p.a(p.n2(p.c1(x))))))) + p.s(x),
}
FORMULAS = {BasicBlock: BASIC_BLOCKS, Bottleneck: BOTTLENECKS}
# An activation that both paths share equals one before a block whose input is already activated.
SHARED = {"act_only_pre_activation": lambda p, x: p.a(x), "full_pre_activation": lambda p, x: p.a(p.n1(x))}

# The orders without a pre-activation ignore the argument pre_activation.
VARIANTS = [(order, "branch") for order in ORDERS] + [(order, pre) for order in SHARED for pre in ("both", "none")]
KINDS = [(BasicBlock, 16), (Bottleneck, 4)]
both_kinds = pytest.mark.parametrize(("make", "planes"), KINDS)


def formula(make, order, pre_activation="branch"):
    if pre_activation == "branch":
        return FORMULAS[make][order]
    after = FORMULAS[make][f"{order} none"]
    return after if pre_activation == "none" else lambda p, x: after(p, SHARED[order](p, x))


def gradients(output, inputs):
    """Gradients of a weighted sum of the output, with a different weight for each value."""
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return torch.autograd.grad((output * weights).sum(), inputs)


def test_the_formulas_cover_every_order():
    assert list(BASIC_BLOCKS)[:5] == list(BOTTLENECKS)[:5] == list(ORDERS)


# Every kind with every variant; input shape and mode take turns, so that each kind meets each of their pairs.
BLOCK_CASES = [
    (*KINDS[kind], *variant, *[(16, 1), (16, 2), (6, 1), (6, 2)][(i + 2 * kind) % 4], (i // 4 + kind) % 2 == 1)
    for kind in (0, 1)
    for i, variant in enumerate(VARIANTS)
]


@pytest.mark.parametrize(("make", "planes", "order", "pre_activation", "in_planes", "stride", "training"), BLOCK_CASES)
def test_a_block_and_its_gradients_equal_its_formula(make, planes, order, pre_activation, in_planes, stride, training):
    block = make(in_planes, planes, stride, order=ORDERS[order], pre_activation=pre_activation)
    randomize_norms(block)
    block.double().train(training)
    x = torch.randn(3, in_planes, 9, 8, dtype=torch.double, requires_grad=True)
    inputs = [x, *block.parameters()]
    expected = formula(make, order, pre_activation)(functional_parts(block, stride), x)
    found = block(x)
    assert found.shape == (3, 16, -(-9 // stride), 8 // stride)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs))
    assert isinstance(block.downsample, nn.Identity) == (in_planes == 16 and stride == 1)


# Which operations run in place, and so what autograd may lose, depends on the pair of order and activation.
@pytest.mark.parametrize("act", ACT_LAYERS)
def test_every_activation_works_in_every_order(act):
    functions = {"relu": F.relu, "leaky_relu": F.leaky_relu, "elu": F.elu, "celu": F.celu, "silu": F.silu}
    for order in ORDERS:
        block = BasicBlock(4, 4, order=ORDERS[order], act_layer=ACT_LAYERS[act])
        randomize_norms(block)
        block.double()
        x = torch.randn(3, 4, 5, 6, dtype=torch.double, requires_grad=True)
        inputs = [x, *block.parameters()]
        expected = BASIC_BLOCKS[order](functional_parts(block, activation=functions.get(act, F.gelu)), x)
        found = block(x)
        torch.testing.assert_close(found, expected, msg=order)
        torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs), msg=order)


@pytest.mark.parametrize("i", range(len(VARIANTS)), ids=[" ".join(variant) for variant in VARIANTS])
def test_a_block_leaves_its_input_as_it_is_and_autograd_what_it_needs(i):
    (order, pre_activation), (make, planes) = VARIANTS[i], KINDS[i % 2]
    for k, (name, shortcut) in enumerate(SHORTCUTS.items()):
        drop_path = 0.0 if name == "none" else 0.5
        style = {"order": ORDERS[order], "pre_activation": pre_activation, "dropout": 0.5, "drop_path": drop_path}
        block = make(16, planes, shortcut=shortcut, **style).train((i + k) % 2 == 0)
        randomize_norms(block)
        before = torch.randn(3, 16, 5, 6, requires_grad=True)
        x = before.clone()  # not a leaf: autograd would itself refuse to change a leaf in place
        found = block(x)
        assert torch.equal(x, before), name
        (gradient,) = gradients(found, [before])
        assert gradient.isfinite().all(), name
        assert gradient.any(), name


@pytest.mark.parametrize("order", ORDERS)
def test_a_block_without_norms_leaves_its_input_as_it_is_and_equals_its_formula(order):
    block = BasicBlock(4, 4, order=ORDERS[order], norm_layer=lambda planes: nn.Identity())
    before = torch.randn(3, 4, 5, 6)
    x = before.clone()
    p = functional_parts(block)
    p.n1 = p.n2 = lambda y: y
    with torch.no_grad():
        torch.testing.assert_close(block(x), BASIC_BLOCKS[order](p, before))
    assert torch.equal(x, before)


def test_a_nested_in_place_activation_before_the_first_convolution_leaves_the_input_as_it_is():
    def activation():
        return nn.Sequential(nn.ReLU(inplace=True))

    block = BasicBlock(4, 4, order=ORDERS["act_only_pre_activation"], act_layer=activation)
    before = torch.randn(3, 4, 5, 6)
    x = before.clone()
    block(x)
    assert torch.equal(x, before)


# Whole networks: the first block of a stage shares its pre-activation between both paths.


def functional_net(net, images):
    """Logits of a net with a cifar stem and an order of ``SHARED``."""
    order = "act_only_pre_activation" if len(net.last_activation) == 1 else "full_pre_activation"
    x = F.relu(functional_norm(F.conv2d(images, net.conv1.weight, padding=1), net.bn1))
    for k, stage in enumerate([net.layer1, net.layer2, net.layer3]):
        for i, block in enumerate(stage):
            pre_activation = "branch" if i else "both" if k else "none"
            x = formula(type(block), order, pre_activation)(functional_parts(block, 2 if k and not i else 1), x)
    if order == "full_pre_activation":
        x = functional_norm(x, net.last_activation[0])
    return F.relu(x).mean((2, 3)) @ net.fc.weight.T + net.fc.bias


@pytest.mark.parametrize(
    ("make", "order", "shortcut", "training"),
    [
        (BasicBlock, "full_pre_activation", "convolution", True),
        (BasicBlock, "act_only_pre_activation", "projection", True),
        (BasicBlock, "full_pre_activation", "projection", False),
        (Bottleneck, "full_pre_activation", "projection", True),
        (Bottleneck, "act_only_pre_activation", "convolution", False),
    ],
)
def test_a_pre_activation_net_equals_its_formula(make, order, shortcut, training):
    style = {"stem": "cifar", "shortcut": shortcut, "order": order, "num_classes": 5}
    net = ResNet(make, (2, 1, 2), (4, 8, 12), **style)
    randomize_norms(net)
    net.double().train(training)
    images = torch.randn(3, 3, 9, 8, dtype=torch.double)
    expected, found = functional_net(net, images), net(images)
    torch.testing.assert_close(found, expected)
    weights = list(net.parameters())
    torch.testing.assert_close(gradients(found, weights), gradients(expected, weights))


def test_a_full_pre_activation_net_has_one_norm_more_at_the_end_and_none_at_its_first_convolution():
    net = ResNet(BasicBlock, (2, 2), (4, 8), stem="cifar", order="full_pre_activation", num_classes=5)
    norms = [name for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)]
    in_blocks = [
        "layer1.0.bn2",
        "layer1.1.bn1",
        "layer1.1.bn2",
        "layer2.0.bn1",
        "layer2.0.bn2",
        "layer2.0.downsample.1",
    ]
    assert norms == ["bn1", *in_blocks, "layer2.1.bn1", "layer2.1.bn2", "last_activation.0"]
    assert [type(module) for module in net.last_activation] == [nn.BatchNorm2d, nn.ReLU]
    assert net.last_activation[0].num_features == 8
    assert net.feature_info.module_name() == ["relu", "layer1", "last_activation"]


@pytest.mark.parametrize("order", ["original", "norm_after_addition", "act_before_addition"])
def test_a_net_without_pre_activation_ends_with_its_last_block(order):
    net = ResNet(BasicBlock, (1, 1), (4, 8), order=order)
    assert [name for name, _ in net.named_children()][-3:] == ["layer2", "avgpool", "fc"]


# Shortcuts.


def slow_zero_pad(x, out_planes, stride):
    """Option A, a pixel at a time."""
    batch, in_planes, height, width = x.shape
    out = x.new_zeros(batch, out_planes, len(range(0, height, stride)), len(range(0, width, stride)))
    for b in range(batch):
        for c in range(in_planes):
            for i, row in enumerate(range(0, height, stride)):
                for j, column in enumerate(range(0, width, stride)):
                    out[b, c, i, j] = x[b, c, row, column]
    return out


def functional_gate(shortcut, x, stride):
    layer = shortcut.gate[0]
    return torch.sigmoid(F.conv2d(x[:, :, ::stride, ::stride], layer.weight) + layer.bias[:, None, None])


def functional_projection(shortcut, x, stride):
    return functional_norm(F.conv2d(x[:, :, ::stride, ::stride], shortcut[0].weight), shortcut[1])


def functional_convolution(shortcut, x, stride):
    return F.conv2d(x[:, :, ::stride, ::stride], shortcut.weight)


# He et al. 2015, section 3.3, and He et al. 2016, Figure 2. h is the shortcut, a is x as option A carries it, and f is
# what the residual branch returns.
JOINED = {
    "zero_pad": lambda h, x, stride, a, f: a + f,
    "projection": lambda h, x, stride, a, f: f + (x if a.shape == x.shape else functional_projection(h, x, stride)),
    "projection_everywhere": lambda h, x, stride, a, f: f + functional_projection(h, x, stride),
    "convolution": lambda h, x, stride, a, f: f + (x if a.shape == x.shape else functional_convolution(h, x, stride)),
    "convolution_everywhere": lambda h, x, stride, a, f: f + functional_convolution(h, x, stride),
    "none": lambda h, x, stride, a, f: f,
    "constant_scaling": lambda h, x, stride, a, f: 0.5 * a + f,
    "exclusive_gating": lambda h, x, stride, a, f: (
        functional_gate(h, x, stride) * f + (1 - functional_gate(h, x, stride)) * a
    ),
    "shortcut_gating": lambda h, x, stride, a, f: (1 - functional_gate(h, x, stride)) * a + f,
}


def test_the_formulas_cover_every_shortcut():
    assert {*JOINED, "dropout"} == set(SHORTCUTS)


def basic_block_and_its_branch(in_planes, out_planes, stride, shortcut, training):
    """A block in doubles, an input, and what the residual branch makes of it."""
    block = BasicBlock(in_planes, out_planes, stride, shortcut=shortcut)
    randomize_norms(block)
    block.double().train(training)
    x = torch.randn(3, in_planes, 7, 6, dtype=torch.double)
    p = functional_parts(SimpleNamespace(**dict(block.named_children()) | {"downsample": nn.Identity()}), stride)
    return block, x, p.n2(p.c2(F.relu(p.n1(p.c1(x)))))


SHAPES = [(4, 4, 1), (4, 8, 2), (4, 7, 1), (5, 5, 2)]  # in_planes, out_planes, stride


@pytest.mark.parametrize("number", range(len(JOINED)), ids=list(JOINED))
def test_a_shortcut_joins_the_branch_as_its_formula_says(number):
    name = list(JOINED)[number]
    for i, (in_planes, out_planes, stride) in enumerate(SHAPES):
        training = (number + i) % 2 == 0
        block, x, branch = basic_block_and_its_branch(in_planes, out_planes, stride, SHORTCUTS[name], training)
        carried = slow_zero_pad(x, out_planes, stride)
        expected = F.relu(JOINED[name](block.downsample, x, stride, carried, branch))
        torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(("in_planes", "out_planes", "stride"), SHAPES[:2])
def test_dropout_on_the_shortcut_drops_only_in_training(in_planes, out_planes, stride):
    block, x, branch = basic_block_and_its_branch(in_planes, out_planes, stride, SHORTCUTS["dropout"], False)
    carried = slow_zero_pad(x, out_planes, stride)
    torch.testing.assert_close(block(x), F.relu(carried + branch))
    dropped = block.downsample.train()(x)
    assert ((dropped == 0) | (dropped == 2 * carried)).all()
    share = (dropped[carried != 0] == 0).double().mean().item()
    n = (carried != 0).sum().item()
    assert share == pytest.approx(0.5, abs=5 * math.sqrt(0.25 / n))


def test_option_a_has_no_parameters_and_equals_a_slow_loop():
    for in_planes, out_planes, stride in SHAPES:
        x = torch.randn(2, in_planes, 7, 6)
        shortcut = SHORTCUTS["zero_pad"](in_planes, out_planes, stride, nn.BatchNorm2d)
        assert torch.equal(shortcut(x), slow_zero_pad(x, out_planes, stride))
        assert not list(shortcut.parameters())


def test_option_a_refuses_to_lose_channels():
    with pytest.raises(InputError, match="the shortcut zero_pad can only add channels, but the block maps 8 to 4"):
        SHORTCUTS["zero_pad"](8, 4, 1, nn.BatchNorm2d)


@pytest.mark.parametrize("name", ["exclusive_gating", "shortcut_gating"])
def test_a_gate_starts_at_its_bias_which_is_minus_six_by_default(name):
    for options, bias in (({}, -6.0), ({"bias": 1.5}, 1.5)):
        shortcut = SHORTCUTS[name](4, 8, 2, nn.BatchNorm2d, **options)
        assert shortcut.gate[0].bias.tolist() == [bias] * 8
        gate = shortcut.gate(torch.zeros(1, 4, 6, 6))
        torch.testing.assert_close(gate, torch.full((1, 8, 3, 3), 1 / (1 + math.exp(-bias))))


@pytest.mark.parametrize("bias", [-40.0, 40.0])
def test_exclusive_gating_gives_all_to_one_path_and_shortcut_gating_keeps_the_branch(bias):
    x, branch = torch.randn(2, 4, 5, 5), torch.randn(2, 4, 5, 5)
    exclusive = SHORTCUTS["exclusive_gating"](4, 4, 1, nn.BatchNorm2d, bias=bias)
    torch.testing.assert_close(exclusive(x, branch), x if bias < 0 else branch)
    shortcut_only = SHORTCUTS["shortcut_gating"](4, 4, 1, nn.BatchNorm2d, bias=bias)
    torch.testing.assert_close(shortcut_only(x), x if bias < 0 else torch.zeros_like(x))


def test_both_scales_are_arguments():
    x, branch = torch.randn(2, 4, 5, 5), torch.randn(2, 4, 5, 5)
    shortcut = SHORTCUTS["constant_scaling"](4, 4, 1, nn.BatchNorm2d, scale=0.25, residual_scale=0.75)
    torch.testing.assert_close(shortcut(x, branch), (x + 3 * branch) / 4)


def test_a_net_of_gated_shortcuts_has_a_gate_with_that_bias_in_every_block():
    net = create_model("resnet20", shortcut={"exclusive_gating": {"bias": -3}})
    gates = {name: module for name, module in net.named_modules() if isinstance(module, ExclusiveGating)}
    assert list(gates) == [f"layer{k}.{i}.downsample" for k in (1, 2, 3) for i in range(3)]
    widths = [(16, 16)] * 3 + [(16, 32)] + [(32, 32)] * 2 + [(32, 64)] + [(64, 64)] * 2
    for (in_planes, out_planes), gating in zip(widths, gates.values(), strict=True):
        opens = in_planes != out_planes
        assert gating.gate[0].weight.shape == (out_planes, in_planes, 1, 1)
        assert gating.gate[0].stride == ((2, 2) if opens else (1, 1))
        assert gating.gate[0].bias.tolist() == [-3] * out_planes
        assert isinstance(gating.carry, ZeroPad if opens else nn.Identity)
    # Without the gates, each with its W and b, the net is resnet20.
    in_gates = sum(in_planes * out_planes + out_planes for in_planes, out_planes in widths)
    assert sum(parameter.numel() for parameter in net.parameters()) == 269_722 + in_gates


def test_a_shortcut_with_arguments_reaches_every_block():
    net = create_model("resnet20", shortcut={"constant_scaling": {"scale": 0.25, "residual_scale": 0.75}})
    blocks = [module for module in net.modules() if isinstance(module, ResidualBlock)]
    assert [(b.downsample.scale, b.downsample.residual_scale) for b in blocks] == [(0.25, 0.75)] * 9


# Stochastic depth.


def test_drop_path_of_rate_zero_is_absent():
    assert BasicBlock(4, 4).drop_path is None
    with torch.device("meta"):
        assert not any(isinstance(module, DropPath) for module in create_model("resnet20").modules())


def test_drop_path_is_the_identity_in_evaluation():
    x = torch.randn(50, 2, 3, 3)
    assert torch.equal(DropPath(0.9).eval()(x), x)


def test_drop_path_drops_whole_images_at_its_rate_and_keeps_the_expectation():
    rate, n = 0.2, 10_000
    x = torch.rand(n, 2, 2, 3) + 0.5
    out = DropPath(rate)(x)
    kept = out[:, 0, 0, 0] != 0
    assert torch.equal(out[~kept], torch.zeros_like(x[~kept]))
    torch.testing.assert_close(out[kept], x[kept] / (1 - rate))
    # Within 5 standard deviations of n coin tosses.
    deviation = math.sqrt(rate * (1 - rate) / n)
    assert 1 - kept.double().mean().item() == pytest.approx(rate, abs=5 * deviation)
    assert (out.mean() / x.mean()).item() == pytest.approx(1, abs=6 * deviation / (1 - rate))


def test_drop_path_passes_no_gradient_to_a_dropped_branch():
    x = torch.randn(100, 2, 3, 3, requires_grad=True)
    out = DropPath(0.5)(x)
    out.sum().backward()
    dropped = out.detach()[:, 0, 0, 0] == 0
    assert 0 < dropped.sum() < 100
    assert torch.equal(x.grad, torch.where(dropped, 0.0, 2.0)[:, None, None, None].expand_as(x))


@pytest.mark.parametrize(("order", "kind"), list(zip(ORDERS, (0, 1, 0, 1, 0), strict=True)))
def test_a_dropped_block_is_its_shortcut(order, kind):
    (make, planes), rate, n = KINDS[kind], 0.3, 200
    block = make(16, planes, order=ORDERS[order], drop_path=rate).double()
    randomize_norms(block)
    undropped = make(16, planes, order=ORDERS[order]).double()
    undropped.load_state_dict(block.state_dict())
    # Without the modules after the addition: a norm there mixes the images of the batch.
    block.after, undropped.after = [], []
    x = torch.randn(n, 16, 4, 4, dtype=torch.double)
    with torch.no_grad():
        found, branch = block(x), undropped(x) - x
    dropped = (found == x).flatten(1).all(1)
    torch.testing.assert_close(found[~dropped], (x + branch / (1 - rate))[~dropped])
    assert dropped.sum().item() == pytest.approx(rate * n, abs=5 * math.sqrt(n * rate * (1 - rate)))


@pytest.mark.parametrize(("name", "blocks"), [("resnet20", 9), ("preact_resnet164", 54)])
def test_rates_grow_linearly_with_depth(name, blocks):
    with torch.device("meta"):
        net = create_model(name, drop_path_rate=0.5)
    rates = [module.rate for module in net.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0.5 * i / blocks for i in range(1, blocks + 1)])
    assert rates[-1] == 0.5


def test_a_plain_net_has_nothing_to_drop():
    with pytest.raises(InputError, match="drop_path needs blocks with a shortcut; without one,"):
        create_model("plain20", drop_path_rate=0.1)


# Residual branches that begin at zero.


ZERO_CASES = [
    (*KINDS[i % 2], *variant, 1 + i // 2 % 2, i // 4 == 0)
    for i, variant in enumerate(variant for variant in VARIANTS if variant[0] != "act_before_addition")
]


@pytest.mark.parametrize(("make", "planes", "order", "pre_activation", "stride", "training"), ZERO_CASES)
def test_a_block_of_zero_residual_is_its_shortcut(make, planes, order, pre_activation, stride, training):
    block = make(16, planes, stride, order=ORDERS[order], pre_activation=pre_activation).double().train(training)
    block.zero_init_residual()
    x = torch.randn(3, 16, 8, 6, dtype=torch.double)
    p = functional_parts(block, stride)
    last_norm = p.n2 if make is BasicBlock else p.n3
    expected = p.s(SHARED[order](p, x) if pre_activation == "both" else x)
    expected = last_norm(expected) if order == "norm_after_addition" else expected
    expected = F.relu(expected) if order in ("original", "norm_after_addition") else expected
    found = block(x)
    torch.testing.assert_close(found, expected)
    last = "bn" if order in ("original", "act_only_pre_activation") else "conv"
    weight = getattr(block, f"{last}{2 if make is BasicBlock else 3}").weight
    assert not weight.any()
    assert gradients(found, [weight])[0].any()  # it can leave zero again


@pytest.mark.parametrize(
    ("make", "theirs"),
    [(BasicBlock, torchvision.models.resnet.BasicBlock), (Bottleneck, torchvision.models.resnet.Bottleneck)],
)
def test_zero_init_residual_zeroes_what_torchvision_zeroes(make, theirs):
    ours = ResNet(make, (2, 1, 1, 1), zero_init_residual=True).state_dict()
    expected = torchvision.models.ResNet(theirs, [2, 1, 1, 1], zero_init_residual=True).state_dict()
    zeros = [
        [key for key in weights if key.endswith("weight") and not weights[key].any()] for weights in (ours, expected)
    ]
    assert zeros[0] == zeros[1]
    assert len(zeros[0]) == 5


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("plain20", {}, r"zero_init_residual needs blocks with a shortcut; without one, a block would return zeros$"),
        ("resnet20", {"order": "act_before_addition"}, r"residual branch that ends in a norm .*, not in ReLU$"),
        ("preact_resnet164", {"order": "act_before_addition", "act_layer": "silu"}, r", not in SiLU$"),
        ("resnet20", {"norm_layer": nn.InstanceNorm2d}, r"ends in a norm with weights .*, not in InstanceNorm2d$"),
    ],
)
def test_zero_init_residual_is_refused_where_it_cannot_be(name, options, message):
    with pytest.raises(InputError, match=message), torch.device("meta"):
        create_model(name, zero_init_residual=True, **options)


# Dropout.


@both_kinds
def test_dropout_is_before_the_last_convolution(make, planes):
    p = 0.3
    block = make(16, planes, order=ORDERS["full_pre_activation"], dropout=p)
    randomize_norms(block)
    seen = []
    last = block.conv2 if make is BasicBlock else block.conv3
    last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = torch.randn(20, 16, 8, 8)
    for training in (True, False):
        f = functional_parts(block.train(training))
        inner = F.relu(f.n2(f.c1(F.relu(f.n1(x)))))
        expected = inner if make is BasicBlock else F.relu(f.n3(f.c2(inner)))
        with torch.no_grad():
            block(x)
        if training:
            dropped = (seen[-1] == 0) & (expected > 0)
            torch.testing.assert_close(seen[-1], torch.where(dropped, 0, expected / (1 - p)), rtol=1e-4, atol=1e-4)
            n = (expected > 0).sum().item()
            assert dropped.sum().item() == pytest.approx(p * n, abs=5 * math.sqrt(n * p * (1 - p)))
        else:
            torch.testing.assert_close(seen[-1], expected, rtol=1e-4, atol=1e-4)


def test_a_wide_net_has_its_dropout_in_every_block_and_by_default_none():
    with torch.device("meta"):
        net, without = create_model("wide_resnet16_8", dropout=0.3), create_model("wide_resnet16_8")
    found = {name: module.p for name, module in net.named_modules() if isinstance(module, nn.Dropout)}
    assert found == {f"layer{k}.{i}.dropout": 0.3 for k in (1, 2, 3) for i in (0, 1)}
    assert not any(isinstance(module, nn.Dropout) for module in without.modules())


# Bottlenecks of groups.


@pytest.mark.parametrize(
    ("groups", "width_per_group", "width"),
    [(1, 64, 16), (32, 4, 32), (1, 128, 32), (3, 6, 3)],
)
def test_a_bottleneck_of_groups_equals_torchvisions(groups, width_per_group, width):
    ours = Bottleneck(64, 16, groups=groups, width_per_group=width_per_group).eval()
    randomize_norms(ours)
    theirs = torchvision.models.resnet.Bottleneck(64, 16, groups=groups, base_width=width_per_group).eval()
    theirs.load_state_dict(ours.state_dict())
    assert ours.conv2.weight.shape == (width, width // groups, 3, 3)
    x = torch.randn(2, 64, 5, 6)
    assert torch.equal(ours(x), theirs(x))


def test_a_bottleneck_without_channels_is_refused():
    with pytest.raises(InputError, match="a bottleneck of 8 planes and width_per_group=4 has no channels"):
        Bottleneck(16, 8, groups=32, width_per_group=4)


def test_a_bottleneck_of_groups_is_the_sum_of_narrow_ones():
    # Xie et al. 2017, Figure 3: (a), the paths summed, equals (c), the grouped convolution.
    groups, width = 4, 3
    block = Bottleneck(64, 16, groups=groups, width_per_group=12).eval()
    randomize_norms(block)
    x = torch.randn(2, 64, 5, 6)

    def norm(y, bn, channels):
        scale = bn.weight / (bn.running_var + bn.eps).sqrt()
        shift = bn.bias - bn.running_mean * scale
        return y * scale[channels, None, None] + shift[channels, None, None]

    paths = 0
    for group in range(groups):
        part = slice(group * width, (group + 1) * width)
        y = F.relu(norm(F.conv2d(x, block.conv1.weight[part]), block.bn1, part))
        y = F.relu(norm(F.conv2d(y, block.conv2.weight[part], padding=1), block.bn2, part))
        paths = paths + F.conv2d(y, block.conv3.weight[:, part])
    torch.testing.assert_close(block(x), F.relu(norm(paths, block.bn3, slice(None)) + x))


# Stems.


def functional_imagenet_stem(stem, x):
    x = F.relu(functional_norm(F.conv2d(x, stem["conv1"].weight, stride=2, padding=3), stem["bn1"]))
    return x, F.max_pool2d(x, 3, stride=2, padding=1)


def functional_deep_stem(stem, x):
    first, norm, _, second, other_norm, _, third = stem["conv1"]
    x = F.relu(functional_norm(F.conv2d(x, first.weight, stride=2, padding=1), norm))
    x = F.relu(functional_norm(F.conv2d(x, second.weight, padding=1), other_norm))
    x = F.relu(functional_norm(F.conv2d(x, third.weight, padding=1), stem["bn1"]))
    return x, F.max_pool2d(x, 3, stride=2, padding=1)


def functional_cifar_stem(stem, x):
    x = F.relu(functional_norm(F.conv2d(x, stem["conv1"].weight, padding=1), stem["bn1"]))
    return x, x


# The stride before the pool, and with it.
STEM_FORMULAS = {
    "imagenet": (functional_imagenet_stem, 2, 4),
    "deep": (functional_deep_stem, 2, 4),
    "cifar": (functional_cifar_stem, 1, 1),
}


def test_the_formulas_cover_every_stem():
    assert set(STEM_FORMULAS) == set(STEMS)


@pytest.mark.parametrize(("name", "training"), [("imagenet", True), ("deep", True), ("deep", False), ("cifar", False)])
def test_a_stem_equals_its_formula_and_its_stride_is_in_feature_info(name, training):
    functional, stride, pooled_stride = STEM_FORMULAS[name]
    net = ResNet(BasicBlock, (1,), (8,), stem=name, in_chans=2)
    randomize_norms(net)
    net.double().train(training)
    images = torch.randn(3, 2, 21, 34, dtype=torch.double)
    x, pooled = functional({key: getattr(net, key) for key in ("conv1", "bn1")}, images)
    assert x.shape == (3, 8, -(-21 // stride), -(-34 // stride))
    assert pooled.shape == (3, 8, -(-21 // pooled_stride), -(-34 // pooled_stride))
    assert net.feature_info == (FeatureMap(8, stride, "relu"), FeatureMap(8, pooled_stride, "layer1"))
    torch.testing.assert_close(net.forward_features(images), net.layer1(pooled))
    found = net.keep_features([0])(images)
    torch.testing.assert_close(found, [x])


def test_a_deep_stem_has_half_the_planes_in_its_first_two_convolutions():
    with torch.device("meta"):
        net = create_model("resnet18", stem="deep")
    shapes = [tuple(m.weight.shape) for m in net.conv1 if isinstance(m, nn.Conv2d)]
    assert shapes == [(32, 3, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3)]


@pytest.mark.parametrize(
    ("name", "stem", "planes", "stride"),
    [
        ("resnet18", "cifar", 512, 8),
        ("resnet50", "deep", 2048, 32),
        ("resnet20", "cifar", 64, 4),
        ("resnet20", "deep", 64, 16),
        ("resnet20", "imagenet", 64, 16),
    ],
)
def test_a_network_with_another_stem_has_the_stems_stride(name, stem, planes, stride):
    with torch.device("meta"):
        net = create_model(name, stem=stem)
        images = torch.empty(1, 3, 64, 96)
    assert net.reduction == stride
    assert net.forward_features(images).shape == (1, planes, 64 // stride, 96 // stride)


# Functions and arguments instead of names.


def test_stem_shortcut_norm_and_activation_can_be_functions():
    def stem(in_chans, planes, norm_layer, act_layer):
        layers = {"conv1": nn.Conv2d(in_chans, planes, 2, stride=2), "bn1": norm_layer(planes)}
        return {**layers, "relu": act_layer(), "maxpool": nn.AvgPool2d(2)}

    def norm(planes):
        return nn.InstanceNorm2d(planes)

    def shortcut(in_planes, out_planes, stride, norm_layer):
        return nn.Sequential(nn.AvgPool2d(stride), nn.Conv2d(in_planes, out_planes, 1), norm_layer(out_planes))

    net = ResNet(
        BasicBlock, (1, 1), (4, 8), num_classes=5, stem=stem, shortcut=shortcut, norm_layer=norm, act_layer=nn.Softplus
    )
    kinds = [type(module) for module in net.modules() if not list(module.children())]
    assert kinds.count(nn.InstanceNorm2d) == 1 + 3 + 3
    assert kinds.count(nn.Softplus) == 1 + 2
    assert kinds.count(nn.AvgPool2d) == 1 + 2
    assert not {nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d} & set(kinds)
    assert net.reduction == 8
    assert net.feature_info.reduction() == [2, 4, 8]
    assert net.forward_features(torch.randn(2, 3, 32, 16)).shape == (2, 8, 4, 2)


def test_norm_and_activation_take_arguments_by_name():
    style = {
        "norm_layer": {"batch": {"momentum": 0.3, "eps": 0.25}},
        "act_layer": {"leaky_relu": {"negative_slope": 0.5}},
    }
    net = create_model("resnet20", **style)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    activations = [module for module in net.modules() if isinstance(module, nn.LeakyReLU)]
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.3, 0.25)}
    assert {activation.negative_slope for activation in activations} == {0.5}
    assert (len(norms), len(activations)) == (19, 10)
    block = net.layer1[0].eval()
    x = torch.randn(2, 16, 5, 5)
    expected = BASIC_BLOCKS["original"](functional_parts(block, activation=lambda y: torch.where(y < 0, y / 2, y)), x)
    torch.testing.assert_close(block(x), expected)


def test_a_block_can_be_a_function():
    class Halves(nn.Module):
        def __init__(self, in_planes, out_planes, stride):
            super().__init__()
            self.conv = nn.Conv2d(in_planes, out_planes, 1, stride)
            self.out_planes = out_planes

        def forward(self, x):
            return self.conv(x) / 2

    asked = []

    def block(in_planes, planes, stride, **options):
        asked.append((in_planes, planes, stride, options["pre_activation"], options["drop_path"]))
        return Halves(in_planes, 3 * planes, stride)

    net = ResNet(block, (2, 1), (4, 8), stem="cifar", num_classes=5, drop_path_rate=0.3)
    assert [call[:4] for call in asked] == [(4, 4, 1, "none"), (12, 4, 1, "branch"), (12, 8, 2, "both")]
    assert [call[4] for call in asked] == pytest.approx([0.1, 0.2, 0.3])
    assert net.forward_features(torch.randn(2, 3, 6, 8)).shape == (2, 24, 3, 4)
    assert net.fc.in_features == 24


# Layers.


@pytest.mark.parametrize(("planes", "groups"), [(128, 32), (48, 24), (16, 8), (1, 1)])
def test_group_norm_takes_mean_and_variance_of_each_group(planes, groups):
    norm = group_norm(planes)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    x = torch.randn(3, planes, 5, 4) * 2 + 1
    grouped = x.view(3, groups, -1)
    normed = (grouped - grouped.mean(2, keepdim=True)) / (grouped.var(2, keepdim=True, correction=0) + 1e-5).sqrt()
    expected = normed.view_as(x) * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected)


def test_group_norm_refuses_groups_that_do_not_divide_the_channels():
    with pytest.raises(InputError, match="80 channels cannot be divided into 32 equal groups"):
        group_norm(80)
    with pytest.raises(InputError, match="16 channels cannot be divided into 5 equal groups"), torch.device("meta"):
        create_model("resnet20", norm_layer={"group": {"num_groups": 5}})


@pytest.mark.parametrize(("name", "norms"), [("resnet20", 19), ("resnet50", 53)])
def test_group_norm_makes_an_image_independent_of_its_batch(name, norms):
    net = create_model(name, norm_layer="group", num_classes=10)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert sum(isinstance(module, nn.GroupNorm) for module in net.modules()) == norms
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        together = net(images)
        alone = torch.cat([net(image[None]) for image in images])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
        assert together.std(dim=0).max() > 0.01  # the images do differ


@pytest.mark.parametrize(
    ("kernel_size", "stride", "dilation", "groups"),
    [(1, 1, 1, 1), (3, 1, 1, 4), (3, 2, 1, 1), (3, 1, 4, 4), (7, 2, 1, 1)],
)
def test_a_convolution_keeps_the_size_up_to_its_stride_and_is_initialized_as_in_he_et_al(
    kernel_size, stride, dilation, groups
):
    layer = conv(32, 64, kernel_size, stride, dilation, groups)
    assert layer(torch.randn(1, 32, 15, 18)).shape == (1, 64, -(-15 // stride), -(-18 // stride))
    assert layer.bias is None
    # Within 5 standard deviations of the statistics of n normal numbers.
    n = layer.weight.numel()
    assert n == 64 * 32 // groups * kernel_size**2
    std = math.sqrt(2 / (64 * kernel_size**2))
    assert layer.weight.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * n))
    assert abs(layer.weight.mean().item()) < 5 * std / math.sqrt(n)


# ResNet-9.


def functional_resnet9(net, images):
    def layer(x, module, i=1):
        weight, bn = getattr(module, f"conv{i}").weight, getattr(module, f"bn{i}")
        return F.relu(functional_norm(F.conv2d(x, weight, padding=1), bn))

    def pool(x):  # pads odd sizes: the last row or column is pooled alone, as a stride of 2 would keep it
        return F.max_pool2d(F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), value=-math.inf), 2)

    x = layer(images, net)
    x = pool(layer(x, net.layer1[0]))
    x = x + layer(layer(x, net.layer1[1]), net.layer1[1], 2)
    x = pool(layer(x, net.layer2[0]))
    x = pool(layer(x, net.layer3[0]))
    x = x + layer(layer(x, net.layer3[1]), net.layer3[1], 2)
    return x.amax((2, 3)) @ net.fc.weight.T / 8


@pytest.mark.parametrize("training", [False, True])
def test_resnet9_equals_its_formula(training):
    net = create_model("resnet9")
    randomize_norms(net)
    net.double().train(training)
    images = torch.randn(2, 3, 32, 21, dtype=torch.double)
    with torch.no_grad():
        torch.testing.assert_close(net(images), functional_resnet9(net, images))
    assert [tuple(p.shape) for p in net.fc.parameters()] == [(10, 512)]
