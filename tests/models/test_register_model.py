"""Models of one's own, under a name like those of the package."""

import importlib
import re
import sys

import pytest
import torch
from torch import nn

import resnet_lightning
from resnet_lightning import BasicBlock, InputError, ResNet, create_model, list_models, register_model
from resnet_lightning.models.registry import MODELS


@pytest.fixture(autouse=True)
def registry():
    """The names are again what they were after each test."""
    before = dict(MODELS)
    yield
    MODELS.clear()
    MODELS.update(before)


def register_narrow():
    @register_model("Doe 2026, Table 1", image_size=48)
    def narrow_resnet20(*, width: int = 8, **options) -> ResNet:
        """A narrower ResNet-20."""
        return ResNet(BasicBlock, (3, 3, 3), (width, 2 * width, 4 * width), **{"stem": "cifar", **options})

    return narrow_resnet20


def test_a_registered_model_works_like_the_others():
    function = register_narrow()
    assert "narrow_resnet20" in list_models("narrow*")
    net = create_model("narrow_resnet20", num_classes=7, in_chans=1, width=4)
    assert net(torch.randn(2, 1, 16, 16)).shape == (2, 7)
    assert net.pretrained_cfg["input_size"] == (1, 48, 48)
    assert net.pretrained_cfg["architecture"] == "narrow_resnet20"
    again = function(num_classes=7, in_chans=1, width=4, pretrained=net.state_dict(), frozen_stages=1)
    assert all(torch.equal(tensor, again.state_dict()[key]) for key, tensor in net.state_dict().items())
    assert not again.layer1[0].conv1.weight.requires_grad
    body = create_model("narrow_resnet20", features_only=True, out_indices=2)
    assert [each.shape[1] for each in body(torch.randn(1, 3, 16, 16))] == [16, 32]
    assert function.__doc__.startswith("A narrower ResNet-20.\n")
    for option, hint in (("num_clases", "num_classes"), ("widht", "width")):
        with pytest.raises(InputError, match=f"'narrow_resnet20' takes no option '{option}'; did you mean '{hint}'"):
            create_model("narrow_resnet20", **{option: 3})


def test_options_reach_a_function_that_does_not_tell_which_it_takes():
    @register_model("a test", image_size=32)
    def untyped(**options):
        return ResNet(BasicBlock, (1, 1), (4, 8), **options)

    assert create_model("untyped", num_classes=3, stem="cifar").num_classes == 3
    with pytest.raises(InputError, match="model 'untyped' takes no option 'num_clases'"):
        create_model("untyped", num_clases=3)


def test_statistics_of_ones_own_are_those_that_timm_reads():
    @register_model("a test", image_size=64, statistics=((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    def dark(**options) -> ResNet:
        return ResNet(BasicBlock, (1, 1), (4, 8), **options)

    cfg = create_model("dark").pretrained_cfg
    assert (cfg["mean"], cfg["std"], cfg["input_size"]) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), (3, 64, 64))


class Flat(nn.Module):
    """A linear classifier of pixels."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3):
        super().__init__()
        self.fc = nn.Linear(in_chans * 64, num_classes)

    def forward(self, x):
        return self.fc(x.flatten(1))


def test_any_torch_module_can_have_a_name():
    assert register_model("a test", image_size=8)(Flat) is Flat
    net = create_model("Flat", num_classes=4, in_chans=1)
    assert isinstance(net, Flat)
    assert net(torch.zeros(2, 1, 8, 8)).shape == (2, 4)
    again = create_model("Flat", num_classes=4, in_chans=1, pretrained=net.state_dict())
    assert torch.equal(again.fc.weight, net.fc.weight)
    with pytest.raises(InputError, match="model 'Flat' does not support features_only: its Flat has no method keep_fe"):
        create_model("Flat", features_only=True)
    with pytest.raises(InputError, match=r"model 'Flat' does not support frozen_stages: .* no method freeze_stages"):
        create_model("Flat", frozen_stages=1)
    with pytest.raises(InputError, match="model 'Flat' takes no option 'depth'; known: "):
        create_model("Flat", depth=3)


def test_what_is_not_a_module_is_refused():
    @register_model("a test", image_size=8)
    def nothing():
        return None

    with pytest.raises(InputError, match="the function of model 'nothing' returned a NoneType, not a torch module"):
        create_model("nothing")


def test_a_name_that_is_taken_is_refused_and_stays():
    def resnet18(**options) -> ResNet:
        return ResNet(BasicBlock, (1,), (4,), **options)

    message = "the model name 'resnet18' is taken by resnet_lightning.models.imagenet (He et al. 2015, Table 1); choose"
    with pytest.raises(InputError, match=re.escape(message)):
        register_model("mine", image_size=8)(resnet18)
    assert create_model("resnet18").num_features == 512

    def other():
        def narrow_resnet20():
            return Flat()

        return narrow_resnet20

    register_narrow()
    with pytest.raises(InputError, match=r"'narrow_resnet20' is taken by test_register_model \(Doe 2026, Table 1\)"):
        register_model("another", image_size=8)(other())


def test_the_same_function_may_be_registered_again(tmp_path, monkeypatch):
    register_narrow()
    register_narrow()  # as a cell of a notebook that runs twice

    file = tmp_path / "reloaded_models.py"
    code = "from resnet_lightning import *\n@register_model('a file', image_size={})\ndef my_net(): return resnet20()\n"
    file.write_text(code.format(32))
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("reloaded_models")
    file.write_text(code.format(640))
    importlib.invalidate_caches()
    importlib.reload(module)
    assert MODELS["my_net"].image_size == 640

    # As the file is when it runs as a script and is then imported.
    script = type(sys)("__main__")
    script.__file__ = str(file)
    monkeypatch.setitem(sys.modules, "__main__", script)
    exec(compile(code.format(48), str(file), "exec"), script.__dict__)
    assert MODELS["my_net"].image_size == 48


@pytest.mark.parametrize(
    ("register", "message"),
    [
        (lambda: register_model(register_narrow, image_size=32), "needs the model's source and image size: @register_"),
        (lambda: register_model("mine"), "needs the model's source and image size: @register_model"),
        (lambda: register_model("", image_size=32), "needs the model's source and image size: @register_model"),
        (lambda: register_model("mine", image_size=0), "image_size is 0; give a whole number of at least 1"),
        (lambda: register_model("mine", image_size="32"), "image_size is '32'; give a whole number of at least 1"),
        (
            lambda: register_model("mine", image_size=32)(lambda: None),
            "a function or a class that has a name, not <fun",
        ),
        (
            lambda: register_model("mine", image_size=32)("resnet"),
            "a function or a class that has a name, not 'resnet'",
        ),
    ],
)
def test_what_cannot_be_registered_is_refused(register, message):
    with pytest.raises(InputError, match=message):
        register()


def test_a_decorator_without_arguments_is_refused_with_an_example():
    with pytest.raises(InputError, match=r'@register_model."Doe 2026, Table 1", image_size=32.'):

        @register_model
        def my_net():
            return Flat()


def test_it_is_public():
    assert "register_model" in resnet_lightning.__all__
