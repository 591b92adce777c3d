"""The weights that come with the package: they are what their cards state, and networks of other shapes take them."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from resnet_lightning import DigitsDataModule, ImageClassifier, ImageFolderDataModule, create_model, load_pretrained
from resnet_lightning.data import MNISTDataModule
from resnet_lightning.errors import InputError
from resnet_lightning.models import shipped_weights as shipped
from resnet_lightning.models.shipped_weights import ShippedWeights, find_shipped, read_safetensors, shipped_weights

DIGITS = ShippedWeights("resnet20", "digits")
EVERY = pytest.mark.parametrize("weights", shipped_weights(), ids=str)


@torch.no_grad()
def accuracy(weights: ShippedWeights, data) -> float:
    """The share of test images that a plain loop classifies correctly, with the statistics of the network."""
    net = create_model(weights.model, pretrained=weights.name).eval().to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(net.pretrained_cfg[name])[:, None, None] for name in ("mean", "std"))
    test = data.split("test")
    right = 0
    for numbers in test.indices.split(500):
        images = (test.images[numbers].permute(0, 3, 1, 2) / 255 - mean) / std
        right += int((net(images).argmax(1) == test.targets[numbers]).sum())
    assert len(test) == weights.card["test"]["images"]
    assert net.pretrained_cfg["label_names"] == list(data.class_names)
    return right / len(test)


def test_the_digits_are_classified_as_the_card_states():
    assert accuracy(DIGITS, DigitsDataModule()) == pytest.approx(DIGITS.accuracy, abs=1e-6)
    assert DIGITS.accuracy > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("weights", [each for each in shipped_weights() if each.name != "digits"], ids=str)
def test_real_images_are_classified_as_the_card_states(weights, real_data):
    """Sums in another order may move an image or two across the border of two classes."""
    is_mnist = weights.name == "mnist"
    data = MNISTDataModule(real_data) if is_mnist else ImageFolderDataModule(real_data / "cifar10-jpeg")
    assert accuracy(weights, data) == pytest.approx(weights.accuracy, abs=3e-4)


@EVERY
def test_a_card_is_whole_and_its_file_small(weights):
    file = Path(shipped.__file__).parent / "shipped" / f"{weights}.safetensors"
    assert file.stat().st_size < 2e6
    card = weights.card
    for entry in ("data", "source", "license of the data", "license of the weights", "machine", "versions", "date"):
        assert card[entry]
    assert card["command"].startswith("lightning fit --config ")
    assert card["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


@EVERY
def test_the_file_is_what_the_library_reads(weights):
    library = pytest.importorskip("safetensors.torch", reason="reads safetensors: pip install -e '.[dev]'")
    file = Path(shipped.__file__).parent / "shipped" / f"{weights}.safetensors"
    expected, found = library.load_file(file), weights.read()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    net = create_model(weights.model, pretrained=weights.name)
    assert all(torch.equal(value, expected[key].to(value.dtype)) for key, value in net.state_dict().items())


def test_classes_and_channels_are_those_of_the_weights_where_none_are_given(capsys):
    net = create_model("resnet20", pretrained="digits")
    assert capsys.readouterr().out == "pretrained: 116 of 116 tensors from resnet20.digits\n"
    assert (net.num_classes, net.in_chans) == (10, 1)
    cfg = net.pretrained_cfg
    assert (cfg["input_size"], cfg["tag"], cfg["label_names"]) == ((1, 8, 8), "digits", list("0123456789"))
    assert cfg["mean"] == pytest.approx(DigitsDataModule().statistics()[0].tolist())


def test_another_head_stays_as_drawn_and_features_need_none():
    weights = DIGITS.read()
    net = create_model("resnet20", pretrained="digits", num_classes=3)
    assert net.fc.weight.shape == (3, 64)
    assert "label_names" not in net.pretrained_cfg
    assert torch.equal(net.conv1.weight, weights["conv1.weight"].float())
    maps = create_model("resnet20", pretrained="resnet20.digits", features_only=True)(torch.zeros(2, 1, 8, 8))
    assert [each.shape[1] for each in maps] == [16, 16, 32, 64]


def test_every_place_that_takes_weights_takes_their_names():
    weights = DIGITS.read()
    model = ImageClassifier("resnet20", in_chans=1, backbone_args={"pretrained": "digits"})
    by_path = {"backbone": "resnet_lightning.models.resnet20", "backbone_args": {"pretrained": "digits"}}
    net = create_model("resnet20", in_chans=1)
    load_pretrained(net, "resnet20.digits")
    for loaded in (model.backbone, ImageClassifier(in_chans=1, **by_path).backbone, net):
        assert torch.equal(loaded.layer3[2].conv2.weight, weights["layer3.2.conv2.weight"].float())


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        ("resnet20", {"pretrained": "cifar100"}, "no weights 'cifar100' of resnet20 come with the package; there are "),
        ("resnet20", {"pretrained": "cifar100"}, "`lightning fit --config cifar100_resnet56` trains them"),
        ("resnet56", {"pretrained": "digits"}, "no weights 'digits' of resnet56 come with .* resnet20.digits"),
        ("resnet20", {"pretrained": "resnet20.imagenet"}, "no weights 'resnet20.imagenet' of resnet20"),
        ("resnet20", {"pretrained": True}, "pretrained is True; name one of the weights of resnet20: .*'digits'"),
        ("resnet20", {"pretrained": "digits", "in_chans": 3}, "of 1 channel, but in_chans is 3; give in_chans=1"),
        ("resnet32", {"pretrained": "resnet20.digits"}, "the weights in resnet20.digits do not fit this net"),
        ("resnet20", {"pretrained": "digits.ckpt"}, "there is no checkpoint 'digits.ckpt'"),
    ],
    ids=str,
)
def test_weights_that_there_are_not_or_that_do_not_fit_are_named(model, options, reason):
    with pytest.raises(InputError, match=reason):
        create_model(model, **options)


def test_a_file_of_the_name_counts_more(in_an_empty_folder):
    net = create_model("resnet20", num_classes=4)
    torch.save(net.state_dict(), "digits")
    assert find_shipped("digits", "resnet20") is None
    assert torch.equal(create_model("resnet20", num_classes=4, pretrained="digits").conv1.weight, net.conv1.weight)


def test_damage_is_named(monkeypatch, tmp_path):
    for suffix in ("json", "safetensors"):
        content = bytearray((Path(shipped.__file__).parent / "shipped" / f"{DIGITS}.{suffix}").read_bytes())
        content[-5] ^= suffix == "safetensors"
        (tmp_path / f"{DIGITS}.{suffix}").write_bytes(content)
    monkeypatch.setattr(shipped, "_FOLDER", tmp_path)
    with pytest.raises(InputError, match=r"the weights resnet20\.digits are damaged: .*; install again"):
        create_model("resnet20", pretrained="digits")


def entry(**changes: object) -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}).encode()
    return len(header).to_bytes(8, "little") + header + b"\0" * 8


def test_a_whole_file_is_read_and_a_wrong_one_is_one_line():
    assert torch.equal(read_safetensors(entry())["a"], torch.zeros(2))
    assert read_safetensors(entry(shape=[0], data_offsets=[8, 8]))["a"].shape == (0,)
    wrong = [b"", b"no", b"\xff" * 20, entry()[:-1], entry(dtype="Q"), entry(shape=[3]), entry(shape=[-2])]
    wrong += [entry(data_offsets=[-8, 0]), entry(data_offsets=[8, 16]), entry(data_offsets=3), entry(shape=None)]
    for content in wrong:
        with pytest.raises(InputError, match="the weights are no safetensors, or damaged"):
            read_safetensors(content)
