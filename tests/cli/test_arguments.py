"""A command line is resolved without a parser: overlays, checkpoint, config and the run's name."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from repository import CONFIGS
from resnet_lightning import InputError
from resnet_lightning.cli.arguments import option_values, resolve

DIGITS = str(CONFIGS / "digits.yaml")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def checkpoint():
    """A file that carries the config of a run."""
    torch.save({"run": {"name": "mine", "config": "trainer: {max_epochs: 3}"}, "global_step": 7}, "last.ckpt")
    return "last.ckpt"


def no_folder(folder):
    raise AssertionError(f"{folder} was opened")


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["fit", "--config", "a", "--config=b", "-c", "c"], ["a", "b", "c"]),
        (["fit", "--configs", "a"], []),
        (["fit", "--config"], []),
    ],
)
def test_an_option_has_every_value_that_it_was_given(arguments, values):
    assert option_values("--config", arguments, short="-c") == values


def test_the_run_is_named_after_its_first_config():
    command = ["fit", "--config", DIGITS, "--config", str(CONFIGS / "overlays" / "ema.yaml"), "--model.lr", "1"]
    resolved = resolve(command, no_folder)
    assert resolved.arguments == tuple(command)
    assert (resolved.run_name, resolved.checkpoint_path, resolved.checkpoint) == ("digits", None, None)


def test_an_overlay_is_a_config_beside_the_first():
    resolved = resolve(["fit", "--overlay", "ema", "--config", DIGITS, "--overlay=debug"], no_folder)
    overlays = [str(CONFIGS / "overlays" / f"{name}.yaml") for name in ("ema", "debug")]
    assert resolved.arguments == ("fit", "--config", overlays[0], "--config", DIGITS, "--config", overlays[1])
    assert resolved.run_name == "digits"


def test_a_checkpoint_gives_the_config_that_was_not_typed(checkpoint):
    resolved = resolve(["fit", "--ckpt_path", checkpoint, "--model.lr", "1"], no_folder)
    config = "trainer:\n  max_epochs: 3\n"
    assert resolved.arguments == ("fit", "--config", config, "--ckpt_path", checkpoint, "--model.lr", "1")
    assert (resolved.run_name, resolved.checkpoint_path) == ("mine", checkpoint)
    assert resolved.checkpoint["global_step"] == 7


def test_an_evaluation_gets_data_and_model_of_the_stored_config():
    config = "{seed_everything: 1, data: {init_args: {}}, model: {lr: 1}, trainer: {max_epochs: 3}, checkpoint: {}}"
    torch.save({"run": {"name": "mine", "config": config}}, "whole.ckpt")
    for command in ("validate", "test", "predict"):
        stored = resolve([command, "--ckpt_path", "whole.ckpt"], no_folder).arguments[2]
        assert yaml.safe_load(stored) == {"seed_everything": 1, "data": {"init_args": {}}, "model": {"lr": 1}}


def test_callbacks_in_the_config_of_an_older_checkpoint_are_found():
    config = "trainer: {callbacks: [{class_path: resnet_lightning.callbacks.MovingAverage}]}"
    torch.save({"run": {"name": "mine", "config": config}}, "old.ckpt")
    resolved = resolve(["fit", "--ckpt_path", "old.ckpt"], no_folder)
    assert "class_path: resnet_lightning.training.callbacks.MovingAverage\n" in resolved.arguments[2]
    assert "resnet_lightning.training.callbacks.MovingAverage" in resolved.checkpoint["run"]["config"]


def test_a_config_that_is_typed_wins_over_the_checkpoints(checkpoint):
    command = ["test", "--ckpt_path", checkpoint, "--config", DIGITS]
    resolved = resolve(command, no_folder)
    assert resolved.arguments == tuple(command)
    assert resolved.run_name == "digits"


def test_resuming_takes_the_newest_checkpoint_of_the_folder(checkpoint):
    opened = []

    def open_folder(folder):
        opened.append(folder)
        return Path(checkpoint)

    resolved = resolve(["fit", "--resume", "run"], open_folder)
    assert (resolved.run_name, resolved.checkpoint_path) == ("mine", checkpoint)
    resolve(["fit", "--resume", "run"], open_folder, parent_folder=Path("parents"))
    assert opened == [Path("run"), Path("parents")]


def test_which_run_auto_means_is_not_known_before_parsing():
    assert resolve(["fit", "--config", DIGITS, "--resume", "auto"], no_folder).checkpoint_path is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--resume", "run", "--ckpt_path", "last.ckpt"],
            "give either --resume, which continues a run, or --ckpt_path",
        ),
        (["--resume", "run"], "there is no checkpoint in 'run' to resume from; to start a run, give a --config"),
        (["--config", DIGITS, "--overlay", "emma"], "there is no overlay 'emma'; did you mean 'ema'?"),
        (["--ckpt_path", "bare.ckpt"], "'bare.ckpt' stores no config"),
        (["--ckpt_path", "", "--config", DIGITS], "there is no checkpoint ''"),
    ],
    ids=["both", "empty", "overlay", "bare", "no-path"],
)
def test_what_cannot_be_resolved_is_named(arguments, message):
    torch.save({"state_dict": {}}, "bare.ckpt")
    with pytest.raises(InputError) as caught:
        resolve(["fit", *arguments], lambda folder: None)
    assert str(caught.value).startswith(message)


@pytest.mark.slow
def test_on_windows_the_command_line_ends_in_one_line():
    """And before anything is imported that needs fcntl, which Windows does not have."""
    code = """
import sys
from resnet_lightning.cli.main import main
sys.platform = "win32"
assert [main([command]) for command in ("fit", "runs")] == [2, 2]
assert "resnet_lightning.runs" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: the command line needs POSIX file locks") for line in lines)
