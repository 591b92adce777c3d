"""Slices of the loss around weights, against networks that are changed by hand."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nets import assert_unchanged, randomize_norms, state_of, tiny
from resnet_lightning.experiments.landscape import nonconvexity, random_direction, slice_1d, slice_2d

IMAGES = torch.rand(6, 3, 12, 12, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])
BATCHES = [(IMAGES[:4], LABELS[:4]), (IMAGES[4:], LABELS[4:])]


def trained_like():
    torch.manual_seed(0)
    return randomize_norms(tiny())


def test_each_filter_of_a_direction_has_the_norm_of_that_of_the_network():
    net = trained_like()
    direction = random_direction(net, seed=1)
    weights = {name: parameter for name, parameter in net.named_parameters() if parameter.ndim > 1}
    assert list(direction) == list(weights)
    assert "fc.weight" in direction
    assert not any(name.endswith("bias") or "bn" in name for name in direction)
    for name, weight in weights.items():
        assert torch.allclose(direction[name].flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1), rtol=1e-4)
    again, other = random_direction(net, seed=1), random_direction(net, seed=2)
    assert all(torch.equal(direction[name], again[name]) for name in direction)
    assert not torch.allclose(direction["conv1.weight"], other["conv1.weight"])


def test_a_slice_is_the_loss_of_networks_whose_weights_are_moved():
    net = trained_like()
    net.layer1.eval()
    before = state_of(net)
    first, second = random_direction(net, 0), random_direction(net, 1)
    losses, errors = slice_2d(net, BATCHES, first, second, [-1.0, 0.0], [0.0, 0.5, 1.0])
    assert_unchanged(net, before)
    assert losses.shape == errors.shape == (2, 3)
    for i, a in enumerate([-1.0, 0.0]):
        for j, b in enumerate([0.0, 0.5, 1.0]):
            moved = copy.deepcopy(net).eval()
            with torch.no_grad():
                for name, parameter in moved.named_parameters():
                    if name in first:
                        parameter.add_(a * first[name] + b * second[name])
                logits = moved(IMAGES)
            assert losses[i, j].item() == pytest.approx(F.cross_entropy(logits, LABELS).item(), rel=1e-4)
            assert errors[i, j].item() == pytest.approx(100 * (logits.argmax(1) != LABELS).double().mean().item())


def test_a_line_is_a_row_of_the_plane():
    net = trained_like()
    first, second = random_direction(net, 0), random_direction(net, 1)
    line, line_errors = slice_1d(net, BATCHES, first, torch.linspace(-1, 1, 3))
    plane, plane_errors = slice_2d(net, BATCHES, first, second, [-1, 0, 1], [0])
    assert torch.equal(line, plane[:, 0])
    assert torch.equal(line_errors, plane_errors[:, 0])


def test_the_slice_of_a_linear_network_is_known():
    """Two classes whose logits are w x and 0: the cross-entropy of class 0 is log(1 + exp(-w x))."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[2.0], [0.0]]))
    direction = {"1.weight": torch.tensor([[1.0], [0.0]])}
    losses, errors = slice_1d(net, [(torch.ones(1, 1, 1, 1), torch.tensor([0]))], direction, [-3, -2, 0, 1])
    assert losses.tolist() == pytest.approx([torch.log1p(torch.tensor(-w).exp()).item() for w in (-1.0, 0.0, 2.0, 3.0)])
    assert errors.tolist() == [100, 0, 0, 0]


@pytest.mark.parametrize(
    ("losses", "share"),
    [
        ([4, 1, 0, 1, 4], 0),
        ([-4, -1, 0, -1, -4], 1),
        ([0, 1, 0, 1, 0], 4 / 6),
        ([0, 1, 2], 0),
        ([1, 0, 1, torch.inf], 0),
    ],
)
def test_nonconvexity_is_the_share_of_negative_curvature(losses, share):
    assert nonconvexity(torch.tensor(losses, dtype=torch.float64)) == pytest.approx(share)
