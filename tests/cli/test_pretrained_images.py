"""Images in files are prepared as those of the pretrained weights were, where the user gives nothing else."""

from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import Namespace

from commands import error_line
from image_files import write_folders
from resnet_lightning import DigitsDataModule, ImageFolderDataModule, create_model, from_config
from resnet_lightning.cli.main import main
from resnet_lightning.cli.pretrained_images import fill_in_images

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The file that torchvision would download, with other weights in it."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    file = tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    file.parent.mkdir(parents=True)
    torch.save(create_model("resnet18").state_dict(), file)
    write_folders(Path("photos"), ["train", "test"], n=12)
    return str(file)


def data_of(pretrained: str, **options) -> ImageFolderDataModule:
    named = {"data.root": "photos", "model.backbone_args": {"pretrained": pretrained}}
    _, data, _ = from_config("finetune_folder", {**named, **{f"data.{name}": v for name, v in options.items()}})
    return data


@pytest.mark.parametrize("is_file", [False, True])
def test_size_and_statistics_are_those_of_torchvision(weights, is_file):
    data = data_of(weights if is_file else "ResNet18_Weights.IMAGENET1K_V1")
    assert data.sizes() == (224, 256)
    for found, expected in zip(data.statistics(), (MEAN, STD), strict=True):
        assert found.tolist() == pytest.approx(expected)


def test_what_the_user_gives_is_kept(weights):
    data = data_of("resnet18.DEFAULT", image_size=32, mean=[0.5, 0.5, 0.5])
    assert data.sizes() == (32, 32)
    mean, std = data.statistics()
    assert mean.tolist() == [0.5] * 3
    assert std.tolist() == pytest.approx(STD)


def test_images_in_files_are_those_of_the_weights_of_the_package():
    options = Namespace(image_size=None, shorter_side=None, mean=None, std=None)
    data = Namespace(class_path="resnet_lightning.ImageFolderDataModule", init_args=options)
    model = Namespace(backbone="resnet_lightning.models.resnet20", backbone_args={"pretrained": "digits"})
    line = fill_in_images(Namespace(model=model, data=data))
    assert line == "As for the weights digits: data.image_size, data.shorter_side, data.mean, data.std"
    mean, std = DigitsDataModule().statistics()
    assert (options.image_size, options.shorter_side) == (8, 8)
    assert (options.mean, options.std) == (pytest.approx(mean.tolist()), pytest.approx(std.tolist()))


@pytest.mark.slow
def test_a_checkpoint_and_its_export_state_their_images_and_a_run_resumes_with_them(weights, capsys):
    small = ["--model.backbone", "resnet20", "--model.unfreeze", "null", "--trainer.max_epochs", "1"]
    first = ["fit", "--config", "finetune_folder", "--data.root", "photos", *small]
    given = ["--data.image_size", "24", "--data.mean", "[0.1, 0.2, 0.3]", "--data.std", "[0.4, 0.5, 0.6]"]
    own = ["--model.lr_factors", "null", "--data.batch_size", "8"]
    assert main([*first, *given, *own, "--model.backbone_args", "null", "--resume", "first"]) == 0
    assert main(["export", "first/checkpoints/best.ckpt", "--format", "safetensors", "--output", "w.safetensors"]) == 0
    for name, file in (("second", "first/checkpoints/best.ckpt"), ("third", "w.safetensors")):
        command = [*first, *own, "--model.backbone_args", f"{{pretrained: {file}}}", "--resume", name]
        assert main(command) == 0
        options = yaml.safe_load(Path(name, "config.yaml").read_text())["data"]["init_args"]
        assert (options["image_size"], options["shorter_side"]) == (24, 24)
        assert options["mean"] == pytest.approx([0.1, 0.2, 0.3])
        assert options["std"] == pytest.approx([0.4, 0.5, 0.6])
    capsys.readouterr()
    assert main([*command, "--trainer.max_epochs", "2"]) == 0
    assert "Resumes from step" in capsys.readouterr().out


def test_weights_that_are_not_there_are_one_line(weights, capsys):
    command = ["fit", "--config", "finetune_folder", "--data.root", "photos", "--model.backbone_args"]
    assert "there is no checkpoint 'gone.pth'" in error_line(capsys, *command, "{pretrained: gone.pth}")
    assert "did you mean 'IMAGENET1K_V1'" in error_line(capsys, *command, "{pretrained: resnet18.IMAGENET1K_V3}")
