import pickle
import re
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from lightning import Trainer
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torchvision.models import ResNet18_Weights
from torchvision.models.feature_extraction import create_feature_extractor

from resnet_lightning import DigitsDataModule, ImageClassifier, InputError, create_model, load_pretrained
from resnet_lightning.models.weights import check_state_dict, read_checkpoint


class WritesAFile:
    """What a malicious checkpoint does: unpickling it runs code."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


class Custom:
    pass


def test_a_checkpoint_is_read_onto_the_cpu(tmp_path):
    file = tmp_path / "good.ckpt"
    weights = create_model("resnet20").state_dict()
    torch.save({"state_dict": weights, "epoch": 3, "hyper_parameters": {"lr": 0.1, "args": None}}, file)
    for path in (file, str(file)):
        found = read_checkpoint(path)
        assert found["epoch"] == 3
        assert found["hyper_parameters"] == {"lr": 0.1, "args": None}
        assert list(found["state_dict"]) == list(weights)
        assert all(torch.equal(found["state_dict"][key], weights[key]) for key in weights)
        assert {tensor.device.type for tensor in found["state_dict"].values()} == {"cpu"}


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match=r"there is no checkpoint '.*/absent\.ckpt'"):
        read_checkpoint(tmp_path / "absent.ckpt")
    with pytest.raises(InputError, match="there is no checkpoint"):
        read_checkpoint(tmp_path)  # a folder


def whole(tmp_path):
    file = tmp_path / "whole.ckpt"
    torch.save(create_model("resnet20").state_dict(), file)
    return file.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"epoch: 3\nlr: 0.1\n",
        lambda content: b"<html><body>404: Not Found</body></html>",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content[100:],
    ],
    ids=["empty", "text", "web page", "first half", "last byte gone", "beginning gone"],
)
def test_a_file_that_is_no_checkpoint_is_named_in_one_line(tmp_path, damage):
    file = tmp_path / "damaged.ckpt"
    file.write_bytes(damage(whole(tmp_path)))
    with pytest.raises(InputError, match=r"damaged\.ckpt' is not a checkpoint, is damaged or carries code") as caught:
        read_checkpoint(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("write", [torch.save, lambda content, file: file.write_bytes(pickle.dumps(content))])
@pytest.mark.parametrize("make", [WritesAFile, lambda path: Custom(), lambda path: whole], ids=["call", "class", "def"])
def test_a_checkpoint_that_carries_code_is_refused_and_the_code_does_not_run(tmp_path, write, make):
    file, trace = tmp_path / "code.ckpt", tmp_path / "trace"
    write({"state_dict": {}, "extra": make(trace)}, file)
    with pytest.raises(InputError, match=r"code\.ckpt' is not a checkpoint, is damaged or carries code"):
        read_checkpoint(file)
    assert not trace.exists()


def test_the_code_of_that_checkpoint_would_have_run(tmp_path):
    file, trace = tmp_path / "code.ckpt", tmp_path / "trace"
    torch.save(WritesAFile(trace), file)
    torch.load(file, weights_only=False).close()
    assert trace.exists()


def test_a_file_that_holds_something_else_is_named(tmp_path):
    file = tmp_path / "tensor.pt"
    torch.save(torch.zeros(3), file)
    with pytest.raises(InputError, match=r"tensor\.pt' is not a checkpoint: it holds a Tensor"):
        read_checkpoint(file)


def weights(**shapes):
    return {key: torch.zeros(shape) for key, shape in shapes.items()}


def test_weights_that_fit_pass_in_any_order():
    net = create_model("resnet20").state_dict()
    assert check_state_dict(net, dict(reversed(net.items())), "x.ckpt") is None
    with pytest.raises(InputError):
        check_state_dict(net, dict(list(net.items())[1:]), "x.ckpt")


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        (weights(a=2), "b missing"),
        (weights(a=2, b=(3, 1), c=1), "c unexpected"),
        (weights(a=5, b=(3, 1)), "a (5,) instead of (2,) of another shape"),
        (weights(a=2, b=(1, 3)), "b (1, 3) instead of (3, 1) of another shape"),
        (weights(b=3, d=1, c=1), "a missing; d, c unexpected; b (3,) instead of (3, 1) of another shape"),
        ({}, "a, b missing"),
    ],
)
def test_every_difference_is_named(found, difference):
    with pytest.raises(InputError) as caught:
        check_state_dict(weights(a=2, b=(3, 1)), found, "old.ckpt")
    assert str(caught.value) == f"the weights in old.ckpt do not fit this net: {difference}"


def test_many_differences_are_counted():
    with pytest.raises(InputError, match=r": a, b, c and 2 more missing; x, y, z unexpected$"):
        check_state_dict(weights(a=1, b=1, c=1, d=1, e=1), weights(x=1, y=1, z=1), "x")


def test_the_head_and_first_convolution_of_another_task_are_named():
    with pytest.raises(InputError) as caught:
        check_state_dict(
            create_model("resnet20", num_classes=100, in_chans=1).state_dict(),
            create_model("resnet20").state_dict(),
            "x",
        )
    assert str(caught.value).endswith(
        "conv1.weight (16, 3, 3, 3) instead of (16, 1, 3, 3), fc.weight (10, 64) instead of (100, 64), "
        "fc.bias (10,) instead of (100,) of another shape"
    )


# Loading weights into a net.


def trained(net, seed=0):
    """``net`` with norms and statistics as after training: those of two fresh nets are the same."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in net.state_dict().values():
        if tensor.ndim == 1:
            tensor.add_(0.2 * torch.rand(tensor.shape, generator=generator))
    return net.eval()


@pytest.fixture(scope="module")
def theirs():
    return trained(torchvision.models.resnet18())


@pytest.fixture(scope="module")
def ours():
    return trained(create_model("resnet20"))


@pytest.fixture
def images():
    return torch.rand(2, 3, 40, 33, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    """Where torchvision keeps what it has downloaded."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def assert_same(weights, expected):
    assert list(weights) == list(expected)
    for key in expected:
        torch.testing.assert_close(weights[key], expected[key], rtol=0, atol=0, msg=key)


@torch.no_grad()
def assert_same_logits(net, other, images):
    torch.testing.assert_close(net.eval()(images), other.eval()(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", [str, Path, torch.load], ids=["path", "pathlib", "state dict"])
def test_weights_are_taken_from_a_file_or_a_state_dict(ours, tmp_path, form):
    file = tmp_path / "ours.pt"
    torch.save(ours.state_dict(), file)
    assert_same(create_model("resnet20", pretrained=form(file)).state_dict(), ours.state_dict())


def test_a_net_that_exists_takes_weights_too(ours):
    net = create_model("resnet20")
    assert load_pretrained(net, ours.state_dict()) is None
    assert_same(net.state_dict(), ours.state_dict())


def test_the_net_and_the_state_dict_that_it_came_from_go_their_own_ways(ours):
    given = {f"module.{key}": tensor.clone() for key, tensor in ours.state_dict().items()}
    net = create_model("resnet20", in_chans=1, num_classes=5, pretrained=given)
    nn.init.zeros_(net.bn1.weight)
    assert_same({key.removeprefix("module."): tensor for key, tensor in given.items()}, ours.state_dict())


@pytest.mark.parametrize(
    "weights",
    [
        ResNet18_Weights.IMAGENET1K_V1,
        "ResNet18_Weights.IMAGENET1K_V1",
        "torchvision.models.ResNet18_Weights.DEFAULT",
    ],
    ids=str,
)
def test_weights_of_torchvision_give_its_logits(theirs, checkpoints, images, weights):
    torch.save(theirs.state_dict(), checkpoints / Path(ResNet18_Weights.DEFAULT.url).name)
    other = torchvision.models.resnet18(weights=ResNet18_Weights.DEFAULT)  # from the same file
    assert_same_logits(create_model("resnet18", pretrained=weights), other, images)


@pytest.mark.parametrize("weights", [ResNet18_Weights.IMAGENET1K_V1, "ResNet18_Weights.IMAGENET1K_V1"], ids=type)
def test_weights_that_cannot_be_downloaded_are_named_in_one_line(checkpoints, monkeypatch, weights):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there, and nothing leaves this machine
    with pytest.raises(InputError, match=r"^ResNet18_Weights\.IMAGENET1K_V1 cannot be downloaded: .*refused") as caught:
        create_model("resnet18", pretrained=weights)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [lambda content: b"<html>404</html>", lambda content: content[:1000]])
def test_a_damaged_download_is_named_in_one_line(theirs, checkpoints, damage):
    file = checkpoints / Path(ResNet18_Weights.DEFAULT.url).name
    torch.save(theirs.state_dict(), file)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match=r"^the download of ResNet18_Weights\.IMAGENET1K_V1 .* is damaged") as caught:
        create_model("resnet18", pretrained=ResNet18_Weights.DEFAULT)
    assert "\n" not in str(caught.value)


def test_code_in_a_download_is_refused_and_does_not_run(checkpoints, tmp_path):
    torch.save({"conv1.weight": WritesAFile(tmp_path / "trace")}, checkpoints / Path(ResNet18_Weights.DEFAULT.url).name)
    with pytest.raises(InputError, match=r"^the download of ResNet18_Weights\.IMAGENET1K_V1 .* is damaged"):
        create_model("resnet18", pretrained=ResNet18_Weights.DEFAULT)
    assert not (tmp_path / "trace").exists()


def test_a_download_that_holds_no_weights_is_named(checkpoints):
    torch.save([torch.zeros(3)], checkpoints / Path(ResNet18_Weights.DEFAULT.url).name)
    with pytest.raises(InputError, match=r"ResNet18_Weights\.IMAGENET1K_V1"):
        create_model("resnet18", pretrained=ResNet18_Weights.DEFAULT)


def test_weights_of_another_net_are_refused(checkpoints):
    weights = torchvision.models.ResNet50_Weights.IMAGENET1K_V2
    torch.save(torchvision.models.resnet50().state_dict(), checkpoints / Path(weights.url).name)
    with pytest.raises(
        InputError, match=r"^the weights in ResNet50_Weights\.IMAGENET1K_V2 do not fit this net"
    ) as caught:
        create_model("resnet18", pretrained=weights)
    assert "layer1.0.conv3.weight, layer1.0.bn3.weight, layer1.0.bn3.bias and" in str(caught.value)
    assert "layer1.0.conv1.weight (64, 64, 1, 1) instead of (64, 64, 3, 3)" in str(caught.value)


@pytest.mark.parametrize("name", ["ResNet18_Weights.IMAGENET2K", "Resnet18_Weights.DEFAULT", "my_Weights.DEFAULT"])
def test_a_name_that_torchvision_does_not_know_is_named(name):
    with pytest.raises(InputError, match=f"^torchvision has no weights '{name}'"):
        create_model("resnet18", pretrained=name)


def test_a_file_named_like_weights_of_torchvision_is_read(ours, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(ours.state_dict(), "best_Weights.pt")
    assert_same(create_model("resnet20", pretrained="best_Weights.pt").state_dict(), ours.state_dict())


# timm has torchvision's keys too, with "stem=deep" those of its nets that end in c.
@pytest.mark.parametrize(
    ("name", "stem", "their_name", "layout"),
    [
        ("resnet18", "imagenet", "resnet18", dict),
        ("resnet50", "deep", "resnet50c", lambda weights: {"state_dict": weights, "epoch": 3, "arch": "resnet"}),
    ],
    ids=["resnet18", "resnet50c"],
)
def test_weights_of_timm_give_its_logits(tmp_path, images, name, stem, their_name, layout):
    other = trained(timm.create_model(their_name, pretrained=False))
    torch.save(layout(other.state_dict()), tmp_path / "timm.pth.tar")
    assert_same_logits(create_model(name, stem=stem, pretrained=tmp_path / "timm.pth.tar"), other, images)


def test_a_run_of_torchvisions_reference_script_gives_its_logits(theirs, images):
    run = {"model": theirs.state_dict(), "optimizer": {"state": {}, "param_groups": []}, "epoch": 3}
    assert_same_logits(create_model("resnet18", pretrained=run), theirs, images)


def test_weights_from_safetensors_are_the_same(ours, tmp_path):
    safetensors.torch.save_file(ours.state_dict(), tmp_path / "model.safetensors")
    for path in (tmp_path / "model.safetensors", str(tmp_path / "model.safetensors")):
        found = create_model("resnet20", pretrained=path).state_dict()
        assert_same(found, ours.state_dict())


def test_damaged_safetensors_are_named(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match=r"model\.safetensors' is not a checkpoint, is damaged or carries code$"):
        create_model("resnet20", pretrained=tmp_path / "model.safetensors")


QUIET = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The checkpoint of a short run of our classifier, and its backbone."""
    file = tmp_path_factory.mktemp("run") / "last.ckpt"
    model = ImageClassifier("resnet20", num_classes=10, in_chans=1)
    trainer = Trainer(max_steps=1, limit_val_batches=0, **QUIET)
    trainer.fit(model, DigitsDataModule(batch_size=64))
    trainer.save_checkpoint(file)
    return file, model.backbone


def test_a_checkpoint_of_our_classifier_gives_its_backbone(run):
    file, backbone = run
    fresh = create_model("resnet20", in_chans=1)
    assert not torch.equal(fresh.bn1.running_mean, backbone.bn1.running_mean)
    assert_same(create_model("resnet20", in_chans=1, pretrained=file).state_dict(), backbone.state_dict())


def test_a_classifier_that_began_with_weights_is_loaded_without_them(run, tmp_path):
    start, file = tmp_path / "start.ckpt", tmp_path / "end.ckpt"
    start.write_bytes(run[0].read_bytes())
    model = ImageClassifier("resnet20", num_classes=5, in_chans=1, backbone_args={"pretrained": str(start)})
    assert torch.equal(model.backbone.bn1.running_mean, run[1].bn1.running_mean)
    trainer = Trainer(**QUIET)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(file)
    start.unlink()
    found = ImageClassifier.load_from_checkpoint(file, weights_only=True)
    assert_same(found.backbone.state_dict(), model.backbone.state_dict())


def with_first_stage(wrap):
    def wrapped(net):
        net.layer1 = wrap(net.layer1)
        return net

    return wrapped


@pytest.mark.parametrize(
    ("wrap", "key"),
    [
        (torch.compile, "_orig_mod.conv1.weight"),
        (nn.DataParallel, "module.conv1.weight"),
        (lambda net: torch.compile(nn.DataParallel(net)), "_orig_mod.module.conv1.weight"),
        (lambda net: nn.DataParallel(torch.compile(net)), "module._orig_mod.conv1.weight"),
        (with_first_stage(torch.compile), "layer1._orig_mod.0.conv1.weight"),
        (with_first_stage(nn.DataParallel), "layer1.module.0.conv1.weight"),
        (lambda net: nn.ModuleDict({"model": net}), "model.conv1.weight"),
        (lambda net: nn.ModuleDict({"encoder": torch.compile(net)}), "encoder._orig_mod.conv1.weight"),
        (lambda net: nn.ModuleDict({"net": nn.ModuleDict({"body": net})}), "net.body.conv1.weight"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_was_around_a_net_is_taken_off_its_keys(ours, wrap, key):
    wrapped = wrap(with_weights(create_model("resnet20"), ours)).state_dict()
    assert key in wrapped
    assert_same(create_model("resnet20", pretrained=wrapped).state_dict(), ours.state_dict())


def with_weights(net, other):
    net.load_state_dict(other.state_dict())
    return net


def test_the_other_parts_of_a_foreign_module_are_named_and_can_be_allowed(ours):
    module = nn.ModuleDict({"projector": nn.Linear(2, 2), "encoder": ours})
    with pytest.raises(
        InputError, match=r"^the weights in .* fit this net: projector\.weight, projector\.bias unexpected; if "
    ):
        create_model("resnet20", pretrained=module.state_dict())
    net = create_model("resnet20", pretrained=module.state_dict(), may_differ=["projector.*"])
    assert_same(net.state_dict(), ours.state_dict())


def test_an_averaged_net_has_a_count_that_is_no_weight(ours):
    net = create_model("resnet20", pretrained=AveragedModel(ours).state_dict())
    assert_same(net.state_dict(), ours.state_dict())


def test_a_file_with_two_nets_asks_which_one_is_meant(ours):
    module = nn.ModuleDict({"online": ours, "target": create_model("resnet20")})
    with pytest.raises(
        InputError, match=r"contains several networks, under 'online\.', 'target\.'; give the state dict of one"
    ):
        create_model("resnet20", pretrained=module.state_dict())


def test_two_weights_for_one_key_are_refused(ours):
    weights = {f"net.{key}": tensor for key, tensor in ours.state_dict().items()}
    with pytest.raises(InputError, match=r"contains some weights twice, with the prefix 'net\.' and without"):
        create_model("resnet20", pretrained={**weights, "fc.weight": torch.zeros(10, 64)})


def test_the_line_says_under_which_name_the_net_was_found(ours, capsys):
    create_model("resnet20", pretrained=nn.ModuleDict({"encoder": ours}).state_dict())
    assert capsys.readouterr().out == "pretrained: 116 of 116 tensors from the state dict; under 'encoder.'\n"


# Other channels and other heads.


def color_and_other_channels(in_chans, **options):
    """A net for color images, and one for other channels that began with its weights."""
    color = trained(create_model("resnet18", **options))
    return color, create_model("resnet18", in_chans=in_chans, pretrained=color.state_dict(), **options)


@pytest.mark.parametrize("stem", ["imagenet", "deep", "cifar"])
def test_a_gray_image_gives_the_logits_of_its_color_copy(images, stem):
    color, gray = color_and_other_channels(1, stem=stem)
    with torch.no_grad():
        expected = color(images[:, :1].expand(-1, 3, -1, -1))
        torch.testing.assert_close(gray.eval()(images[:, :1]), expected, rtol=1e-4, atol=1e-4)
        assert (expected[0] - expected[1]).abs().max() > 0.01


@pytest.mark.parametrize(("stem", "copies"), [("imagenet", 3), ("deep", 2)])
def test_copies_of_a_color_image_give_its_logits(images, stem, copies):
    color, many = color_and_other_channels(3 * copies, stem=stem)
    with torch.no_grad():
        torch.testing.assert_close(many.eval()(images.repeat(1, copies, 1, 1)), color(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("in_chans", "sources"), [(2, "RG"), (5, "RGBRG"), (7, "RGBRGBR")])
def test_channels_that_are_no_multiple_of_three_begin_again_with_the_first(in_chans, sources):
    color, other = color_and_other_channels(in_chans)
    for i, source in enumerate(sources):
        expected = color.conv1.weight[:, "RGB".index(source)] * 3 / in_chans
        torch.testing.assert_close(other.conv1.weight[:, i], expected)


def test_only_the_first_convolution_changes_with_the_channels():
    color, gray = color_and_other_channels(1)
    weights, expected = gray.state_dict(), color.state_dict()
    del weights["conv1.weight"], expected["conv1.weight"]
    assert_same(weights, expected)


def test_weights_for_gray_images_do_not_fit_color_images():
    gray = create_model("resnet20", in_chans=1)
    with pytest.raises(
        InputError, match=r"conv1\.weight \(16, 1, 3, 3\) instead of \(16, 3, 3, 3\) of another shape; if "
    ):
        create_model("resnet20", pretrained=gray.state_dict())


def test_a_head_of_another_size_stays_as_drawn_and_the_body_is_loaded(ours):
    torch.manual_seed(0)
    drawn = create_model("resnet20", num_classes=7)
    torch.manual_seed(0)
    net = create_model("resnet20", num_classes=7, pretrained=ours.state_dict())
    expected = {**ours.state_dict(), "fc.weight": drawn.fc.weight.detach(), "fc.bias": drawn.fc.bias.detach()}
    assert_same(net.state_dict(), expected)


def test_a_head_without_its_bias_is_not_half_loaded(ours):
    weights = ours.state_dict()
    del weights["fc.bias"]
    with pytest.raises(
        InputError, match=r"fit this net: fc\.bias missing; if that is intended, name the keys in may_differ$"
    ):
        create_model("resnet20", pretrained=weights)


def test_without_a_head_the_pooled_features_are_torchvisions(theirs, images):
    net = create_model("resnet18", num_classes=0, pretrained=theirs.state_dict())
    body = nn.Sequential(*list(theirs.children())[:-1], nn.Flatten())
    assert_same_logits(net, body, images)
    assert "fc.weight" not in net.state_dict()


@pytest.mark.parametrize("out_indices", [None, (1, 3), (4, 2)])
@torch.no_grad()
def test_feature_maps_are_torchvisions(theirs, images, out_indices):
    net = create_model("resnet18", features_only=True, out_indices=out_indices, pretrained=theirs.state_dict())
    names = ["relu", "layer1", "layer2", "layer3", "layer4"]
    expected = create_feature_extractor(theirs, names)(images)
    chosen = range(5) if out_indices is None else out_indices
    for found, i in zip(net.eval()(images), chosen, strict=True):
        torch.testing.assert_close(found, expected[names[i]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("out_indices", [None, (1, 2)])
def test_a_net_of_feature_maps_is_built_again_with_its_own_weights(ours, out_indices):
    options = {"features_only": True, "out_indices": out_indices}
    net = create_model("resnet20", pretrained=ours.state_dict(), **options)
    again = create_model("resnet20", pretrained=net.state_dict(), **options)
    assert_same(again.state_dict(), net.state_dict())


def test_frozen_stages_hold_the_weights_that_were_given(ours):
    net = create_model("resnet20", frozen_stages=3, pretrained=ours.state_dict())
    assert_same(net.state_dict(), ours.state_dict())
    assert [name for name, parameter in net.named_parameters() if parameter.requires_grad] == ["fc.weight", "fc.bias"]


# Weights that differ from the net's.


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_fill_a_net_in_single(ours, dtype):
    half = {key: value.to(dtype) if value.is_floating_point() else value for key, value in ours.state_dict().items()}
    net = create_model("resnet20", pretrained=half)
    assert_same(net.state_dict(), {key: value.to(ours.state_dict()[key].dtype) for key, value in half.items()})


def test_weights_of_an_old_torch_have_no_counts_of_batches_and_fit(ours, images):
    old = {key: tensor for key, tensor in ours.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert len(old) == len(ours.state_dict()) - 19
    net = create_model("resnet20", pretrained=old)
    assert_same_logits(net, ours, images)
    assert net.bn1.num_batches_tracked == 0


def differing(weights):
    """With a key missing, one unexpected and one of another shape."""
    weights = {**weights, "neck.weight": torch.ones(1), "layer2.0.bn1.bias": torch.ones(3)}
    del weights["layer1.0.bn1.bias"]
    return weights


def test_every_key_that_differs_is_refused_and_named(ours, tmp_path):
    torch.save(differing(ours.state_dict()), tmp_path / "x.pt")
    with pytest.raises(InputError) as caught:
        create_model("resnet20", pretrained=tmp_path / "x.pt")
    assert str(caught.value) == (
        f"the weights in '{tmp_path}/x.pt' do not fit this net: layer1.0.bn1.bias missing; neck.weight unexpected; "
        "layer2.0.bn1.bias (3,) instead of (32,) of another shape; if that is intended, name the keys in may_differ"
    )


@pytest.mark.parametrize(
    ("may_differ", "refused"),
    [
        (["neck.*"], "layer1.0.bn1.bias missing; layer2.0.bn1.bias (3,) instead of (32,) of another shape"),
        (["layer1.*"], "neck.weight unexpected; layer2.0.bn1.bias (3,) instead of (32,) of another shape"),
        (["*.bn1.bias"], "neck.weight unexpected"),
    ],
)
def test_what_no_pattern_allows_is_refused_and_the_net_stays_as_it_was(ours, may_differ, refused):
    net = create_model("resnet20")
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with pytest.raises(InputError, match=re.escape(f"do not fit this net: {refused}; if ")):
        load_pretrained(net, differing(ours.state_dict()), may_differ)
    assert_same(net.state_dict(), before)


def test_what_patterns_allow_stays_as_drawn_and_the_rest_is_loaded(ours):
    net = create_model("resnet20")
    stay = {"layer1.0.bn1.bias": torch.full((16,), 0.5), "layer2.0.bn1.bias": torch.full((32,), 0.5)}
    net.load_state_dict(stay, strict=False)
    load_pretrained(net, differing(ours.state_dict()), ["layer?.0.bn1.bias", "neck*"])
    assert_same(net.state_dict(), {**ours.state_dict(), **stay})


def test_a_pattern_that_is_no_list_allows_no_more_than_it_says(ours):
    with pytest.raises(InputError):
        create_model("resnet20", pretrained=differing(ours.state_dict()), may_differ="neck.*")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"conv1.weight": 3}, "not a mapping of names to tensors"),
        ({"fc.weight": None}, "not a mapping of names to tensors"),
        ({"state": {}, "param_groups": []}, "not a mapping of names to tensors"),
        ({0: torch.zeros(1)}, "not a mapping of names to tensors"),
        ({"conv1.weight": torch.zeros(3)}, r"conv1\.weight \(3,\) instead of \(16, 3, 3, 3\)"),
        ({}, "do not fit this net: conv1.weight, bn1.weight, bn1.bias and 94 more missing"),
    ],
)
def test_a_mapping_that_is_no_state_dict_is_refused(content, message):
    with pytest.raises(InputError, match=message):
        create_model("resnet20", pretrained=content)


def test_a_checkpoint_with_code_is_refused_by_a_net_and_the_code_does_not_run(ours, tmp_path):
    torch.save({"state_dict": ours.state_dict(), "args": WritesAFile(tmp_path / "trace")}, tmp_path / "code.ckpt")
    with pytest.raises(InputError, match=r"code\.ckpt' is not a checkpoint, is damaged or carries code"):
        create_model("resnet20", pretrained=tmp_path / "code.ckpt")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("value", [True, 1, b"x.pt", ["x.pt"]], ids=str)
def test_what_stands_for_no_weights_is_named_with_what_does(value):
    with pytest.raises(InputError) as caught:
        create_model("resnet18", pretrained=value)
    assert str(caught.value) == (
        f"pretrained is {value!r}; give the path of a checkpoint, a state dict, or weights of torchvision such as "
        "'ResNet50_Weights.DEFAULT'"
    )


def test_a_net_in_the_place_of_its_weights_is_named():
    with pytest.raises(InputError, match=r"^pretrained is a module, a ResNet; give its state_dict\(\)$"):
        create_model("resnet20", pretrained=create_model("resnet20"))


def test_a_file_that_does_not_exist_is_named():
    with pytest.raises(InputError, match=r"^there is no checkpoint 'absent/x\.pt'$"):
        create_model("resnet20", pretrained="absent/x.pt")


# What is printed.


def test_the_line_says_how_many_tensors_came_from_where(ours, tmp_path, capsys):
    torch.save(ours.state_dict(), tmp_path / "x.pt")
    create_model("resnet20", pretrained=tmp_path / "x.pt")
    assert capsys.readouterr().out == f"pretrained: 116 of 116 tensors from '{tmp_path}/x.pt'\n"


def test_the_line_says_what_was_changed_what_is_not_used_and_what_stays(ours, capsys):
    weights = {**ours.state_dict(), **{f"neck.{name}": torch.ones(1) for name in "abc"}}
    create_model("resnet20", num_classes=7, in_chans=1, pretrained=weights, may_differ=["neck.*"])
    assert capsys.readouterr().out == (
        "pretrained: 114 of 116 tensors from the state dict; conv1.weight from 3 channels to 1; "
        "not used: fc.weight, fc.bias, neck.a and 2 more; randomly initialized: fc.weight, fc.bias\n"
    )


def test_the_line_names_the_weights_of_torchvision(theirs, checkpoints, capsys):
    torch.save(theirs.state_dict(), checkpoints / Path(ResNet18_Weights.DEFAULT.url).name)
    create_model("resnet18", num_classes=0, pretrained="ResNet18_Weights.DEFAULT")
    assert capsys.readouterr().out == (
        "pretrained: 120 of 120 tensors from ResNet18_Weights.IMAGENET1K_V1; not used: fc.weight, fc.bias\n"
    )


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("1", 0)])
def test_only_the_first_process_prints(ours, monkeypatch, capsys, rank, lines):
    monkeypatch.setenv("LOCAL_RANK", rank)
    net = create_model("resnet20", pretrained=ours.state_dict())
    assert capsys.readouterr().out.count("\n") == lines
    assert torch.equal(net.fc.weight, ours.fc.weight)


def test_a_refusal_prints_nothing(ours, capsys):
    with pytest.raises(InputError):
        create_model("resnet20", pretrained=differing(ours.state_dict()))
    assert capsys.readouterr() == ("", "")


def test_without_pretrained_weights_nothing_is_said(capsys):
    create_model("resnet20", pretrained=None)
    create_model("resnet20", pretrained=False)  # as users of timm write it
    assert capsys.readouterr().out == ""


def test_the_other_name_of_torchvision_loads_the_same_weights(theirs, checkpoints, images):
    torch.save(theirs.state_dict(), checkpoints / Path(ResNet18_Weights.DEFAULT.url).name)
    other = torchvision.models.resnet18(weights=ResNet18_Weights.DEFAULT)
    assert_same_logits(create_model("resnet18", pretrained="resnet18.IMAGENET1K_V1"), other, images)


@pytest.mark.parametrize("name", ["ResNet18_Weights.IMAGENET1K_V1", "resnet18.DEFAULT"])
def test_without_a_network_the_file_and_its_place_are_named(checkpoints, monkeypatch, name):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(InputError) as caught:
        create_model("resnet18", pretrained=name)
    place = f"put https://download.pytorch.org/models/resnet18-f37072fd.pth into {checkpoints}"
    assert f"{place}, or give the file as pretrained" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet18.IMAGENET1K_V7", "did you mean 'IMAGENET1K_V1'"),
        ("resnt18.IMAGENET1K_V1", "did you mean 'resnet18'"),
        ("Resnet18_Weights.DEFAULT", "did you mean 'ResNet18_Weights'"),
    ],
)
def test_a_misspelt_name_of_weights_gets_the_nearest(name, hint):
    with pytest.raises(InputError, match=hint):
        create_model("resnet18", pretrained=name)
