"""Filters are trained with orthogonal updates, other parameters with SGD, and a resumed run continues exactly."""

import copy

import pytest
import torch
from torch import nn

from resnet_lightning import InputError, create_model
from resnet_lightning.training.muon import FilterMuon, orthogonalized
from resnet_lightning.training.optim import make_optimizer, parameter_groups

MUON = "resnet_lightning.training.muon.FilterMuon"


@pytest.mark.parametrize("shape", [(16, 144), (144, 16), (32, 32), (1, 9)], ids=str)
def test_singular_values_become_about_one_and_directions_stay(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).float()
    found = orthogonalized(matrix, steps=8)
    assert found.shape == matrix.shape
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.6
    assert values.max() < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    aligned = u.T @ found @ v.T
    assert (aligned - aligned.diagonal().diag()).abs().max() < 1e-3


def test_a_gradient_of_zero_moves_nothing():
    assert orthogonalized(torch.zeros(4, 9)).eq(0).all()


def test_parameters_that_are_no_filters_are_trained_as_by_nesterov_sgd():
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    theirs = copy.deepcopy(ours)
    options = {"momentum": 0.9, "weight_decay": 0.01}
    muon = FilterMuon(ours.parameters(), lr=0.1, filter_lr=0.0, **options)
    sgd = torch.optim.SGD([p for p in theirs.parameters() if p.ndim != 4], lr=0.1, nesterov=True, **options)
    before = ours[0].weight.detach().clone()
    for _ in range(3):
        images = torch.randn(4, 3, 8, 8)
        for net, optimizer in (ours, muon), (theirs, sgd):
            optimizer.zero_grad()
            net(images).square().sum().backward()
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert torch.equal(ours[0].weight, before)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_the_step_of_a_filter_has_the_size_of_its_rate(layout):
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 16, 3, bias=False).to(memory_format=layout)
    before = conv.weight.detach().clone()
    optimizer = make_optimizer(MUON, parameter_groups(conv), 0.5, {"filter_lr": 0.2, "weight_decay": 0.1})
    gradient = torch.randn(16, 8, 3, 3)
    conv.weight.grad = gradient.contiguous(memory_format=layout)
    optimizer.step()
    moved = before * (1 - 0.1 * 0.1) - conv.weight.detach()
    torch.testing.assert_close(
        moved.reshape(16, -1), 0.1 * orthogonalized(gradient.reshape(16, -1)), rtol=1e-3, atol=1e-6
    )


def test_a_restored_state_continues_exactly():
    def steps(net, optimizer, seeds):
        for seed in seeds:
            images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
            optimizer.zero_grad()
            net(images).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    whole = create_model("resnet_fast", widths=[8, 8], stem_planes=4)
    resumed = copy.deepcopy(whole)
    first = make_optimizer(MUON, parameter_groups(whole), 0.05, {})
    steps(whole, first, range(4))
    half = make_optimizer(MUON, parameter_groups(resumed), 0.05, {})
    steps(resumed, half, range(2))
    again = copy.deepcopy(resumed)
    second = make_optimizer(MUON, parameter_groups(again), 0.05, {})
    second.load_state_dict(half.state_dict())
    steps(again, second, range(2, 4))
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("option", [{"filter_lr": -1.0}, {"momentum": float("nan")}, {"steps": 0}], ids=str)
def test_wrong_numbers_are_refused(option):
    with pytest.raises(InputError, match=next(iter(option))):
        make_optimizer(MUON, [nn.Parameter(torch.zeros(2))], 0.1, option)
