"""Parts of others in a file of their own: what they leave out, or return in another form, ends in one line."""

import sys
from pathlib import Path

import pytest
import torch

from commands import error_line
from resnet_lightning import InputError
from resnet_lightning.cli.main import main
from resnet_lightning.data.augmentation.draws import Draws
from resnet_lightning.data.augmentation.transform import load_transform
from resnet_lightning.runs.plain_values import with_plain_values
from resnet_lightning.training.classifier import ImageClassifier

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")

PARTS = '''
from pathlib import Path

import numpy as np
import torch
from lightning import Callback, LightningDataModule, LightningModule
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from resnet_lightning import ImageDataModule


class Silent(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 3)

    def training_step(self, batch, batch_idx):
        self.logger.experiment.add_scalar("mine", 1.0, self.global_step)
        return F.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])

    def validation_step(self, batch, batch_idx):
        self.logger.experiment.add_histogram("weights", self.layer.weight)

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Odd(Silent):
    """Its checkpoints hold values that no checkpoint can be read back with."""

    def on_save_checkpoint(self, checkpoint):
        checkpoint["mine"] = {"score": np.float32(0.5), "file": Path("a"), "array": np.ones(2), "object": Odd}


class Points(LightningDataModule):
    num_classes, in_chans = 3, 1

    def __init__(self, batch_size: int = 8):
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self):
        labels = torch.arange(48) % 3
        data = TensorDataset(torch.randn(48, 1, 8, 8) + labels[:, None, None, None], self.targets(labels))
        return DataLoader(data, batch_size=self.batch_size)

    def targets(self, labels):
        return labels

    def val_dataloader(self):
        return self.train_dataloader()

    test_dataloader = val_dataloader

    def predict_dataloader(self):
        return DataLoader(torch.zeros(4, 1, 8, 8), 2)


class Column(Points):
    def targets(self, labels):
        return labels[:, None]


class Short(Points):
    def targets(self, labels):
        return labels.int()


class Abstract(ImageDataModule):
    class_names = ("a", "b")


class Uninitialized(ImageDataModule):
    class_names = ("a", "b")

    def __init__(self, noise: float = 0.0):
        self.noise = noise

    def read(self, part):
        return torch.zeros(9, 8, 8).byte(), torch.zeros(9).long()


class Every(Callback):
    def __init__(self, every: int = 1):
        self.every = every


def one_more(num_classes, in_chans):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes + 1))


def warm_up(optimizer, num_training_steps, num_warmup_steps=1):
    assert num_training_steps > num_warmup_steps
    return torch.optim.lr_scheduler.LambdaLR(optimizer, halve)


def halve(step):
    return 0.5**step
'''
SHORT = ["--trainer.accelerator", "cpu", "--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false"]
SHORT += ["--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1", "--trainer.limit_test_batches", "1"]
DIGITS = ["fit", "--config", "digits", *SHORT]


@pytest.fixture(autouse=True)
def parts(in_an_empty_folder):
    Path("foreign_parts.py").write_text(PARTS)
    yield
    sys.modules.pop("foreign_parts", None)


def fit(*options: str) -> list[str]:
    return ["fit", *SHORT, *options]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data", "foreign_parts.Abstract"], "'foreign_parts.Abstract' cannot be used as it is: it has no read()"),
        (["--data", "foreign_parts.Uninitialized"], "Uninitialized.__init__ does not call super().__init__()"),
        (["--model.backbone", "foreign_parts.one_more"], "returned 11 logits for each image, but there are 10 classes"),
        (["--trainer.callbacks+=foreign_parts.Every", "--trainer.callbacks.evry=2"], "did you mean 'every'?"),
        (["--model.metrics", "F1Score"], "model.metrics is F1Score; give a mapping, such as {name: value}"),
        (["--model.optimizer", "torch.nn.Identity"], "returned a Identity, which is no torch.optim.Optimizer"),
        (["--data", "foreign_parts.Points", "--data.augment.flip", "true"], "the chosen class of data does not take"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_does_not_fit_is_one_line(options, words, capsys):
    arguments = "{}" if "optimizer" in options[0] or "backbone" in options[0] else None
    more = [f"{options[0]}_args", arguments] if arguments else []
    capsys.readouterr()
    assert main([*DIGITS, *options, *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_targets_of_another_form_are_named(capsys):
    net = ["--model.backbone", "resnet20", "--data"]
    assert main(fit(*net, "foreign_parts.Column")) == 2
    assert "the targets of a batch are (8, 1) int64; for 8 images and 3 classes, give" in capsys.readouterr().err
    assert main(fit(*net, "foreign_parts.Short", "--resume", "run")) == 0  # int32 labels


def test_schedules_of_others_get_the_length_and_functions_by_their_paths(capsys):
    schedule = ["--model.scheduler_args", "{}", "--model.scheduler"]
    assert main([*DIGITS, *schedule, "foreign_parts.warm_up"]) == 0
    given = ["--model.scheduler", "LambdaLR", "--model.scheduler_args", "{lr_lambda: foreign_parts.halve}"]
    assert main([*DIGITS, *given, "--model.lr", "0.8", "--resume", "halved"]) == 0
    checkpoint = torch.load("halved/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["lr_schedulers"][0]["_last_lr"][0] == pytest.approx(0.2)  # after two steps
    assert "lr_lambda is missing; give the dotted path" in error_line(capsys, *DIGITS, *schedule, "LambdaLR")


@pytest.mark.slow
def test_a_module_that_calls_tensorboard_runs_without_it_under_every_command(capsys):
    options = ["--model", "foreign_parts.Silent", "--data", "foreign_parts.Points"]
    assert main(fit(*options, "--resume", "run")) == 0
    output = capsys.readouterr().out
    assert (
        output.count("metrics.csv takes numbers only: add_scalar is left out; for it, give --overlay tensorboard") == 1
    )
    checkpoint = ["--ckpt_path", "run/checkpoints/last.ckpt", "--trust", "foreign_parts"]
    for command in "validate", "test":
        assert main([command, *checkpoint]) == 0
        assert "The module logged no metric." in capsys.readouterr().out
    assert main(fit(*options, "--find", "lr")) == 0
    assert "Silent has no option lr to set" in capsys.readouterr().out
    assert main(fit(*options, "--find", "batch_size")) == 0
    assert "--data.batch_size 64" in capsys.readouterr().out


def test_the_logger_of_a_module_is_the_one_that_the_user_chose():
    Path("own_logger.py").write_text(
        "from lightning import Callback\nfrom lightning.pytorch.loggers import CSVLogger\n\n\nclass Mine(CSVLogger):\n"
        "    pass\n\n\nclass Check(Callback):\n    def on_train_end(self, trainer, pl_module):\n"
        "        assert type(pl_module.logger) is Mine, type(pl_module.logger)\n"
    )
    logger = ["--trainer.logger", "{class_path: own_logger.Mine, init_args: {save_dir: mine}}"]
    other = ["--trainer.callbacks+=own_logger.Check", "--trainer.callbacks+=ModelCheckpoint"]
    other += ["--trainer.callbacks.filename=mine"]
    assert main([*DIGITS, *logger, *other, "--resume", "run"]) == 0
    assert Path("run/metrics.csv").is_file()
    assert Path("run/checkpoints/mine.ckpt").is_file()


def test_a_checkpoint_with_values_that_cannot_be_read_back_is_readable(capsys):
    options = ["--model", "foreign_parts.Odd", "--data", "foreign_parts.Points", "--resume", "run"]
    assert main(fit(*options)) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "of the checkpoint is" in line]
    assert lines == [
        "mine.file of the checkpoint is a path, stored as a string",
        "mine.array of the checkpoint is an array, stored as a tensor",
        "mine.object of the checkpoint is a type, which cannot be read back safely: it is left out",
    ]
    found = torch.load("run/checkpoints/last.ckpt", weights_only=True)["mine"]
    assert (found["score"], found["file"], found.keys()) == (0.5, "a", {"score", "file", "array"})
    assert torch.equal(found["array"], torch.ones(2).double())
    assert main([*fit(*options), "--trainer.max_epochs", "2"]) == 0


def test_plain_checkpoints_are_not_copied():
    checkpoint = {"state_dict": {"a": torch.ones(2)}, "loops": {"x": [1, {"y": (2.0, None)}]}, "epoch": 3}
    plain = with_plain_values(checkpoint)
    assert plain == checkpoint
    assert all(plain[key] is value for key, value in checkpoint.items())


def test_lightning_needs_the_batch_size_by_name_in_a_loader_to_predict(capsys):
    run = ["--model.backbone", "resnet20", "--data", "foreign_parts.Points", "--resume", "run"]
    assert main(fit(*run)) == 0
    assert main(["predict", "--ckpt_path", "run/checkpoints/last.ckpt", "--trust", "foreign_parts"]) == 2
    assert "DataLoader(data, batch_size=...)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda image: image * 255, "returned floats up to 25"),
        (lambda images, labels: (images, labels[:2]), "returned 2 targets for 5 images; give one for each"),
    ],
)
def test_what_a_transform_returns_is_checked(function, words):
    pixels = torch.randint(200, 256, (5, 1, 4, 4), dtype=torch.uint8)
    transform = load_transform(function, None, None, 3)
    with pytest.raises(InputError, match=words):
        transform(pixels, torch.arange(5), Draws(torch.arange(5), 0, 0))


def test_transforms_in_a_list_may_be_names():
    composed = load_transform("Compose", {"transforms": ["RandomHorizontalFlip"]}, None, 3)
    assert type(composed.function.transforms[0]).__name__ == "RandomHorizontalFlip"
    with pytest.raises(InputError, match="takes no option 'q'"):
        load_transform("torchvision.transforms.v2.functional.hflip", {"q": 1}, None, 3)


def test_the_length_of_a_batch_of_labels_is_checked_in_python():
    module = ImageClassifier("resnet20", num_classes=4, in_chans=1)
    with pytest.raises(InputError, match=r"are \(2, 3\) float32; for 2 images and 4 classes"):
        module.loss(torch.zeros(2, 4), torch.zeros(2, 3))
