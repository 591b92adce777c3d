"""Every mistake of a user ends in one short line that names the mistake, and what was meant."""

import math
import os
import shlex
from pathlib import Path

import pytest
import torch

from resnet_lightning.cli.error_line import error_line
from resnet_lightning.cli.failures import as_input_error
from resnet_lightning.cli.main import main
from resnet_lightning.data.loading.cache import default_cache_folder
from resnet_lightning.errors import nearest
from runs_alike import DIGITS

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")

_BEST = (
    "BestCheckpoint{'monitor': 'val/loss', 'mode': 'min', 'every_n_train_steps': 0, 'every_n_epochs': 1, "
    "'train_time_interval': None}"
)
SHORT = ["fit", "--config", DIGITS, "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
SHORT += [part for split in ("train", "val", "test") for part in (f"--trainer.limit_{split}_batches", "2")]


def line_of(capsys, *words: str) -> str:
    """The one line with which a command line is rejected."""
    capsys.readouterr()
    assert main(list(words)) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert len(err) <= 241
    return err.strip()


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--model.learning_rate", "1"], "did you mean --model.lr?"),
        (["--lr", "1"], "did you mean --model.lr?"),
        (["--modl.lr", "1"], "did you mean --model.lr?"),
        (["--epochs", "3"], "did you mean --trainer.max_epochs?"),
        (["--data.batchsize", "3"], "did you mean"),
        (["--model.learning-rate", "1"], "did you mean --model.lr?"),
        (["--dta.augment.cutout", "3"], "did you mean --data.augment.cutout?"),
        (["--data.data_dir", "images"], "unknown option 'data_dir'; did you mean --data.root?"),
        (["--data.augment.flp", "true"], "unknown option '--data.augment.flp'; did you mean --data.augment.flip?"),
        (["--data.augment.random_crop", "1"], "did you mean --data.augment.crop?"),
        (["--data.augment.pad", "zeros"], "data.augment.pad is 'zeros'; did you mean 'zero'?"),
        (["--data", "digits"], "did you mean 'DigitsDataModule'?"),
        (["--data", "cifar10"], "did you mean 'CIFAR10DataModule'"),
        (["--data", "{class_path: DigitsDataModule, batch_size: 3}"], "its options belong in init_args"),
        (["--early_stopping.patience", "3"], "--trainer.callbacks+=EarlyStopping --trainer.callbacks.patience VALUE"),
        (["--trainer.callbacks.patience", "3"], "belongs to no callback or logger here"),
        (
            ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.patienc=3"],
            "unknown option 'patienc'; did you mean 'patience'?",
        ),
        (["--trainer.logger", "wandb"], "did you mean 'WandbLogger'?"),
        (["--trainer.plugins", "foo"], "give the name of a plugin"),
        (["--trainer.precision", "bf16-mix"], "trainer.precision is 'bf16-mix'; did you mean 'bf16-mixed'"),
        (["--trainer.strategy", "dpp"], "trainer.strategy is 'dpp'; did you mean 'ddp'?"),
        (["--trainer.accelerator", "cpuu"], "trainer.accelerator is 'cpuu'; did you mean 'cpu'?"),
        (["--trainer.profiler", "simpl"], "did you mean 'simple'?"),
        (["--model.optimizer", "sgd"], "did you mean 'SGD'?"),
        (["--model.scheduler", "cosine"], "did you mean 'CosineAnnealingLR'"),
        (["--find", "lrr"], "find is 'lrr'; did you mean 'lr'?"),
        (["--top_k", "3"], "--top_k is an option of `lightning predict` only"),
        (["-config", "digits"], "did you mean --config?"),
        (["-lr", "1"], "did you mean --model.lr?"),
        (["lr=3"], "did you mean --model.lr=3?"),
        (["--overlay"], "--overlay has no value"),
        (["--overlay", "configs/overlays/ema.yaml"], "did you mean 'ema'?"),
        (["--config", "digits.yml"], "did you mean 'digits'?"),
        (["--ckpt_path", "https://example.org/a.ckpt"], "download it first"),
        (["--ckpt_path", "."], "that is a folder"),
        (["--model.momentum", "0.5"], "did you mean --model.optimizer_args.momentum?"),
        (["trainer.max_epochs=3"], "did you mean --trainer.max_epochs=3?"),
        (["configs/digits.yaml"], "did you mean --config configs/digits.yaml?"),
        (["--trainer.max_epochs"], "--trainer.max_epochs has no value"),
        (["--overlay", "wanb"], "did you mean 'wandb'?"),
        (["--trainer.callbacks+=ErlyStopping"], "did you mean 'EarlyStopping'?"),
        (["--trainer.callbacks+=EarlyStopping"], "EarlyStopping needs monitor"),
        (["--trainer.max_epochs", "x" * 3000], "trainer.max_epochs: Expected a <class 'int'>"),
        (["--model.backbone", "x" * 3000], "known: plain110"),
        (["--model.optimizer_args", "[" * 3000 + "]" * 3000], "nested more than 100 deep"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_word_that_is_no_option_gets_what_was_meant(words, meant, capsys):
    assert meant in line_of(capsys, *SHORT, *words)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--config", "digits"], "give a command first"),
        (["tset", "--config", "digits"], "did you mean 'test'?"),
        (["train"], "did you mean 'fit'?"),
        (["sweep"], "wandb sweep"),
        (["help", "test"], "did you mean `lightning test --help`?"),
        (["fit", "--model.help"], "there is no --model.help; `lightning fit --help` lists the options; with --model"),
        (["fit", "--trainer.help"], "there is no --trainer.help; `lightning fit --help` lists the options"),
        (["test", "--data.augment.help"], "`lightning test --data.help` lists the options"),
        (["fit", "--model.optimizer.help", "SGD"], "there is no --model.optimizer.help"),
        (["fit", "--trainer.callbacks.help"], "needs the name of a class, as --trainer.callbacks.help EarlyStopping"),
        (["fit", "--trainer.strategy.help", "--data.help"], "as --trainer.strategy.help DDPStrategy"),
        (["fit", "configs/digits.yaml"], "did you mean --config configs/digits.yaml?"),
        (["fit", "digits"], "did you mean --config digits?"),
        (["fit", "trainer.max_epochs=3"], "did you mean --trainer.max_epochs=3?"),
        (["fit", "--config", "--trainer.max_epochs"], "--config has no value"),
        (["fit", "--config", "x" * 5000], "File name too long"),
        (["runs", "--sorrt", "x"], "unknown option '--sorrt'; did you mean --sort?"),
        (["report", "a", "b", "--foo"], "`lightning report --help`"),
        (["bench", "stp"], "what is 'stp'; did you mean 'step'"),
        (
            ["bench", "step", "--rounds", "many"],
            "argument --rounds: invalid int value: 'many'; `lightning bench --help`",
        ),
        (["explain"], "the following arguments are required: checkpoint, images; `lightning explain --help`"),
        (["export", "a.ckpt", "--format"], "--format: expected one argument"),
        (["models", "a", "b"], "'b' is one argument too many"),
        (["new"], "the following arguments are required: folder"),
        (["configs", "digit"], "did you mean 'digits'?"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_command_gets_what_was_meant(words, meant, capsys):
    assert meant in line_of(capsys, *words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ["--trainer.callbacks+=BatchSizeFinder", "--trainer.callbacks.margin=3"],
            "BatchSizeFinder cannot be built: `margin` should be between 0 and 1",
        ),
        (["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.monitor=val/los"], "ModelCheckpoint.monitor is"),
        (["--model.scheduler_args.total_steps", "1"], "model.scheduler_args.total_steps is 1, but the run has 2 steps"),
        (
            ["--model.backbone", "torch.nn.Identity", "--model.backbone_args", "{}"],
            "a classifier needs logits (64, 10)",
        ),
        (
            ["--model.backbone", "torch.nn.Sequential", "--model.backbone_args", "{}"],
            "backbone 'torch.nn.Sequential' takes no option 'num_classes'; it takes none",
        ),
        (
            ["--model.backbone", "torchvision.models.mobilenet_v3_small", "--model.backbone_args", "{}"],
            "the network takes images with 3 channels, and got 1",
        ),
        (
            ["--data.batch_size", "1", "--model.backbone", "resnet18", "--model.backbone_args", "{stem: cifar}"],
            "a batch of one image, perhaps the last of an epoch, is too small for batch normalization",
        ),
        (
            ["--trainer.callbacks+=ModelSummary", "--trainer.callbacks.max_depth=-5"],
            "ModelSummary in trainer.callbacks",
        ),
        (["--trainer.callbacks+=SpikeDetection"], "SpikeDetection in trainer.callbacks failed"),
        (["--trainer.callbacks+=Timer", "--trainer.callbacks.duration=abc"], "DD:HH:MM:SS"),
        (["--trainer.val_check_interval", "2000"], "`val_check_interval` (2000)"),
        (["--trainer.limit_val_batches", "0"], "trainer.limit_val_batches is 0: checkpoint.monitor is val/loss"),
        (
            ["--model.backbone", "torchvision.models.resnet18", "--model.backbone_args", "{}"],
            "the images have 1 channel",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_a_library_rejects_names_the_part_and_the_reason(options, reason, capsys):
    assert reason in line_of(capsys, *SHORT, *options)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["--trainer.callbacks+=Timer", "--trainer.callbacks.duration=00:00:10:00"],
        ["--trainer.callbacks+=DeviceStatsMonitor"],
        ["--trainer.callbacks+=BatchSizeFinder", "--trainer.callbacks.max_trials=2"],
        [
            *("--trainer.max_epochs", "3", "--trainer.check_val_every_n_epoch", "null"),
            *("--trainer.val_check_interval", "3", "--model.scheduler", "ReduceLROnPlateau"),
            *("--model.scheduler_args", "{}"),
        ],
        ["--checkpoint.monitor", "train/grad_norm"],
        ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=train/grad_norm"],
        [
            *("--trainer.max_epochs", "2", "--trainer.check_val_every_n_epoch", "2"),
            *("--model.scheduler", "ReduceLROnPlateau", "--model.scheduler_args", "{}"),
        ],
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_works_in_lightning_works_here(options):
    assert main([*SHORT, *options]) == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # it averages best with a schedule of epochs
def test_the_config_of_weight_averaging_can_be_resumed(capsys):
    averaging = ["--trainer.callbacks+=StochasticWeightAveraging", "--trainer.callbacks.swa_lrs=0.01"]
    assert main([*SHORT, *averaging, "--trainer.max_epochs", "2"]) == 0
    (folder,) = Path("runs/digits").iterdir()
    assert "Unable to serialize" not in (folder / "config.yaml").read_text()
    assert main(["fit", "--resume", str(folder), "--trainer.max_epochs", "3"]) == 0


def test_an_error_in_code_of_the_user_keeps_its_traceback():
    Path("broken_part.py").write_text(
        "from lightning import Callback\n\n\nclass Broken(Callback):\n"
        "    def on_train_start(self, trainer, pl_module):\n        [].remove(3)\n"
    )
    with pytest.raises(ValueError, match="not in list"):
        main([*SHORT, "--trainer.callbacks+=broken_part.Broken"])


def test_a_batch_of_one_in_a_network_of_the_user_is_explained(capsys):
    Path("small_net.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n"
        "    def __init__(self, num_classes, in_chans):\n        super().__init__()\n"
        "        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes), nn.BatchNorm1d(num_classes))\n\n"
        "    def forward(self, x):\n        return self.layers(x)\n"
    )
    options = ["--model.backbone", "small_net.Net", "--model.backbone_args", "{}", "--data.batch_size", "1"]
    assert "a batch of one image" in line_of(capsys, *SHORT, *options)


def test_rank_variables_that_are_no_numbers_are_rejected(monkeypatch, capsys):
    for name in "RANK", "LOCAL_RANK", "SLURM_PROCID":
        with monkeypatch.context() as changed:
            changed.setenv(name, "x")
            assert f"the environment variable {name} is 'x'" in line_of(capsys, *SHORT)


def test_a_current_folder_that_was_removed_is_reported(tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "the current folder was removed" in line_of(capsys, *SHORT)


def test_a_user_without_a_home_has_a_cache(monkeypatch):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")  # as Python without HOME and a user's entry

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert default_cache_folder().name == f"resnet_lightning-{os.getuid()}"


def test_a_file_in_place_of_the_folder_to_resume_is_named(digits_run, capsys):
    line = line_of(capsys, "fit", "--resume", str(digits_run / "checkpoints" / "last.ckpt"))
    assert "a file; give the folder of a run" in line


@pytest.mark.parametrize("root", ["r[ab]", "b[/red]x", "my runs"])
def test_paths_are_printed_as_they_are_and_quoted_in_commands(root, capsys):
    assert main([*SHORT, "--trainer.default_root_dir", root]) == 0
    (folder,) = Path(root, "digits").iterdir()
    out = capsys.readouterr().out
    assert f"in {folder}" in out
    best = str(folder / "checkpoints" / "best.ckpt")
    assert f"test --ckpt_path {shlex.quote(best)}\n" in out
    assert f"{best} --trainer" not in out or shlex.quote(best) == best


@pytest.mark.parametrize(
    ("part", "value"),
    [
        *(("state_dict", value) for value in (None, [1])),
        *(("hyper_parameters", value) for value in (None, [1])),
        *(("run", value) for value in ([], {}, {"name": "digits", "config": 3}, {"name": 5, "config": ""})),
        *(("run", {"name": "digits", "config": "a: ["}), ("run", {"name": "digits", "config": "", "data": None})),
        *(("DigitsDataModule", None), ("global_step", "x"), ("pytorch-lightning_version", 3)),
        *(
            ("loops", None),
            ("optimizer_states", None),
            *(
                ("exact_resume", {"processes": [], "logged": {"val/loss": "x"}}),
                ("exact_resume", {"processes": [3], "logged": {}}),
            ),
            ("optimizer_states", [{}]),
        ),
    ],
    ids=str,
)
def test_a_malformed_checkpoint_is_rejected_in_one_line(part, value, digits_run, capsys):
    checkpoint = torch.load(digits_run / "checkpoints" / "last.ckpt", weights_only=True)
    torch.save({**checkpoint, part: value}, "malformed.ckpt")
    more = ["--trainer.max_epochs", "3", "--trainer.limit_train_batches", "1"]
    assert "checkpoint" in line_of(capsys, "fit", "--ckpt_path", "malformed.ckpt", *more) or part in (
        "run",
        "state_dict",
    )


def test_a_checkpoint_of_a_run_without_its_step_is_rejected_in_one_line(digits_run, capsys):
    checkpoint = torch.load(digits_run / "checkpoints" / "last.ckpt", weights_only=True)
    del checkpoint["global_step"]
    torch.save(checkpoint, "malformed.ckpt")
    for command in "fit", "test":
        assert "its 'global_step' is missing" in line_of(capsys, command, "--ckpt_path", "malformed.ckpt")


@pytest.mark.slow
@pytest.mark.parametrize("value", ["x", None, [1, 2]], ids=str)
@pytest.mark.parametrize(
    ("callback", "name"),
    [("GradientNorm", "sum"), ("GradientNorm", "steps"), ("Throughput", "images"), ("Throughput", "epoch_seconds")],
)
def test_a_state_of_a_callback_of_another_type_is_rejected_in_one_line(callback, name, value, digits_run, capsys):
    checkpoint = torch.load(digits_run / "checkpoints" / "last.ckpt", weights_only=True)
    checkpoint["callbacks"][callback][name] = value
    torch.save(checkpoint, "malformed.ckpt")
    more = ["--trainer.max_epochs", "3", "--trainer.limit_train_batches", "8"]
    line = line_of(capsys, "fit", "--ckpt_path", "malformed.ckpt", *more)
    assert "the checkpoint does not fit this run, or is malformed" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "value", "meant"),
    [
        (("callbacks", "Throughput", "images"), -1, "its state of Throughput has images as -1"),
        (("callbacks", "GradientNorm", "sum"), torch.tensor(math.nan), "its state of GradientNorm has sum as a Tensor"),
        (("callbacks", "RunProgress"), 3, "its state of RunProgress"),
        (("callbacks", "RunProgress", "best"), "x", "its state of the progress bar has 'x' as the best value"),
        (("callbacks", _BEST, "best_k_models"), 5, "its state of BestCheckpoint has best_k_models as 5"),
        (("global_step",), 7, "its record of the training's progress has 7 or 16 steps"),
        (("optimizer_states", 0, "state"), {}, "its state of the optimizer is empty"),
        (("optimizer_states", 0, "state", 0), 5, "its state of the optimizer"),
        (("optimizer_states", 0, "state", 1, "momentum_buffer"), torch.zeros(3), "has a momentum_buffer that is a"),
        (("hyper_parameters", "lr"), 0, "learning rate is 0"),
        (("run", "config"), "data: 5\n", "gives 5 as data"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_part_of_another_kind_is_found_before_the_training(place, value, meant, digits_run, capsys):
    checkpoint = torch.load(digits_run / "checkpoints" / "last.ckpt", weights_only=True)
    part = checkpoint
    for key in place[:-1]:
        part = part[key]
    assert place[-1] in part
    part[place[-1]] = value
    torch.save(checkpoint, "malformed.ckpt")
    config = ["--config", str(digits_run / "config.yaml"), "--trainer.default_root_dir", "runs"]
    config = config if place[0] in ("run", "hyper_parameters") else []
    line = line_of(capsys, "fit", *config, "--ckpt_path", "malformed.ckpt", "--trainer.max_epochs", "3")
    assert meant in line
    assert not [path for path in Path("runs").rglob("*") if path.is_file()]


def test_a_model_card_needs_no_options_of_the_data(digits_run, capsys):
    checkpoint = torch.load(digits_run / "checkpoints" / "last.ckpt", weights_only=True)
    checkpoint["run"]["config"] = "model: {backbone: resnet20}\ndata: DigitsDataModule\n"
    torch.save(checkpoint, "short.ckpt")
    assert main(["export", "short.ckpt", "--format", "safetensors", "--output", "net.safetensors"]) == 0
    assert "`DigitsDataModule`" in Path("MODEL_CARD.md").read_text()


def test_an_option_of_a_logger_is_not_meant_by_one_of_the_model(capsys):
    Path("config.yaml").write_text("model: {backbone: resnet20, teamspaces: 1}\ndata: DigitsDataModule\n")
    line = line_of(capsys, "fit", "--config", "config.yaml")
    assert "unknown option 'model.teamspaces'" in line
    assert "'teamspace'" not in line  # which is one of the logger of Lightning's platform


def test_a_checkpoint_beyond_the_end_of_the_run_names_the_option_that_ends_it(digits_run, capsys):
    last = str(digits_run / "checkpoints" / "last.ckpt")
    for option in "max_epochs", "max_steps":
        line = line_of(capsys, "fit", "--ckpt_path", last, f"--trainer.{option}", "1")
        assert line.endswith(f"raise --trainer.{option}")


def test_a_link_that_loops_is_rejected(capsys):
    os.symlink("loop", "loop")
    for words in (["fit", "--config", "loop.yaml"], ["test", "--ckpt_path", "loop"], ["features", "loop"]):
        line_of(capsys, *words)
    line_of(capsys, *SHORT, "--trainer.default_root_dir", "loop")


def test_aliases_that_repeat_to_billions_of_values_are_rejected(capsys):
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10)]
    Path("bomb.yaml").write_text("\n".join(["l0: &l0 [x]", *levels]))
    assert "aliases repeat" in line_of(capsys, "fit", "--config", "bomb.yaml")


def test_the_reason_and_the_fix_survive_when_a_line_is_cut():
    line = error_line(f"data.root is {'x' * 1000!r}; give a\n folder")
    assert line.startswith("data.root is 'xxx")
    assert line.endswith("; give a folder")
    assert len(line) <= 233
    assert error_line("unknown; known: " + ", ".join(f"name{n}" for n in range(100))).endswith("... (100 in all)")


def test_initials_and_parts_of_names_are_near():
    assert nearest("learning_rate", ["lr", "loss"]) == ["lr"]
    assert nearest("epochs", ["max_epochs", "mode"]) == ["max_epochs"]
    assert nearest("frobnicate", ["lr", "loss"]) == []
    assert nearest("ResNet-20", ["resnet20", "resnet1202"]) == ["resnet20"]
    assert nearest("F1", ["AUROC", "BinaryF1Score"]) == ["BinaryF1Score"]
    assert nearest("initial_lr", ["lr", "loss"]) == ["lr"]


def test_too_little_memory_is_one_line():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)  # more than any machine has
    assert "this machine has too little memory" in str(as_input_error(caught.value))
