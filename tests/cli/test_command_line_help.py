"""Conveniences of the command line: overlays by name, ``--find``, completion in the shell."""

import contextlib
import io
import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from PIL import Image

from image_files import write_folders
from repository import ROOT
from resnet_lightning import DigitsDataModule, ImageFolderDataModule, list_models
from resnet_lightning.cli.main import SUBCOMMANDS, main
from resnet_lightning.cli.overview import GROUPS

DIGITS = str(ROOT / "configs" / "digits.yaml")
SMALL = ["--model.backbone", "resnet_lightning.models.cifar.cifar_resnet", "--model.backbone_args", "{depth: 8}"]
LONGER = ["--trainer.max_epochs", "7"]
CONFIGS = [path.stem for path in sorted((ROOT / "configs").glob("*.yaml"))]
SPEED = [f"speed/{path.stem}" for path in sorted((ROOT / "configs" / "speed").glob("*.yaml"))]
OVERLAYS = sorted(path.stem for path in (ROOT / "configs" / "overlays").glob("*.yaml"))


pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")


def error_line(capsys, *arguments: str) -> str:
    """Runs a command that has to fail, checks that it leaves nothing behind, and returns its error."""
    before = set(Path.cwd().rglob("*"))
    capsys.readouterr()
    assert main(list(arguments)) == 2
    line = capsys.readouterr().err.splitlines()[-1]  # the progress bar of the search comes before it
    assert line.startswith("error: ")
    assert set(Path.cwd().rglob("*")) == before
    return line


def config_of(capsys, *arguments: str) -> dict:
    """The config that a command would run with."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--print_config"])
    assert not stopped.value.code
    return yaml.safe_load(capsys.readouterr().out)


# Overlays.


@pytest.fixture(scope="module")
def plain_config():
    """The config of digits without an overlay."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
        main(["fit", "--config", DIGITS, *LONGER, "--print_config"])
    return yaml.safe_load(text.getvalue())


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_changes_the_config_and_options_win_over_it(capsys, name, plain_config):
    config = config_of(capsys, "fit", "--config", DIGITS, "--overlay", name, *LONGER)
    assert config != plain_config
    assert config["trainer"]["max_epochs"] == 7


def test_an_overlay_is_the_config_of_its_name(capsys):
    path = str(ROOT / "configs" / "overlays" / "ema.yaml")
    expected = config_of(capsys, "fit", "--config", DIGITS, "--config", path)
    assert config_of(capsys, "fit", "-c", DIGITS, "--overlay=ema") == expected


def test_overlays_lie_over_each_other_where_they_stand(capsys):
    """They are found in the folder of the first config. What comes later wins, and that includes options."""
    Path("own/overlays").mkdir(parents=True)
    Path("own/base.yaml").write_text(Path(DIGITS).read_text())
    Path("own/overlays/fast.yaml").write_text("model: {lr: 0.5}\ntrainer: {max_epochs: 3, precision: bf16-mixed}\n")
    Path("own/overlays/slow.yaml").write_text("model: {lr: 0.001}\n")
    base = ["fit", "--config", "own/base.yaml"]
    config = config_of(capsys, *base, "--overlay", "fast", "--overlay", "slow")
    assert (config["model"]["lr"], config["trainer"]["max_epochs"]) == (0.001, 3)
    assert config["trainer"]["precision"] == "bf16-mixed"
    assert config_of(capsys, *base, "--model.lr", "0.7", "--overlay", "slow", "--overlay", "fast")["model"]["lr"] == 0.5
    assert config_of(capsys, *base, "--overlay", "fast", "--model.lr", "0.7")["model"]["lr"] == 0.7


def test_an_unknown_overlay_is_named_with_the_nearest(capsys):
    line = error_line(capsys, "fit", "--config", DIGITS, "--overlay", "wandbb")
    assert line == "error: there is no overlay 'wandbb'; did you mean 'wandb'?"
    assert "there is no overlay ''" in error_line(capsys, "fit", "--config", DIGITS, "--overlay")


def test_a_config_in_any_folder_has_the_shipped_overlays_and_its_own_come_first(capsys):
    Path("own/overlays").mkdir(parents=True)
    Path("own/mine.yaml").write_text(Path(DIGITS).read_text())
    command = ["fit", "--config", "own/mine.yaml", "--overlay"]
    assert config_of(capsys, *command, "ema")["trainer"]["callbacks"][0]["init_args"]["decay"] == 0.999
    Path("own/overlays/debug.yaml").write_text("trainer: {max_epochs: 3}\n")
    trainer = config_of(capsys, *command, "debug")["trainer"]
    assert (trainer["max_epochs"], trainer["fast_dev_run"]) == (3, False)
    assert "did you mean 'debug'?" in error_line(capsys, *command, "debugg")


def test_an_overlay_in_a_config_is_refused(capsys):
    Path("more.yaml").write_text("overlay: bf16")
    line = error_line(capsys, "fit", "--config", DIGITS, "--config", "more.yaml")
    assert "overlay belongs on the command line, as --overlay NAME" in line


def test_an_overlay_lies_over_the_config_of_a_checkpoint(capsys):
    """Without a config on the command line, overlays are found in ``configs``."""
    short = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"]
    assert main(["fit", "--config", DIGITS, *SMALL, *short, "--resume", "run"]) == 0
    Path("configs/overlays").mkdir(parents=True)
    Path("configs/overlays/big.yaml").write_text("data: {init_args: {batch_size: 99}}\n")
    checkpoint = ["test", "--ckpt_path", "run/checkpoints/best.ckpt"]
    plain, changed = config_of(capsys, *checkpoint), config_of(capsys, *checkpoint, "--overlay", "big")
    assert plain["data"]["init_args"].pop("batch_size") == 64
    assert changed["data"]["init_args"].pop("batch_size") == 99
    assert changed == plain
    assert changed["trainer"]["max_epochs"] is None  # an evaluation takes data and model from the checkpoint
    assert main([*checkpoint, "--overlay", "big"]) == 0
    assert "did you mean 'big'?" in error_line(capsys, *checkpoint, "--overlay", "bigg")


# Settings that are searched for.


FIND = ["fit", "--config", DIGITS, *SMALL, "--find"]


@pytest.mark.slow
def test_a_model_trains_with_the_learning_rate_that_is_found(capsys):
    assert main([*FIND, "lr"]) == 0
    out, err = capsys.readouterr()
    assert err == ""  # a bar is for a terminal
    (rate,) = re.findall(r"The loss falls fastest at (\S+): --model\.lr \1$", out, re.MULTILINE)
    assert 3e-3 < float(rate) < 3
    (picture,) = (path for path in Path().rglob("*") if path.is_file())
    assert picture == next(Path("runs/digits").iterdir()) / "pictures" / "learning_rates.png"
    assert str(picture) in out
    with Image.open(picture) as image:
        assert len(image.convert("RGB").getcolors(1 << 24)) > 20
    assert "epoch" not in out
    # A short training reaches a lower loss with this rate than with a thousandth of it.
    losses = []
    for lr in float(rate), float(rate) / 1000:
        folder = f"lr_{lr}"
        short = ["--trainer.max_epochs", "2", "--trainer.limit_train_batches", "15", "--model.lr", str(lr)]
        assert main(["fit", "--config", DIGITS, *SMALL, *short, "--resume", folder]) == 0
        losses.append(float(re.findall(r"loss (\S+)", capsys.readouterr().out)[-1]))
    assert losses[0] < losses[1] - 0.1


@pytest.mark.slow
def test_the_learning_rate_does_not_depend_on_the_length_of_the_run(capsys):
    rates = []
    for epochs in "1", "30":
        assert main([*FIND, "lr", "--trainer.max_epochs", epochs]) == 0
        rates += re.findall(r"--model\.lr (\S+)", capsys.readouterr().out)
    assert rates[0] == rates[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("share", "images"),
    [(0.06, 80), (1.0, 1299)],
)
def test_the_batch_size_that_is_found_is_the_largest_power_of_two_that_the_data_has(capsys, share, images):
    assert len(DigitsDataModule(train_fraction=share).split("train")) == images
    assert main([*FIND, "batch_size", "--data.train_fraction", str(share), "--data.batch_size", "16"]) == 0
    out = capsys.readouterr().out
    (size, again) = re.findall(r"largest batch that fits has (\d+) images: --data\.batch_size (\d+)", out)[0]
    assert out.count("memory format") == 1  # not once for each size
    assert size == again
    assert int(size) == 2 ** int(math.log2(images))
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.slow
def test_a_batch_size_is_found_for_a_run_of_few_steps(capsys):
    """The learning-rate schedule has fewer steps than all trials together."""
    options = ["--data.train_fraction", "0.06", "--data.batch_size", "32", "--trainer.max_epochs", "1"]
    assert main([*FIND, "batch_size", *options]) == 0
    assert "has 64 images:" in capsys.readouterr().out
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("what", ["lr", "batch_size"])
def test_finding_needs_a_new_run(capsys, what):
    short = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1"]
    assert main(["fit", "--config", DIGITS, *SMALL, *short, "--resume", "run"]) == 0
    line = error_line(capsys, *FIND, what, "--ckpt_path", "run/checkpoints/last.ckpt")
    assert f"--find {what} needs a new run; leave out --ckpt_path" in line
    assert f"--find {what}" in error_line(capsys, *FIND, what, "--resume", "run")
    assert f"--find {what} needs a new run" in error_line(capsys, *FIND, what, "--trainer.fast_dev_run", "true")


def test_an_unknown_setting_to_find_is_refused(capsys):
    line = error_line(capsys, *FIND, "momentum")
    assert all(word in line for word in ("find", "momentum", "lr", "batch_size")), line
    assert "find" in error_line(capsys, "test", "--config", DIGITS, "--find", "lr")


# Completion.


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The file that a user sources."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        assert main(["completion"]) == 0
    path = tmp_path_factory.mktemp("completion") / "script"
    path.write_text(text.getvalue())
    return path


ASK = """
source {script}
COMP_WORDS=({words}) COMP_CWORD=$(( {count} - 1 ))
_resnet_lightning
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
# What bashcompinit does on a press of the tab key.
IN_ZSH = """
autoload -Uz compinit bashcompinit && compinit -u -D && bashcompinit
source {script}
ask() {{
  local -a words COMP_WORDS COMPREPLY
  words=({words}) CURRENT={count}
  COMP_WORDS=("${{words[@]}}") COMP_CWORD=$(( CURRENT - 1 ))
  compgen -o default -F _resnet_lightning -- "${{words[CURRENT]}}"
}}
ask
"""


@pytest.fixture(params=["bash", "zsh"])
def complete(request, script):
    """A function that completes the last word of a command line, in a real shell."""
    shell = shutil.which(request.param)
    if shell is None:
        pytest.skip(f"{request.param} is not installed; install it, for instance with apt-get install {request.param}")

    def complete(*words: str) -> list[str]:
        shown = " ".join(f'"{word}"' for word in words)
        text = (ASK if request.param == "bash" else IN_ZSH).format(script=script, words=shown, count=len(words))
        plain = ["--norc"] if request.param == "bash" else ["-f"]
        done = subprocess.run([shell, *plain, "-c", text], capture_output=True, text=True, timeout=60, check=True)
        assert not done.stderr
        found = done.stdout.split()
        if request.param == "zsh":  # its menu does the filtering
            return [word for word in found if word.startswith(words[-1])]
        return found

    return complete


def test_commands_are_completed(complete):
    assert complete("lightning", "") == ["fit", "validate", "test", "predict", *SUBCOMMANDS]
    assert complete("lightning", "f") == [name for name in ("fit", *SUBCOMMANDS) if name.startswith("f")]
    assert complete("resnet-lightning", "comp") == ["completion"]
    assert complete("lightning", "unknown") == []


def test_options_are_completed(complete):
    assert complete("lightning", "fit", "--model.b") == ["--model.backbone", "--model.backbone_args"]
    assert complete("lightning", "fit", "--config", "digits.yaml", "--fi") == ["--find"]
    assert complete("lightning", "test", "--fi") == []
    assert complete("lightning", "predict", "--top") == ["--top_k"]
    assert complete("lightning", "fit", "--data.image") == ["--data.image_size"]
    assert complete("lightning", "fit", "--data.augment.mix") == ["--data.augment.mixup"]
    assert complete("lightning", "explain", "--") == ["--help", "--output", "--trust"]
    assert {"--trainer.max_epochs", "--trainer.max_steps"} <= set(complete("lightning", "fit", "--trainer.max"))


def test_every_command_completes_its_help(complete):
    for command in ("fit", "validate", "test", "predict", *SUBCOMMANDS):
        assert complete("lightning", command, "--hel") == ["--help"]


def test_options_of_the_help_are_those_that_are_completed(complete, capsys):
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    named = set(re.findall(r"--(?:model|checkpoint|trainer)\.\w+", capsys.readouterr().out))
    assert len(named) > 50
    found = complete("lightning", "predict", "--")
    assert named <= set(found)
    assert len(found) == len(set(found))


def test_values_are_completed(complete):
    found = complete("lightning", "fit", "--model.backbone", "resnet")
    assert found == [name for name in list_models() if name.startswith("resnet")]
    assert complete("lightning", "fit", "--model.backbone", "") == list_models()
    assert complete("lightning", "fit", "--find", "") == ["lr", "batch_size"]
    assert complete("lightning", "fit", "--config", "") == CONFIGS + SPEED
    assert complete("lightning", "fit", "--config", "configs/") == []  # the shell completes files


def test_overlays_are_completed(complete, monkeypatch):
    """Those that are shipped, everywhere, and those in ``configs``."""
    assert complete("lightning", "fit", "--overlay", "") == OVERLAYS
    monkeypatch.chdir(ROOT)
    assert complete("lightning", "fit", "--overlay", "") == OVERLAYS
    assert complete("lightning", "fit", "--overlay", "w") == [name for name in OVERLAYS if name[0] == "w"]


def test_the_script_completes_both_names_of_the_program(script):
    text = f"source {script}; complete -p lightning resnet-lightning"
    done = subprocess.run(["bash", "--norc", "-c", text], capture_output=True, text=True, timeout=60, check=True)
    assert [line.split()[-3:] for line in done.stdout.splitlines()] == [
        ["-F", "_resnet_lightning", name] for name in ("lightning", "resnet-lightning")
    ]
    assert "-o default" in done.stdout


# What may be null.


class Sized(ImageFolderDataModule):
    """A user's data module, in which image_size has a default and must not be null."""

    def __init__(self, *, image_size: int = 16, **options) -> None:
        super().__init__(image_size=image_size, **options)


def test_whether_an_option_may_be_null_depends_on_the_class(capsys):
    write_folders(Path("images"), ["train", "test"], n=5)
    own = f"{Sized.__module__}.{Sized.__name__}"
    for name, size in ("ImageFolderDataModule", "null"), (own, "8"), ("ImageFolderDataModule", "8"):
        Path("config.yaml").write_text(
            f"data: {{class_path: {name}, init_args: {{root: images, image_size: {size}, batch_size: 4}}}}\n"
            f"model: {{backbone: {SMALL[1]}, backbone_args: {{depth: 8}}}}\n"
        )
        assert main(["fit", "--config", "config.yaml", "--trainer.fast_dev_run", "true"]) == 0
    Path("config.yaml").write_text(
        f"data: {{class_path: {own}, init_args: {{root: images, image_size: null}}}}\n"
        f"model: {{backbone: {SMALL[1]}, backbone_args: {{depth: 8}}}}\n"
    )
    assert "data.image_size is null" in error_line(capsys, "fit", "--config", "config.yaml")


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_the_program_alone_lists_every_command_once_by_its_purpose(arguments, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    listed = [name for commands in GROUPS.values() for name in commands]
    assert sorted(listed) == sorted(["fit", "validate", "test", "predict", *SUBCOMMANDS])
    for group, commands in GROUPS.items():
        assert group in printed
        for name, purpose in commands.items():
            assert purpose in next(line for line in printed.splitlines() if name in line.split()[:2])
