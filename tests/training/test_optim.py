"""Parameter groups, and optimizers and schedules by their names."""

import math

import pytest
import torch
from torch import nn

from resnet_lightning import InputError, create_model
from resnet_lightning.training.optim import make_optimizer, make_scheduler, parameter_groups

NETS = [{"norm_layer": "batch"}, {"norm_layer": "group"}]


def weights_of_layers(net: nn.Module) -> set[nn.Parameter]:
    return {m.weight for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)}


# Parameter groups.


@pytest.mark.parametrize("options", NETS, ids=lambda options: options["norm_layer"])
def test_every_parameter_is_in_one_group_and_norms_and_biases_are_not_decayed(options):
    net = create_model("resnet20", **options)
    decayed, spared = parameter_groups(net)
    assert "weight_decay" not in decayed
    assert spared["weight_decay"] == 0
    assert len(decayed["params"]) + len(spared["params"]) == len(list(net.parameters()))
    assert set(decayed["params"]) == weights_of_layers(net)
    assert set(spared["params"]) == set(net.parameters()) - weights_of_layers(net)


def test_norms_and_biases_are_decayed_like_the_weights_if_asked_for():
    groups = parameter_groups(create_model("resnet20"), decay_all=True)
    optimizer = make_optimizer("SGD", groups, 0.1, {"weight_decay": 1e-4})
    assert [group["weight_decay"] for group in optimizer.param_groups] == [1e-4, 1e-4]


def test_frozen_parameters_are_left_out():
    net = create_model("resnet20")
    net.layer1.requires_grad_(False)
    frozen = set(net.layer1.parameters())
    taken = [p for group in parameter_groups(net) for p in group["params"]]
    assert set(taken) == set(net.parameters()) - frozen
    assert len(taken) == len(set(taken))


@pytest.mark.parametrize("options", NETS, ids=lambda options: options["norm_layer"])
def test_without_a_gradient_a_step_shrinks_the_decayed_weights_alone(options):
    net = create_model("resnet20", **options)
    nn.init.ones_(net.fc.bias)  # a bias of 0 would stay 0 in any case
    before = {p: p.detach().clone() for p in net.parameters()}
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    make_optimizer("SGD", parameter_groups(net), 0.1, {"weight_decay": 0.01}).step()
    decayed = weights_of_layers(net)
    for p, old in before.items():
        if p in decayed:
            torch.testing.assert_close(p.detach(), old - 0.1 * 0.01 * old, rtol=1e-6, atol=0)
        else:
            assert torch.equal(p, old)


# Optimizers.


def some_weight() -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(2, 2))]


@pytest.mark.parametrize("name", ["SGD", "torch.optim.SGD", "torch.optim.sgd.SGD"])
def test_an_optimizer_is_found_by_its_name_and_by_its_path(name):
    optimizer = make_optimizer(name, some_weight(), 0.3, {"momentum": 0.9})
    assert type(optimizer) is torch.optim.SGD
    assert optimizer.param_groups[0]["lr"] == 0.3
    assert optimizer.param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("SDG", {}, "unknown optimizer 'SDG'; did you mean 'SGD'"),
        ("adamw", {}, "did you mean 'AdamW'"),
        ("Optimizer", {}, "unknown optimizer 'Optimizer'"),
        ("torch.optim.SDG", {}, "optimizer 'torch.optim.SDG' cannot be imported"),
        ("nowhere.SGD", {}, "there is no module 'nowhere'"),
        (".SGD", {}, "'.SGD'"),
        ("SGD", {"momentm": 0.9}, "optimizer 'SGD' takes no option 'momentm'; did you mean 'momentum'"),
        ("SGD", {"momentum": -1}, "Invalid momentum value: -1"),
        ("SGD", {"momentum": "high"}, "optimizer 'SGD' cannot be built from"),
        ("SGD", {"lr": 0.1}, "lr"),  # the learning rate has a place of its own
    ],
)
def test_a_wrong_optimizer_names_what_was_meant(name, options, words):
    with pytest.raises(InputError) as error:
        make_optimizer(name, some_weight(), 0.1, options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


# Schedules.


def rates(name: str, options: dict, steps: int = 20, lr: float = 0.1) -> list[float]:
    """The learning rate of each step of a run, and the one that it is left at."""
    optimizer = make_optimizer("SGD", some_weight(), lr, {})
    scheduler = make_scheduler(name, optimizer, steps, options)
    seen = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


def test_one_cycle_peaks_at_the_optimizers_rate_and_fits_the_run():
    def cosine(start: float, end: float, share: float) -> float:
        return end + (start - end) * (1 + math.cos(math.pi * share)) / 2

    # Up for the first 0.3 * 20 steps, of which the first is step 0, down to the last step, which is step 19.
    up = [cosine(0.1 / 25, 0.1, step / 5) for step in range(6)]
    down = [cosine(0.1, 0.1 / 25 / 1e4, step / 14) for step in range(1, 15)]
    assert rates("OneCycleLR", {})[:20] == pytest.approx([*up, *down])


def test_one_cycle_gives_each_group_its_own_peak():
    groups = [{"params": some_weight(), "lr": 0.5}, {"params": some_weight()}]
    optimizer = make_optimizer("SGD", groups, 0.1, {})
    make_scheduler("OneCycleLR", optimizer, 20, {})
    assert [group["max_lr"] for group in optimizer.param_groups] == [0.5, 0.1]


@pytest.mark.parametrize("steps", range(1, 13))
def test_one_cycle_fits_short_runs(steps):
    assert 0 < max(rates("OneCycleLR", {"pct_start": 0.2}, steps=steps)[:steps]) <= 0.1


def test_cosine_annealing_ends_at_zero():
    closed_form = [0.1 * (1 + math.cos(math.pi * step / 20)) / 2 for step in range(21)]
    assert rates("CosineAnnealingLR", {}) == pytest.approx(closed_form, abs=1e-12)


@pytest.mark.parametrize("milestones", [[0.5, 0.75], (10, 15), [0.5, 15]])
def test_milestones_are_shares_of_the_run_or_steps(milestones):
    closed_form = [0.1] * 10 + [0.01] * 5 + [0.001] * 6
    assert rates("MultiStepLR", {"milestones": milestones}) == pytest.approx(closed_form)


def test_linear_changes_over_the_whole_run():
    closed_form = [0.1 * (1 + step / 20) / 2 for step in range(21)]
    assert rates("LinearLR", {"start_factor": 0.5}) == pytest.approx(closed_form)


def test_polynomial_ends_at_zero():
    closed_form = [0.1 * (1 - step / 20) ** 2 for step in range(21)]
    assert rates("PolynomialLR", {"power": 2}) == pytest.approx(closed_form, abs=1e-12)


def test_constant_lasts_for_the_whole_run():
    assert rates("ConstantLR", {"factor": 0.5})[:20] == pytest.approx([0.05] * 20)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("ConstantLR", {"factor": 0.5, "total_iters": 5}, [0.05] * 5 + [0.1] * 16),
        ("LinearLR", {"start_factor": 0.5, "total_iters": 2}, [0.05, 0.075] + [0.1] * 19),
        ("CosineAnnealingLR", {"T_max": 2, "eta_min": 0.02}, [0.1, 0.06, 0.02, 0.06] * 5 + [0.1]),
    ],
)
def test_a_length_that_the_user_gives_wins(name, options, expected):
    assert rates(name, options) == pytest.approx(expected)


def test_a_peak_that_the_user_gives_wins():
    assert max(rates("OneCycleLR", {"max_lr": 0.7})) == pytest.approx(0.7)


def test_a_longer_cycle_that_the_user_gives_wins():
    assert rates("OneCycleLR", {"total_steps": 40})[11] == pytest.approx(0.1)  # the peak, at 0.3 * 40 - 1


def test_a_schedule_is_found_by_its_path():
    path = "torch.optim.lr_scheduler.CosineAnnealingLR"
    assert rates(path, {}) == rates("CosineAnnealingLR", {})


def test_options_are_not_changed():
    options = {"milestones": [0.5, 0.75]}
    rates("MultiStepLR", options)
    assert options == {"milestones": [0.5, 0.75]}


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("OneCycle", {}, "unknown scheduler 'OneCycle'; did you mean 'OneCycleLR'"),
        ("CosineAnealingLR", {}, "did you mean 'CosineAnnealingLR'"),
        ("LRScheduler", {}, "unknown scheduler 'LRScheduler'"),
        ("torch.optim.lr_scheduler.OneCycle", {}, "cannot be imported"),
        (
            "OneCycleLR",
            {"pct_strt": 0.2},
            "scheduler 'OneCycleLR' takes no option 'pct_strt'; did you mean 'pct_start'",
        ),
        ("OneCycleLR", {"pct_start": 2.0}, "pct_start"),
        ("MultiStepLR", {}, "milestones"),
        ("MultiStepLR", {"milestones": 30}, "milestones"),
        ("MultiStepLR", {"milestones": ["half"]}, "milestones"),
    ],
)
def test_a_wrong_schedule_names_what_was_meant(name, options, words):
    optimizer = make_optimizer("SGD", some_weight(), 0.1, {})
    with pytest.raises(InputError) as error:
        make_scheduler(name, optimizer, 20, options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


# The warm-up of He et al. 2015, section 4.2, for ResNet-110.
WARM_UP = {
    "ChainedScheduler": [
        {"ConstantLR": {"factor": 0.1, "total_iters": 400}},
        {"MultiStepLR": {"milestones": [0.5, 0.75], "gamma": 0.1}},
    ],
    "SequentialLR": [
        {"ConstantLR": {"factor": 0.1, "total_iters": 400}},
        {"MultiStepLR": {"milestones": [31600, 47600], "gamma": 0.1}},
    ],
}


@pytest.mark.parametrize(("name", "further"), [("ChainedScheduler", {}), ("SequentialLR", {"milestones": [400]})])
def test_a_schedule_of_several_is_built_from_their_names(name, further):
    optimizer = make_optimizer("SGD", [nn.Parameter(torch.zeros(1))], 0.1, {})
    scheduler = make_scheduler(name, optimizer, 64000, {"schedulers": WARM_UP[name], **further})
    optimizer.step()
    rates = []
    for _ in range(64000):
        rates.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    expected = {0: 0.01, 399: 0.01, 400: 0.1, 31999: 0.1, 32000: 0.01, 47999: 0.01, 48000: 0.001, 63999: 0.001}
    assert {step: rates[step] for step in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    "schedulers", [None, [], ["ConstantLR"], {"ConstantLR": {}}, [{"ConstantLR": {}, "LinearLR": {}}]]
)
def test_schedules_of_a_schedule_have_one_form(schedulers):
    optimizer = make_optimizer("SGD", [nn.Parameter(torch.zeros(1))], 0.1, {})
    with pytest.raises(InputError, match=r"give a list of schedules, each as \{name: \{argument: value\}\}"):
        make_scheduler("ChainedScheduler", optimizer, 20, {"schedulers": schedulers})


def test_a_wrong_schedule_among_several_names_what_was_meant():
    optimizer = make_optimizer("SGD", [nn.Parameter(torch.zeros(1))], 0.1, {})
    with pytest.raises(InputError, match="unknown scheduler 'MultiStep'; did you mean 'MultiStepLR'"):
        make_scheduler("ChainedScheduler", optimizer, 20, {"schedulers": [{"MultiStep": {"milestones": [3]}}]})
