"""A run that was stopped and goes on ends bitwise where it would have ended."""

from pathlib import Path

import pytest
import torch
import yaml

from image_files import write_folders
from resnet_lightning.cli.main import main
from runs_alike import assert_equal, assert_same_run, metrics, take_seen, with_callbacks

EPOCHS = 3
STEPS = 8  # batches an epoch


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Real JPEG files: two classes of 40 for training, 16 for validation and 16 for testing."""
    folder = tmp_path_factory.mktemp("images")
    write_folders(folder, ["train"], n=2 * STEPS)
    write_folders(folder, ["val", "test"], n=4)
    return str(folder)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def options(images: str, *, workers: int | None, ema: bool, accumulate: int, mixup: bool) -> list[str]:
    """A training in which everything is random that can be."""
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
    """The options that keep what a run sees."""
    return [*with_callbacks(name, Seen={"folder": "seen", **arguments}), "--resume", name]


MOMENTS = {"inside-an-epoch": [1, 4], "end-of-epoch": [0, -1], "end-of-training": [EPOCHS - 1, -1]}


@pytest.mark.slow
@pytest.mark.parametrize("mixup", [False, True], ids=["plain", "mixup"])
@pytest.mark.parametrize("accumulate", [1, 3], ids=["every-batch", "accumulate"])
@pytest.mark.parametrize("ema", [False, True], ids=["weights", "ema"])
@pytest.mark.parametrize("workers", [None, 0, 2], ids=["memory", "stream", "workers"])
def test_a_resumed_run_is_the_uninterrupted_one(images, workers, ema, accumulate, mixup):
    command = options(images, workers=workers, ema=ema, accumulate=accumulate, mixup=mixup)
    assert main([*command, *watching("whole")]) == 0
    expected = take_seen()
    assert len(expected) == EPOCHS * STEPS
    for name, moment in MOMENTS.items():
        assert main([*command, *watching(name, stop_at=moment)]) == 143
        before = take_seen()
        assert main([*command, *watching(name)]) == 0
        after = take_seen()
        assert set(before) | set(after) == set(expected)
        assert not set(before) & set(after), "trained twice on a batch"
        assert_equal(before | after, expected, "seen")
        assert_same_run(name, "whole")


def stop_and_go_on(command: list[str], name: str, moment: list[int]) -> None:
    """A run like the one in the folder ``whole``, but interrupted."""
    assert main([*command, *watching(name, stop_at=moment)]) == 143
    assert main([*command, *watching(name)]) == 0
    assert_same_run(name, "whole")


PLATEAU = ["--model.scheduler", "ReduceLROnPlateau", "--model.scheduler_args", "{patience: 0, threshold: 0.5}"]

# What else decides how a training goes, and Lightning keeps an eye on itself.
VARIANTS = {
    "max_steps": ["--trainer.max_epochs", "null", "--trainer.max_steps", "24"],
    "constant": ["--model.scheduler", "null"],
    "plateau": PLATEAU,
    "plateau-max_steps": [*PLATEAU, "--trainer.max_epochs", "null", "--trainer.max_steps", "24"],
    "adam": ["--model.optimizer", "AdamW", "--model.optimizer_args", "null"],
    "milestones": ["--model.scheduler", "MultiStepLR", "--model.scheduler_args", "{milestones: [0.3, 0.6]}"],
    "validates-twice": ["--trainer.val_check_interval", "0.5"],
    "validates-by-the-step": ["--trainer.check_val_every_n_epoch", "null", "--trainer.val_check_interval", "5"],
    "early-stopping": ["--trainer.callbacks+", "EarlyStopping", "--trainer.callbacks.monitor", "val/loss"],
    "best-of-training": ["--checkpoint.monitor", "train/loss", "--checkpoint.mode", "min"],
    "half-precision": ["--trainer.precision", "bf16-mixed"],
}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_whatever_decides_how_a_training_goes_goes_on(images, variant):
    command = [*options(images, workers=None, ema=True, accumulate=1, mixup=False), *variant]
    assert main([*command, "--resume", "whole"]) == 0
    for name, moment in MOMENTS.items():
        stop_and_go_on(command, name, moment)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 3])
def test_every_checkpoint_of_a_validation_is_one_to_go_on_from(images, accumulate):
    """Inside an epoch and at its end; in a new folder, which then has the metrics of the whole run."""
    command = options(images, workers=None, ema=True, accumulate=accumulate, mixup=True)
    keep_all = [
        "--checkpoint.save_top_k",
        "-1",
        "--checkpoint.filename",
        "{step}",
        "--trainer.val_check_interval",
        "0.5",
    ]
    assert main([*command, *keep_all, "--resume", "whole"]) == 0
    checkpoints = sorted(Path("whole/checkpoints").glob("step=*.ckpt"))
    assert len(checkpoints) == 2 * EPOCHS
    for checkpoint in checkpoints:
        root = f"from_{checkpoint.stem}"
        assert main([*command, *keep_all, "--ckpt_path", str(checkpoint), "--trainer.default_root_dir", root]) == 0
        (folder,) = Path(root, "config").iterdir()
        assert_same_run(str(folder), "whole", checkpoints=["last.ckpt"])


def test_the_same_seed_gives_the_same_run(images):
    command = options(images, workers=None, ema=True, accumulate=1, mixup=True)
    for name in "whole", "again":
        assert main([*command, *watching(name)]) == 0
        seen = take_seen()
        if name == "whole":
            expected = seen
    assert_equal(seen, expected)
    assert_same_run("again", "whole")


def test_max_steps_ends_inside_an_epoch_and_more_of_them_go_on_there(images):
    """The weights of 20 steps, of which the first 13 were a run of their own."""
    command = [*options(images, workers=None, ema=False, accumulate=1, mixup=False), "--model.scheduler", "null"]
    command += ["--trainer.max_epochs", "null"]
    assert main([*command, "--trainer.max_steps", "20", *watching("whole")]) == 0
    expected = take_seen()
    assert main([*command, "--trainer.max_steps", "13", *watching("parts")]) == 0
    assert main([*command, "--trainer.max_steps", "20", *watching("parts")]) == 0
    assert_equal(take_seen(), expected)
    found, wanted = (torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True) for run in ("parts", "whole"))
    for key in "state_dict", "optimizer_states":
        assert_equal(found[key], wanted[key])


def test_a_run_that_stopped_early_stays_stopped_until_it_is_to_be_more_patient(images, capsys):
    command = [*options(images, workers=None, ema=False, accumulate=1, mixup=False), "--trainer.max_epochs", "9"]
    # No loss falls by as much as that.
    command += ["--trainer.callbacks+", "EarlyStopping", "--trainer.callbacks.monitor", "val/loss"]
    command += ["--trainer.callbacks.min_delta", "100", "--trainer.callbacks.patience"]
    for patience, epochs, trains in [("1", 2, True), ("1", 2, False), ("3", 4, True)]:
        capsys.readouterr()
        assert main([*command, patience, "--resume", "run"]) == 0
        assert ("nothing left to train" in capsys.readouterr().out) != trains
        saved = torch.load("run/checkpoints/last.ckpt", weights_only=True)
        assert saved["global_step"] == epochs * STEPS


def test_an_average_is_not_taken_for_weights_to_train_on(images, capsys):
    command = options(images, workers=None, ema=True, accumulate=1, mixup=False)
    assert main([*command, "--trainer.max_epochs", "1", "--resume", "run"]) == 0
    without = options(images, workers=None, ema=False, accumulate=1, mixup=False)
    capsys.readouterr()
    assert main([*without, "--resume", "run"]) == 2
    assert "holds a moving average; go on with --config" in capsys.readouterr().err


def test_what_is_typed_wins_over_the_checkpoint(images, capsys):
    command = options(images, workers=None, ema=False, accumulate=1, mixup=False)
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
