"""Trials: their labels, folders and settings, and the grid."""

import pytest

from resnet_lightning.experiments.trials import Trial, canonical, grid, labelled


def test_a_grid_is_the_product_with_the_last_key_varying_fastest():
    trials = list(grid({"model.lr": ["0.05", "0.1"], "seed_everything": ["0", "1"]}))
    assert [trial.label for trial in trials] == [
        *("model.lr 0.05, seed 0", "model.lr 0.05, seed 1", "model.lr 0.1, seed 0", "model.lr 0.1, seed 1"),
    ]
    assert trials[1].overrides == {"model.lr": "0.05", "seed_everything": "1"}
    assert trials[1].options() == ["--model.lr=0.05", "--seed_everything=1"]
    assert [trial.setting for trial in trials] == [(("model.lr", value),) for value in ("0.05", "0.05", "0.1", "0.1")]


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("model.lr 0.05, seed 1", "model.lr_0.05,seed_1"),
        ("fold 0", "fold_0"),
        ("plain-20, seed 0", "plain-20,seed_0"),
    ],
)
def test_the_folder_of_a_trial_is_named_by_its_label(label, name):
    assert Trial(label, {}).folder_name == name


@pytest.mark.parametrize(
    "label", ["../x", ".", "", "-x", "a/b", "a" * 300, "betas [0.9, 0.99]", "a\nb", "a\0b", "ü" * 99]
)
def test_every_label_makes_the_name_of_one_folder(label):
    name = Trial(label, {}).folder_name
    assert len(name.encode()) < 255
    assert not set(name) & set("/\0\n")
    assert name[0] not in ".-"


def test_labels_that_look_alike_have_different_folders():
    labels = "a b", "a_b", "a, b", "a,b", "a/b", "a" * 100, "a" * 101
    assert len({Trial(label, {}).folder_name for label in labels}) == len(labels)


@pytest.mark.parametrize(
    ("one", "other"), [("0.1", "1e-1"), ("0.1", "0.10"), ("[1,2]", "[1, 2]"), ("{b: 1, a: 2}", '{"a": 2, "b": 1}')]
)
def test_spellings_of_a_value_are_one(one, other):
    assert canonical(one) == canonical(other)
    assert labelled({"x": one}) == Trial(labelled({"x": other}).label, {"x": one})


def test_a_value_that_is_no_yaml_is_a_text():
    assert canonical("torch.optim.SGD") == "torch.optim.SGD"
    assert canonical("[1, 2") == "[1, 2"
