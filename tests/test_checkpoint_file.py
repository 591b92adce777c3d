"""A damaged checkpoint is never used. Torch reads changed weights without an error, so the checksum is verified."""

import shutil
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from PIL import Image

from commands import error_line
from resnet_lightning import DigitsDataModule, ImageClassifier, InputError
from resnet_lightning.runs.checkpoint_io import WholeCheckpoints, has_finite_weights

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")


def flip_a_weight(path):
    flip(path, path.stat().st_size // 2)


def flip_the_checksum(path):
    flip(path, path.stat().st_size - 1)


def flip_the_mark_of_the_checksum(path):
    flip(path, path.stat().st_size - 70)


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def lengthen(path):
    path.write_bytes(path.read_bytes() + b"\0")


def empty(path):
    path.write_bytes(b"")


def replace_by_text(path):
    path.write_text("<html>404: Not Found</html>")


def replace_by_a_folder(path):
    path.unlink()
    path.mkdir()


IS_DAMAGED = "is damaged: its content does not match its checksum"
IS_NONE = "is not a checkpoint, is damaged or carries code"
DAMAGES = {
    flip_a_weight: IS_DAMAGED,
    flip_the_checksum: IS_DAMAGED,
    flip_the_mark_of_the_checksum: IS_DAMAGED,
    lengthen: IS_DAMAGED,
    cut: IS_NONE,
    empty: IS_NONE,
    replace_by_text: IS_NONE,
    replace_by_a_folder: "there is no checkpoint 'best.ckpt': that is a folder",
}

READERS = {
    "test": ["test", "--ckpt_path", "best.ckpt"],
    "validate": ["validate", "--ckpt_path", "best.ckpt"],
    "predict": ["predict", "--ckpt_path", "best.ckpt"],
    "fit": ["fit", "--ckpt_path", "best.ckpt"],
    "pretrained": ["fit", "--config", "{digits}", "--model.backbone_args.pretrained", "best.ckpt"],
    "explain": ["explain", "best.ckpt", "image.png"],
    "export": ["export", "best.ckpt", "--format", "safetensors"],
    "features": ["features", "best.ckpt", "--output", "out"],
}


@pytest.fixture
def best(digits_run):
    shutil.copy(digits_run / "checkpoints/best.ckpt", "best.ckpt")
    return Path("best.ckpt")


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_ends_in_a_line(best, damage, capsys):
    damage(best)
    assert DAMAGES[damage] in error_line(capsys, *READERS["test"])


@pytest.mark.parametrize("reader", READERS)
def test_every_command_verifies_what_it_reads(best, reader, capsys):
    from runs_alike import DIGITS

    Image.new("L", (8, 8)).save("image.png")
    flip_a_weight(best)
    line = error_line(capsys, *(argument.format(digits=DIGITS) for argument in READERS[reader]))
    assert "'best.ckpt'" in line
    assert IS_DAMAGED in line
    assert not Path("runs").exists()


def test_python_verifies_it_too(best):
    assert ImageClassifier.load_from_checkpoint(best).hparams["num_classes"] == 10
    flip_a_weight(best)
    with pytest.raises(InputError, match=IS_DAMAGED):
        ImageClassifier.load_from_checkpoint(str(best))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(plugins=[WholeCheckpoints()], accelerator="cpu", limit_test_batches=1, **quiet)
    with pytest.raises(InputError, match=IS_DAMAGED):
        trainer.test(
            ImageClassifier("resnet20", in_chans=1), DigitsDataModule(), ckpt_path=str(best), weights_only=True
        )


@pytest.mark.parametrize(
    "content", [{"state_dict": {"weight": 5, 3: None}}, {"state_dict": {}, "current_model_state": 1}]
)
def test_weights_that_are_no_tensors_are_left_to_whoever_reads_them(tmp_path, content):
    torch.save(content, tmp_path / "a.ckpt")
    assert has_finite_weights(tmp_path / "a.ckpt")
