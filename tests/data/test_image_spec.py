"""What a checkpoint stores of the images that its model was trained on."""

import json
import re

import pytest

from resnet_lightning import CIFAR10DataModule, DigitsDataModule, InputError
from resnet_lightning.data import ImageSpec, PredictionDataModule

SPEC = ImageSpec(("cat", "dog"), 3, (18, 24), 18, (0.5, 0.25, 0.125), (0.25, 0.5, 1.0))


def test_entries_are_json_and_read_back_equal():
    assert ImageSpec.from_dict(json.loads(json.dumps({**SPEC.to_dict(), "trained_on": 7}))) == SPEC


def test_the_entries_of_a_checkpoint_keep_their_names_and_order():
    assert list(DigitsDataModule().state_dict()) == [
        *(
            "class_names",
            "in_chans",
            "image_size",
            "shorter_side",
            "mean",
            "std",
            "white_level",
            "trained_on",
            "fingerprint",
        )
    ]


@pytest.mark.parametrize("make", [DigitsDataModule, CIFAR10DataModule])
def test_images_for_prediction_are_those_of_the_training(make):
    trained = make()
    data = PredictionDataModule.of(ImageSpec.from_dict(trained.state_dict()))
    assert data.image_spec == trained.image_spec
    assert [values.tolist() for values in data.statistics()] == [values.tolist() for values in trained.statistics()]
    assert data.sizes() == trained.sizes()


def test_images_that_are_not_square_keep_their_size():
    data = PredictionDataModule.of(SPEC)
    assert not SPEC.is_square
    assert data.image_size is None
    assert data.files(["absent.png"]).shape == (18, 24, 3)


@pytest.mark.parametrize("name", sorted(SPEC.to_dict().keys() - {"white_level"}))  # older checkpoints have none
def test_a_missing_entry_is_named(name):
    entries = SPEC.to_dict()
    del entries[name]
    with pytest.raises(InputError, match=f"does not state the {name} of its images; train the model again"):
        ImageSpec.from_dict(entries)


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("class_names", "cat", "a list of names"),
        ("class_names", [1, 2], "a list of names"),
        ("in_chans", "3", "a number of channels"),
        ("in_chans", True, "a number of channels"),
        ("in_chans", 0, "a number of channels"),
        ("image_size", 18, "a height and a width in pixels"),
        ("image_size", [18], "a height and a width in pixels"),
        ("image_size", [18.0, 24.0], "a height and a width in pixels"),
        ("shorter_side", None, "a length in pixels"),
        ("mean", 0.5, "a list of numbers"),
        ("mean", ["0.5"], "a list of numbers"),
        ("std", [None], "a list of numbers"),
    ],
)
def test_an_entry_of_a_wrong_type_is_named(name, value, what):
    message = re.escape(f"the checkpoint states {value!r} as the {name} of its images, not {what}")
    with pytest.raises(InputError, match=message):
        ImageSpec.from_dict({**SPEC.to_dict(), name: value})


def test_options_of_the_user_override_the_checkpoint():
    options = {"mean": [0.1], "image_size": 32, "batch_size": 7, "predict_folder": "new", "val_split": 0.3}
    entries = SPEC.to_dict()
    del entries["mean"]  # nor must it state what the user gives
    assert PredictionDataModule.options_for(entries, options) == {
        **{**SPEC.to_dict(), "mean": [0.1], "image_size": [32, 32], "shorter_side": 32},
        **{"batch_size": 7, "predict_folder": "new"},
    }
