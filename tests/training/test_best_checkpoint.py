"""The model that is tested and reported is the one that was best, whatever checkpoints a run keeps."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from lightning import Callback

from commands import error_line
from resnet_lightning.cli.main import main
from resnet_lightning.runs.checkpoint_io import is_whole
from runs_alike import DIGITS, SMALL, with_callbacks

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")

# The third epoch is the best: the learning rate of the others behind it is far too large.
ERRATIC = [
    *("--model.lr", "0.05", "--model.optimizer_args", "{momentum: 0.5}", "--model.scheduler", "MultiStepLR"),
    *("--model.scheduler_args", "{milestones: [24], gamma: 30}", "--trainer.limit_train_batches", "8"),
]
FIT = ["fit", "--config", DIGITS, *SMALL, *ERRATIC, "--trainer.max_epochs", "5"]


def fit(*more, folder="run"):
    assert main([*FIT, *more, "--resume", folder]) == 0
    return Path(folder) / "checkpoints"


def scores(checkpoints, metric="val/loss"):
    """The metric of each epoch."""
    rows = csv.DictReader((checkpoints.parent / "metrics.csv").read_text().splitlines())
    return [float(row[metric]) for row in rows if row.get(metric)]


def epoch_of(path):
    return torch.load(path, weights_only=True)["epoch"]


def names(checkpoints):
    return sorted(path.name for path in checkpoints.glob("*.ckpt"))


def the_tested(checkpoints):
    return json.loads((checkpoints.parent / "evaluation.json").read_text())["checkpoint"]


def best_epoch(checkpoints):
    values = scores(checkpoints)
    best = values.index(min(values))
    assert 0 <= best < len(values) - 1, f"not a test: {values}"
    return best


@pytest.mark.slow
@pytest.mark.parametrize("top_k", [1, 2, 3, -1])
def test_best_ckpt_is_the_best_however_many_are_kept(top_k):
    checkpoints = fit("--checkpoint.save_top_k", str(top_k))
    assert epoch_of(checkpoints / "best.ckpt") == best_epoch(checkpoints)
    assert the_tested(checkpoints) == "best.ckpt"
    kept = [name for name in names(checkpoints) if name not in ("best.ckpt", "last.ckpt", "previous.ckpt")]
    values = scores(checkpoints)
    best = sorted(range(5), key=values.__getitem__)[: top_k if top_k > 0 else 5]
    assert kept == ([] if top_k == 1 else [f"best-epoch={epoch}-step={8 * epoch + 8}.ckpt" for epoch in sorted(best)])
    for name in kept:
        assert f"epoch={epoch_of(checkpoints / name)}-" in name
        assert is_whole(checkpoints / name)


@pytest.mark.slow
def test_names_with_one_field_stay_distinct():
    """Two scores may be the same after rounding."""
    checkpoints = fit("--checkpoint.save_top_k", "2", "--checkpoint.filename", "at_{epoch:.0f}_{none}")
    assert len([name for name in names(checkpoints) if name.startswith("at_")]) == 2
    assert epoch_of(checkpoints / "best.ckpt") == best_epoch(checkpoints)


def test_without_a_best_checkpoint_the_last_one_is_tested():
    checkpoints = fit("--checkpoint.save_top_k", "0")
    assert names(checkpoints) == ["last.ckpt", "previous.ckpt"]
    assert the_tested(checkpoints) == "last.ckpt"


@pytest.mark.slow
def test_a_metric_of_the_training_is_that_of_its_own_epoch():
    checkpoints = fit("--checkpoint.monitor", "train/loss")
    values = scores(checkpoints, "train/loss")
    assert epoch_of(checkpoints / "best.ckpt") == values.index(min(values))


@pytest.mark.slow
@pytest.mark.parametrize(
    "callback",
    [
        {"ModelCheckpoint": {}},
        {"ModelCheckpoint": {"monitor": "val/acc", "mode": "max", "filename": "mine", "every_n_epochs": 2}},
        {"OnExceptionCheckpoint": {"dirpath": "exceptions"}},
        {"resnet_lightning.training.callbacks.BestCheckpoint": {"monitor": "train/loss", "filename": "mine"}},
    ],
    ids=["newest", "another metric", "exception", "another best"],
)
def test_other_checkpoint_callbacks_do_not_choose_what_is_tested(callback):
    checkpoints = fit(*with_callbacks("more", **callback))
    assert the_tested(checkpoints) == "best.ckpt"
    assert epoch_of(checkpoints / "best.ckpt") == best_epoch(checkpoints)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--checkpoint.filename last", "checkpoint.filename is 'last', the name of a checkpoint that the run resumes"),
        ("--checkpoint.filename LAST", "checkpoint.filename is 'LAST', the name of a checkpoint that the run resumes"),
        ("--checkpoint.filename ./previous", "checkpoint.filename is './previous', the name of"),
        ("--checkpoint.filename ../best", "checkpoint.filename is '../best'; give the name of a file"),
        ("--checkpoint.filename {epoch", "checkpoint.filename is '{epoch'; write fields as in '{epoch}-{step}'"),
        ("--checkpoint.save_last true", "checkpoint.save_last is True; a run always keeps last.ckpt"),
        ("--checkpoint.save_last link", "checkpoint.save_last is 'link'; a run always keeps last.ckpt"),
        ("--checkpoint.save_weights_only true", "lightning export --format safetensors"),
        ("--checkpoint.save_on_exception true", "add OnExceptionCheckpoint to trainer.callbacks"),
        ("--checkpoint.save_top_k -2", "checkpoint.save_top_k is -2; give -1 (all), 0 (none) or 1 or more"),
        ("--checkpoint.monitor null --checkpoint.save_top_k 2", "since checkpoint.monitor is null"),
        ("--checkpoint.every_n_train_steps 3", "but val/loss is measured in the validation only"),
        ("--checkpoint.monitor train/acc --checkpoint.every_n_train_steps 3", "at the end of the epoch only"),
        (
            "--checkpoint.save_on_train_epoch_end true --trainer.check_val_every_n_epoch 2",
            "val/loss is not measured at the end of each epoch",
        ),
        (
            "--checkpoint.monitor train/loss --checkpoint.save_on_train_epoch_end false",
            "train/loss is measured at the end of the epoch, after the validation",
        ),
        (
            "--trainer.callbacks+=ModelCheckpoint --trainer.callbacks.filename=last",
            "ModelCheckpoint.filename is 'last'",
        ),
        (
            "--trainer.callbacks+=ModelCheckpoint --trainer.callbacks.filename=best",
            "ModelCheckpoint.filename is 'best'",
        ),
        ("--trainer.callbacks+=ModelCheckpoint --trainer.callbacks.save_last=true", "ModelCheckpoint.save_last would"),
    ],
)
def test_options_that_would_lose_the_best_or_the_last_are_refused(options, said, capsys):
    assert said in error_line(capsys, *FIT, *options.split())


def test_a_new_run_does_not_start_from_what_an_exception_left(capsys):
    Path("exceptions").mkdir()
    Path("exceptions/on_exception.ckpt").touch()
    more = with_callbacks("more", OnExceptionCheckpoint={"dirpath": "exceptions"})
    assert "OnExceptionCheckpoint has left 'exceptions/on_exception.ckpt'" in error_line(capsys, *FIT, *more)


def test_a_time_interval_is_refused(capsys):
    Path("more.yaml").write_text(yaml.safe_dump({"checkpoint": {"train_time_interval": "00:00:10"}}))
    assert "checkpoint.train_time_interval is" in error_line(capsys, *FIT, "--config", "more.yaml")


# Damaged, copied and overwritten.


def own_callbacks(name):
    """Writes a config with a callback of this module; returns the options that load it."""
    Path("more.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [{"class_path": f"{__name__}.{name}"}]}}))
    return ["--config", "more.yaml"]


class Damage(Callback):
    """Flips a bit of the best checkpoint after the training."""

    def on_fit_end(self, trainer, pl_module):
        (best,) = Path("run/checkpoints").glob("best.ckpt")
        content = bytearray(best.read_bytes())
        content[len(content) // 2] ^= 4
        best.write_bytes(content)


def test_the_test_after_the_training_verifies_the_best_checkpoint(capsys):
    assert main([*FIT, *own_callbacks("Damage"), "--resume", "run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the checkpoint 'run/checkpoints/best.ckpt' is damaged" in line
    state = json.loads(Path("run/run.json").read_text())
    assert state["state"] == "failed"
    assert state["reason"] in line
    assert not Path("run/evaluation.json").exists()


LONGER = ["--trainer.max_epochs", "6"]  # the sixth epoch is worse than the first ones


@pytest.mark.slow
@pytest.mark.parametrize("top_k", [1, 2])
def test_a_copy_is_tested_with_its_own_best_checkpoint(top_k):
    checkpoints = fit("--checkpoint.save_top_k", str(top_k))
    best = best_epoch(checkpoints)
    shutil.copytree("run", "copy")
    for path in checkpoints.iterdir():
        path.write_bytes(b"the original has gone on")
    copied = fit("--checkpoint.save_top_k", str(top_k), *LONGER, folder="copy")
    assert epoch_of(copied / "best.ckpt") == best
    state = next(
        value
        for key, value in torch.load(copied / "last.ckpt", weights_only=True)["callbacks"].items()
        if key.startswith("BestCheckpoint")
    )
    assert state["best_model_path"].startswith("copy/checkpoints/best")
    assert all(path.startswith("copy/checkpoints/best") for path in state["best_k_models"])


@pytest.mark.slow
def test_other_checkpoint_callbacks_of_a_copy_use_its_folder():
    more = with_callbacks("more", ModelCheckpoint={"monitor": "val/acc", "mode": "max", "filename": "mine"})
    fit(*more)
    shutil.move("run", "moved")
    copied = fit(*more, *LONGER, folder="moved")
    callbacks = torch.load(copied / "last.ckpt", weights_only=True)["callbacks"]
    state = next(value for key, value in callbacks.items() if key.startswith("ModelCheckpoint"))
    assert state["best_model_path"] == "moved/checkpoints/mine.ckpt"
    assert list(state["best_k_models"]) == ["moved/checkpoints/mine.ckpt"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["damaged", "missing", "overwritten"])
def test_a_best_checkpoint_that_is_not_what_it_was_is_not_reported(how, capsys):
    checkpoints = fit()
    best = checkpoints / "best.ckpt"
    if how == "damaged":
        best.write_bytes(best.read_bytes()[:-1])
    elif how == "missing":
        best.unlink()
    else:
        shutil.copy(checkpoints / "last.ckpt", best)
    capsys.readouterr()
    fit(*LONGER)
    assert "1 of the best checkpoints so far cannot be kept" in " ".join("".join(capsys.readouterr()).split())
    assert epoch_of(best) == 5
    assert the_tested(checkpoints) == "best.ckpt"


@pytest.mark.slow
@pytest.mark.parametrize("top_k", [1, 2])
def test_a_run_that_starts_from_the_checkpoint_of_another_changes_nothing_there(top_k):
    checkpoints = fit("--checkpoint.save_top_k", str(top_k), "--trainer.max_epochs", "2")
    before = {path: path.stat().st_mtime_ns for path in [checkpoints, *checkpoints.iterdir()]}
    start = ["--checkpoint.save_top_k", str(top_k), "--ckpt_path", str(checkpoints / "last.ckpt")]
    assert main([*FIT, *start]) == 0
    assert len(list(Path("runs/digits").iterdir())) == 1
    assert {path: path.stat().st_mtime_ns for path in [checkpoints, *checkpoints.iterdir()]} == before


class CopyOfTheRun(Callback):
    """Copies the run's folder in the middle of the third epoch, as a process that is killed there would leave it."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (2, 6):
            shutil.copytree("run", "killed")


class StepsOfTheBest(Callback):
    """Writes the steps of the best checkpoints, as the resumed run finds them, to a file."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 2:
            paths = Path("killed/checkpoints").glob("best*.ckpt")
            steps = {torch.load(path, weights_only=True)["global_step"] for path in paths}
            Path("steps.json").write_text(json.dumps(sorted(steps)))


@pytest.mark.slow
@pytest.mark.parametrize(("top_k", "before"), [(1, [16]), (2, [12, 16])])
def test_a_kill_between_two_saves_loses_no_best_checkpoint(top_k, before, capsys):
    """The validation in the middle of the epoch was the best so far: it replaces what last.ckpt counts as best."""
    more = ["--checkpoint.save_top_k", str(top_k), "--trainer.val_check_interval", "4"]
    checkpoints = fit(*more, *own_callbacks("CopyOfTheRun"))
    whole = {name: torch.load(checkpoints / name, weights_only=True)["global_step"] for name in names(checkpoints)}
    assert len(list(Path("killed/checkpoints").glob("*.kept"))) == 1
    capsys.readouterr()

    resumed = fit(*more, *own_callbacks("StepsOfTheBest"), folder="killed")
    assert "cannot be kept" not in " ".join("".join(capsys.readouterr()).split())
    steps = json.loads(Path("steps.json").read_text())
    assert [step for step in steps if step <= 16] == before
    assert {name: torch.load(resumed / name, weights_only=True)["global_step"] for name in names(resumed)} == whole
    assert not list(resumed.glob("*.kept"))
