"""The paths of gradients, against networks whose path contributions are known."""

import math
from itertools import chain, combinations

import pytest
import torch
from torch import nn

from nets import assert_unchanged, randomize_norms, state_of, tiny
from resnet_lightning import InputError
from resnet_lightning.experiments.gradient_paths import (
    effective_length,
    effective_range,
    one_path,
    path_contributions,
    path_norms_by_length,
)
from resnet_lightning.experiments.residual_blocks import find_blocks
from resnet_lightning.models.blocks import ResidualBlock
from resnet_lightning.models.layers import conv

IMAGES = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 1])


class LinearBlocks(nn.Sequential):
    """Blocks that compute x + scale * x, and a head of fixed weights: a path of length k scales by ``scale ** k``."""

    def __init__(self, count, scale):
        blocks = []
        for _ in range(count):
            layer = conv(3, 3, kernel_size=1)
            nn.init.dirac_(layer.weight)
            with torch.no_grad():
                layer.weight *= scale
            blocks.append(ResidualBlock([layer], nn.Identity(), norm_layer=nn.Identity, act_layer=nn.Identity))
        super().__init__(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def subsets(names):
    return chain.from_iterable(combinations(names, size) for size in range(len(names) + 1))


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_a_path_through_linear_blocks_scales_by_the_product_of_their_branches(scale):
    net = LinearBlocks(5, scale)
    norms = path_norms_by_length(net, [(IMAGES, LABELS)], range(6), draws=3)
    assert list(norms) == [0, 1, 2, 3, 4, 5]
    assert [norms[k] / norms[0] for k in norms] == pytest.approx([scale**k for k in range(6)], rel=1e-4)


def test_the_contributions_of_linear_blocks_are_binomial():
    """n choose k times a^k over (1 + a)^n: a binomial distribution with the mean n a / (1 + a)."""
    shares = path_contributions({k: 0.25**k for k in range(21)}, 20)
    assert shares == pytest.approx({k: math.comb(20, k) * 0.2**k * 0.8 ** (20 - k) for k in range(21)})
    assert effective_length(shares) == pytest.approx(4)
    first, last = effective_range(shares)
    assert sum(shares[k] for k in range(first, last + 1)) >= 0.95
    assert (first, last) == (1, 7)
    thousand = path_contributions(dict.fromkeys(range(0, 3001, 1), 1.0), 3000)
    assert effective_length(thousand) == pytest.approx(1500)


@pytest.mark.parametrize(
    "options", [{}, {"shortcut": "projection"}, {"order": "full_pre_activation"}, {"shortcut": "constant_scaling"}]
)
def test_the_gradients_along_all_paths_add_up_to_the_whole_gradient(options):
    """A real network, with norms and ReLUs, and with shortcuts that change the shape: 64 paths through 6 blocks."""
    torch.manual_seed(0)
    net = randomize_norms(tiny(**options)).eval()
    leaf = IMAGES.clone().requires_grad_()
    logits = net(leaf)
    (whole,) = torch.autograd.grad(logits.square().sum(), leaf)
    total = torch.zeros_like(whole)
    for branches in subsets([block.name for block in find_blocks(net)]):
        with one_path(net, branches):
            found = net(leaf)
        assert torch.equal(found, logits)
        total += torch.autograd.grad(found.square().sum(), leaf)[0]
    assert torch.allclose(total, whole, rtol=1e-3, atol=1e-5 * whole.abs().max().item())


def test_the_network_stays_as_it_was():
    net = randomize_norms(tiny())
    before = state_of(net)
    norms = path_norms_by_length(net, [(IMAGES, LABELS)], [0, 3], draws=2)
    assert_unchanged(net, before)
    assert norms == path_norms_by_length(net, [(IMAGES, LABELS)], [0, 3], draws=2)
    assert norms != path_norms_by_length(net, [(IMAGES, LABELS)], [0, 3], draws=2, seed=1)


def test_what_is_impossible_ends_in_one_line():
    with pytest.raises(InputError, match="a path of length 7 does not exist; ResNet has 6 blocks"):
        path_norms_by_length(tiny(), [(IMAGES, LABELS)], [7], draws=1)
    with pytest.raises(InputError, match="ResNet has no blocks with a shortcut"):
        path_norms_by_length(tiny(shortcut="none"), [(IMAGES, LABELS)], [1], draws=1)
    with pytest.raises(InputError, match="no block 'layer9'"), one_path(tiny(), ["layer9"]):
        pass
    with pytest.raises(InputError, match=r"no range of lengths contributes 0\.95"):
        effective_range({1: 0.5, 2: 0.1})
