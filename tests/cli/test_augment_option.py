import pytest
import yaml

from resnet_lightning.cli.augment_option import with_transforms
from resnet_lightning.cli.main import main

NOISE = """
import torch

def noise(image, std=0.1):
    return image + std * torch.randn_like(image)
"""


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["--data.augment", "RandAugment"], ["--data.augment.transform=RandAugment"]),
        (["--data.augment=a.b", "--x"], ["--data.augment.transform=a.b", "--x"]),
        (
            ["--data.augment", "a.b", "--data.augment.init_args.std", "0.2"],
            ["--data.augment.transform=a.b", "--data.augment.transform_args.std=0.2"],
        ),
        (
            ["--data.augment={class_path: a.b, init_args: {std: 0.2}}"],
            ["--data.augment.transform=a.b", '--data.augment.transform_args={"std": 0.2}'],
        ),
        (["--data.augment.class_path", "a.b"], ["--data.augment.transform=a.b"]),
        (
            ["--data.augment.transform", "{class_path: Gray, init_args: {p: 1}}"],
            ["--data.augment.transform=Gray", '--data.augment.transform_args={"p": 1}'],
        ),
        (
            ["--data.augment.transform.class_path=Gray", "--data.augment.transform.init_args.p=1"],
            ["--data.augment.transform=Gray", "--data.augment.transform_args.p=1"],
        ),
        (
            ["--data.augment={flip: 1, transform: {class_path: Gray, init_args: {p: 1}}, transform_args: {p: 2}}"],
            ["--data.augment.flip=1", "--data.augment.transform=Gray", '--data.augment.transform_args={"p": 2}'],
        ),
        (["--data.augment.transform", "null"], ["--data.augment.transform=null"]),
        (["--data.augment", "{flip: true}"], ["--data.augment={flip: true}"]),
        (["--data.augment.flip", "true", "--x=1=2"], ["--data.augment.flip", "true", "--x=1=2"]),
    ],
)
def test_short_forms_are_written_out(typed, expected):
    assert with_transforms(typed) == expected


@pytest.mark.parametrize(
    "short",
    [
        "own_noise.noise",
        {"class_path": "own_noise.noise", "init_args": {"std": 0.5}},
        {"transform": {"class_path": "own_noise.noise", "init_args": {"std": 0.5}}},
    ],
)
def test_a_config_and_the_command_line_name_a_transform(short, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_noise.py").write_text(NOISE)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = {"data": {"class_path": "DigitsDataModule", "init_args": {"augment": short}}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    command = ["fit", "--config", "run.yaml", "--model.backbone=resnet20"]
    assert main([*command, "--trainer.fast_dev_run=true", "--trainer.accelerator=cpu"]) == 0
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*command, "--data.augment.init_args.std=0.25", "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]["augment"]
    assert printed["transform"] == "own_noise.noise"
    assert printed["transform_args"] == {"std": 0.25}
