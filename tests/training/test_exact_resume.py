"""A run that is stopped and resumed ends bitwise where it would have ended."""

from pathlib import Path

import pytest
import torch
import yaml

from image_files import write_folders
from resnet_lightning.cli.main import main
from runs_alike import assert_equal, assert_same_run, metrics, take_seen, with_callbacks

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")

EPOCHS = 3
STEPS = 8  # batches an epoch


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Image files of two classes: 16 of each for training, 4 for validation and 4 for testing."""
    folder = tmp_path_factory.mktemp("images")
    write_folders(folder, ["train"], n=2 * STEPS)
    write_folders(folder, ["val", "test"], n=4)
    return str(folder)


def options(
    images: str, *, workers: int | None = None, ema: bool = False, accumulate: int = 1, mixup: bool = False
) -> list[str]:
    """The command of a training that draws random numbers wherever it can."""
    callbacks = [{"class_path": "LearningRateMonitor", "init_args": {"logging_interval": "step"}}]
    if ema:
        callbacks.append(
            {
                "class_path": "resnet_lightning.training.callbacks.MovingAverage",
                "init_args": {"decay": 0.8, "update_starting_at_step": 3},
            }
        )
    config = {
        "seed_everything": 3,
        "data": {
            "class_path": "ImageFolderDataModule",
            "init_args": {
                "root": images,
                "image_size": 16,
                "batch_size": 4,
                "resident": "cpu" if workers is None else False,
                "num_workers": workers or 0,
                "augment": {"crop": 2, "flip": True, "rotate": 20, "mixup": 0.4 if mixup else 0},
            },
        },
        "model": {
            "backbone": "resnet_lightning.models.cifar.cifar_resnet",
            "backbone_args": {"depth": 8, "drop_path_rate": 0.3},
            "lr": 0.05,
            "optimizer_args": {"momentum": 0.9},
        },
        "trainer": {
            "max_epochs": EPOCHS,
            "accumulate_grad_batches": accumulate,
            "gradient_clip_val": 1.0,
            "log_every_n_steps": 1,
            "callbacks": callbacks,
        },
    }
    Path("config.yaml").write_text(yaml.safe_dump(config))
    return ["fit", "--config", "config.yaml"]


def watching(name: str, **arguments) -> list[str]:
    """The options that save every batch of a run."""
    return [*with_callbacks(name, Seen={"folder": "seen", **arguments}), "--resume", name]


MOMENTS = [0, -1], [1, 4], [EPOCHS - 1, -1]  # the end of an epoch, inside one, the end of the training


def assert_stops_change_nothing(command: list[str], name: str = "stopped") -> None:
    """Compares an uninterrupted run with one that is stopped at each of the moments and resumed every time."""
    assert main([*command, *watching("whole")]) == 0
    expected = take_seen()
    seen = {}
    for moment in MOMENTS:
        assert main([*command, *watching(name, stop_at=moment)]) == 143
        part = take_seen()
        assert not set(seen) & set(part), "trained twice on a batch"
        seen |= part
    assert main([*command, *watching(name)]) == 0
    part = take_seen()
    assert not set(seen) & set(part), "trained twice on a batch"
    assert_equal(seen | part, expected, "seen")
    assert_same_run(name, "whole")


# All pairs of the parts that keep a state of their own. Each is stopped at all three moments.
@pytest.mark.parametrize(
    ("workers", "ema", "accumulate", "mixup"),
    [
        (0, True, 3, True),
        pytest.param(0, False, 1, False, marks=pytest.mark.slow),
        pytest.param(None, True, 1, True, marks=pytest.mark.slow),
        pytest.param(None, False, 3, False, marks=pytest.mark.slow),
        pytest.param(2, True, 3, False, marks=pytest.mark.slow),
        pytest.param(2, False, 1, True, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_is_the_uninterrupted_one(images, workers, ema, accumulate, mixup):
    assert_stops_change_nothing(options(images, workers=workers, ema=ema, accumulate=accumulate, mixup=mixup))


LENGTH = ["--trainer.max_epochs", "null", "--trainer.max_steps", "24"]
PLATEAU = ["--model.scheduler", "ReduceLROnPlateau", "--model.scheduler_args", "{patience: 0, threshold: 0.5}"]
ADAM = ["--model.optimizer", "AdamW", "--model.optimizer_args", "null"]
MUON = ["--model.optimizer", "resnet_lightning.training.muon.FilterMuon", "--model.optimizer_args", "{filter_lr: 0.1}"]
MILESTONES = ["--model.scheduler", "MultiStepLR", "--model.scheduler_args", "{milestones: [0.3, 0.6]}"]
VALIDATES_TWICE = ["--trainer.val_check_interval", "0.5"]
VALIDATES_BY_STEPS = ["--trainer.check_val_every_n_epoch", "null", "--trainer.val_check_interval", "5"]
EARLY_STOPPING = ["--trainer.callbacks+", "EarlyStopping", "--trainer.callbacks.monitor", "val/loss"]
BEST_OF_TRAINING = ["--checkpoint.monitor", "train/loss", "--checkpoint.mode", "min"]
HALF = ["--trainer.precision", "bf16-mixed"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant",
    [
        [*PLATEAU, *LENGTH],
        [*PLATEAU, *ADAM, *EARLY_STOPPING, *BEST_OF_TRAINING],
        [*LENGTH, *ADAM, *VALIDATES_BY_STEPS, *HALF],
        [*MILESTONES, *VALIDATES_TWICE, *EARLY_STOPPING, *HALF],
        ["--model.scheduler", "null", *MUON, *VALIDATES_BY_STEPS],
    ],
    ids=[
        "plateau-max_steps",
        "plateau-adam-stopping-best",
        "steps-adam-half",
        "milestones-twice-half",
        "constant-muon",
    ],
)
def test_every_schedule_optimizer_and_kind_of_validation_resumes(images, variant):
    assert_stops_change_nothing([*options(images, ema=True), *variant])


@pytest.mark.slow
def test_an_average_of_epochs_resumes(images):
    """Each epoch is averaged once, also where the checkpoint is from its end."""
    command = options(images, ema=True)
    config = yaml.safe_load(Path("config.yaml").read_text())
    average = config["trainer"]["callbacks"][-1]["init_args"]
    average |= {"update_every_n_steps": 0, "update_starting_at_epoch": 0}
    del average["update_starting_at_step"]
    Path("config.yaml").write_text(yaml.safe_dump(config))
    assert_stops_change_nothing(command)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_run_resumes_from_every_checkpoint_of_a_validation(images, accumulate):
    """Inside an epoch and at its end; in a new folder, which then has the metrics of the whole run."""
    command = [*options(images, ema=True, accumulate=accumulate, mixup=True), "--trainer.max_epochs", "2"]
    command += ["--checkpoint.save_top_k", "-1", "--checkpoint.filename", "{step}", *VALIDATES_TWICE]
    assert main([*command, "--resume", "whole"]) == 0
    checkpoints = sorted(Path("whole/checkpoints").glob("step=*.ckpt"))
    assert len(checkpoints) == 4
    for checkpoint in checkpoints:
        root = f"from_{checkpoint.stem}"
        assert main([*command, "--ckpt_path", str(checkpoint), "--trainer.default_root_dir", root]) == 0
        (folder,) = Path(root, "config").iterdir()
        assert_same_run(str(folder), "whole", checkpoints=["last.ckpt"])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run(images):
    command = options(images, ema=True, mixup=True)
    for name in "whole", "again":
        assert main([*command, *watching(name)]) == 0
        seen = take_seen()
        if name == "whole":
            expected = seen
    assert_equal(seen, expected)
    assert_same_run("again", "whole")


@pytest.mark.slow
def test_a_run_that_max_steps_ended_inside_an_epoch_continues_there(images):
    """20 steps at once, and 13 followed by 7."""
    command = [*options(images), "--model.scheduler", "null"]
    command += ["--trainer.max_epochs", "null"]
    assert main([*command, "--trainer.max_steps", "20", *watching("whole")]) == 0
    expected = take_seen()
    assert main([*command, "--trainer.max_steps", "13", *watching("parts")]) == 0
    assert main([*command, "--trainer.max_steps", "20", *watching("parts")]) == 0
    assert_equal(take_seen(), expected)
    found, wanted = (torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True) for run in ("parts", "whole"))
    for key in "state_dict", "optimizer_states":
        assert_equal(found[key], wanted[key])


@pytest.mark.slow
def test_a_run_that_stopped_early_continues_only_with_more_patience(images, capsys):
    command = [*options(images), "--trainer.max_epochs", "9"]
    # No loss falls by that much.
    command += ["--trainer.callbacks+", "EarlyStopping", "--trainer.callbacks.monitor", "val/loss"]
    command += ["--trainer.callbacks.min_delta", "100", "--trainer.callbacks.patience"]
    for patience, epochs, trains in [("1", 2, True), ("1", 2, False), ("3", 4, True)]:
        capsys.readouterr()
        assert main([*command, patience, "--resume", "run"]) == 0
        assert ("nothing left to train" in capsys.readouterr().out) != trains
        saved = torch.load("run/checkpoints/last.ckpt", weights_only=True)
        assert saved["global_step"] == epochs * STEPS


def test_a_checkpoint_of_an_average_needs_the_average_again(images, capsys):
    command = options(images, ema=True)
    assert main([*command, "--trainer.max_epochs", "1", "--resume", "run"]) == 0
    without = options(images)
    capsys.readouterr()
    assert main([*without, "--resume", "run"]) == 2
    assert "holds a moving average; resume with --overlay ema" in capsys.readouterr().err


@pytest.mark.slow
def test_what_is_typed_wins_over_the_checkpoint(images, capsys):
    command = options(images)
    for scheduler, before, after in [
        (["--model.scheduler", "null"], 0.05, 0.01),
        (["--model.scheduler", "ReduceLROnPlateau", "--model.scheduler_args", "{patience: 9}"], 0.05, 0.01),
        (["--model.scheduler", "ConstantLR", "--model.scheduler_args", "{factor: 0.5}"], 0.025, 0.005),
    ]:
        name = scheduler[1]
        assert main([*command, *scheduler, "--trainer.max_epochs", "1", "--resume", name]) == 0
        more = ["--trainer.max_epochs", "2", "--model.lr", "0.01", "--model.optimizer_args", "{momentum: 0.5}"]
        capsys.readouterr()
        assert main([*command, *scheduler, *more, "--resume", name]) == 0
        printed = capsys.readouterr().out
        assert "model.lr: 0.05 before, 0.01 now" in printed
        assert "model.optimizer_args.momentum: 0.9 before, 0.5 now" in printed
        rows = metrics(name)
        rates = [float(row["lr-SGD/pg1"]) for row in rows if row["lr-SGD/pg1"]]
        assert rates == pytest.approx([before] * STEPS + [after] * STEPS)
        saved = torch.load(f"{name}/checkpoints/last.ckpt", weights_only=True)
        assert [group["momentum"] for group in saved["optimizer_states"][0]["param_groups"]] == [0.5, 0.5]
