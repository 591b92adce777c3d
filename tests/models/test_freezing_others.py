"""Backbones of others get the weights and the freezing of ours."""

import pytest
import torch
from own_parts import Net
from torch import nn

from resnet_lightning import DigitsDataModule, ImageClassifier, InputError
from resnet_lightning.models.freezing import find_stages

torchvision = pytest.importorskip("torchvision")


def names_of(model: nn.Module) -> list[list[str]]:
    return [list(part) for part in find_stages(model)]


def test_the_stages_of_common_networks():
    models = torchvision.models
    resnet = [["conv1", "bn1"], ["layer1"], ["layer2"], ["layer3"], ["layer4"]]
    assert names_of(models.resnet18()) == resnet
    assert names_of(nn.ModuleDict({"net": models.resnet18()})) == [[f"net.{n}" for n in part] for part in resnet]
    assert names_of(models.convnext_tiny()) == [[f"features.{n}"] for n in range(8)]
    assert names_of(models.mobilenet_v3_small()) == [[f"features.{n}"] for n in range(13)]
    assert names_of(models.alexnet()) == [[f"features.{n}"] for n in (0, 3, 6, 8, 10)]
    assert names_of(Net(10, 1)) == [["begin", "begin_norm"], ["first"], ["second"]]
    assert names_of(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(2, 2))
    ) == [
        ["0"],
        ["2"],
    ]


@pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")  # what is frozen is, on purpose
@pytest.mark.parametrize("stages", [0, 1, 2])
def test_frozen_stages_of_a_function_stay_as_they_are_in_training(stages, capsys):
    from lightning import Trainer

    model = ImageClassifier("own_parts.net", in_chans=1, backbone_args={"frozen_stages": stages}, lr=0.01)
    frozen = ["begin", "begin_norm", "first", "second"][: stages + 2]
    assert capsys.readouterr().out == f"frozen: {', '.join(frozen)}\n"
    before = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(**quiet, enable_model_summary=False, max_epochs=1, limit_train_batches=3, accelerator="cpu")
    trainer.fit(model, DigitsDataModule(batch_size=16))
    model.train()
    changed = {name for name, tensor in model.backbone.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.partition(".")[0] for name in changed} == {"begin", "begin_norm", "first", "second", "output"} - {
        *frozen
    }
    assert {name for name, child in model.backbone.named_children() if not child.training} == {*frozen}
    for name in frozen:
        assert not any(p.requires_grad for p in getattr(model.backbone, name).parameters())


@pytest.mark.slow
def test_a_network_of_torchvision_gets_weights_whose_head_has_another_size(tmp_path, capsys):
    start = torchvision.models.alexnet(num_classes=7)
    torch.save(start.state_dict(), tmp_path / "alexnet.pt")
    options = {"pretrained": str(tmp_path / "alexnet.pt"), "frozen_stages": 1}
    model = ImageClassifier("torchvision.models.alexnet", num_classes=4, backbone_args=options)
    assert "not used: classifier.6.weight, classifier.6.bias" in capsys.readouterr().out
    assert torch.equal(model.backbone.classifier[4].weight, start.classifier[4].weight)
    assert model.backbone.classifier[6].out_features == 4
    assert not model.backbone.features[3].weight.requires_grad
    assert model.backbone.features[6].weight.requires_grad
    assert "pretrained" not in model.hparams["backbone_args"]


def test_a_function_of_ones_own_gets_grey_weights_from_a_run_of_its_own(tmp_path):
    start = ImageClassifier("own_parts.net", num_classes=5, in_chans=3)
    torch.save({"state_dict": start.state_dict()}, tmp_path / "run.ckpt")
    options = {"pretrained": str(tmp_path / "run.ckpt")}
    model = ImageClassifier("own_parts.net", num_classes=5, in_chans=1, backbone_args=options)
    summed = start.backbone.begin.weight.sum(1, keepdim=True)
    assert torch.equal(model.backbone.begin.weight, summed)
    assert torch.equal(model.backbone.output.weight, start.backbone.output.weight)


def loads_itself(num_classes, pretrained="", frozen_stages=0):
    net = Net(num_classes, 3)
    net.given = pretrained, frozen_stages
    return net


def test_a_function_with_such_arguments_gets_them_itself():
    options = {"pretrained": "its own", "frozen_stages": 7}
    model = ImageClassifier(f"{__name__}.loads_itself", backbone_args=options)
    assert model.backbone.given == ("its own", 7)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frozen_stages": 3}, "frozen_stages is 3; Net has 2 stages (first, second), and 0 is its stem alone"),
        ({"frozen_stages": "all"}, "frozen_stages is 'all'; Net has 2 stages"),
        ({"pretrained": "absent.ckpt"}, "there is no checkpoint 'absent.ckpt'"),
        ({"frozen_stage": 1}, "takes no option 'frozen_stage'; did you mean"),
    ],
    ids=str,
)
def test_wrong_options_are_named_in_one_line(options, words):
    with pytest.raises(InputError) as error:
        ImageClassifier("own_parts.net", in_chans=1, backbone_args=options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
