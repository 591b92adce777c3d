"""A run looks for larger accuracies and smaller losses, whatever mode stood beside another metric."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from commands import error_line
from resnet_lightning.cli.main import main
from resnet_lightning.training.monitors import best_mode, likely_mode
from runs_alike import DIGITS, SMALL

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")

FIT = ["fit", "--config", DIGITS, *SMALL, "--trainer.limit_train_batches", "1", "--trainer.max_epochs", "1"]
FIT += ["--trainer.limit_val_batches", "1", "--trainer.limit_test_batches", "1"]


def config(name="more.yaml", **content):
    Path(name).write_text(yaml.safe_dump(content))
    return ["--config", name]


def callback(name="EarlyStopping", **arguments):
    return {"trainer": {"callbacks+": [{"class_path": name, "init_args": arguments}]}}


def modes(*more):
    """The modes of the checkpoint and of the callbacks, in the config that the run writes."""
    assert main([*FIT, *more, "--resume", "run"]) == 0
    found = yaml.safe_load(Path("run/config.yaml").read_text())
    callbacks = found["trainer"]["callbacks"] or []
    state_keys = torch.load("run/checkpoints/last.ckpt", weights_only=True)["callbacks"]
    assert any(f"'mode': '{found['checkpoint']['mode']}'" in key for key in state_keys if "BestCheckpoint" in key)
    return found["checkpoint"]["mode"], [entry["init_args"]["mode"] for entry in callbacks]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layers", "options", "mode"),
    [
        ([], ["--checkpoint.monitor", "val/acc"], "max"),  # beside `monitor: val/loss, mode: min` in digits.yaml
        ([], ["--checkpoint.monitor=train/acc"], "max"),
        ([], ["--checkpoint.monitor", "val/acc", "--checkpoint.mode", "max"], "max"),
        ([{"checkpoint": {"monitor": "val/acc5"}}], [], "max"),
        ([{"checkpoint": {"monitor": "val/acc", "mode": "max"}}], ["--checkpoint.monitor", "val/loss"], "min"),
        ([{"checkpoint": {"monitor": "val/acc", "mode": "max"}}, {"checkpoint": {"monitor": "val/loss"}}], [], "min"),
    ],
)
def test_the_mode_of_the_best_checkpoint_follows_the_metric(layers, options, mode):
    configs = [argument for i, layer in enumerate(layers) for argument in config(f"{i}.yaml", **layer)]
    assert modes(*configs, *options)[0] == mode


METRICS = {"f1": {"class_path": "MulticlassF1Score", "init_args": {"average": "macro"}}, "far": "HammingDistance"}


@pytest.mark.parametrize(("metric", "mode"), [("f1", "max"), ("far", "min")])
def test_the_mode_follows_a_metric_of_the_config(metric, mode):
    other = {"min": "max", "max": "min"}[mode]
    before = config("before.yaml", checkpoint={"monitor": {"min": "val/acc", "max": "val/loss"}[mode], "mode": other})
    more = config(model={"metrics": METRICS}, **callback(monitor=f"val/{metric}"))
    assert modes(*before, *more, f"--checkpoint.monitor=val/{metric}") == (mode, [mode])


def test_the_mode_of_a_metric_of_the_config_can_be_contradicted(capsys):
    more = config(model={"metrics": METRICS}, checkpoint={"monitor": "val/far", "mode": "max"})
    assert "checkpoint.mode is max, but val/far is better when it is smaller" in error_line(capsys, *FIT, *more)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EarlyStopping", "lightning.pytorch.callbacks.EarlyStopping", "ModelCheckpoint"])
def test_the_modes_of_callbacks_follow_their_metrics(name):
    content = callback(name, monitor="val/acc")
    content["trainer"]["callbacks+"].append({"class_path": "EarlyStopping", "init_args": {"monitor": "val/loss"}})
    assert modes(*config(**content))[1] == ["max", "min"]


def test_a_callback_on_the_command_line():
    assert modes("--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/acc") == ("min", ["max"])


def test_a_metric_on_the_command_line_leaves_the_mode_of_the_config_behind():
    more = config(**callback(monitor="val/loss", mode="min"))
    assert modes(*more, "--trainer.callbacks.monitor=val/acc")[1] == ["max"]


ACC_MIN = "mode is min, but val/acc is better when it is larger; give max, or leave it out"
LOSS_MAX = "mode is max, but val/loss is better when it is smaller; give min, or leave it out"


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ({}, ["--checkpoint.mode", "max"], f"checkpoint.{LOSS_MAX}"),
        ({}, ["--checkpoint.monitor", "val/acc", "--checkpoint.mode=min"], f"checkpoint.{ACC_MIN}"),
        ({"checkpoint": {"monitor": "val/acc", "mode": "min"}}, [], f"checkpoint.{ACC_MIN}"),
        (callback(monitor="val/acc", mode="min"), [], f"EarlyStopping.{ACC_MIN}"),
        (callback(monitor="val/acc"), ["--trainer.callbacks.mode=min"], f"EarlyStopping.{ACC_MIN}"),
        (callback("ModelCheckpoint", monitor="val/loss", mode="max"), [], f"ModelCheckpoint.{LOSS_MAX}"),
        (
            {"model": {"scheduler": "ReduceLROnPlateau", "scheduler_args": {"mode": "max"}}},
            [],
            "model.scheduler_args.mode is max, but ReduceLROnPlateau monitors val/loss, which is better when it is "
            "smaller; leave mode out",
        ),
    ],
)
def test_a_mode_that_contradicts_its_metric_is_refused(content, options, said, capsys):
    assert said in error_line(capsys, *FIT, *config(**content), *options)


def test_the_config_in_a_checkpoint_is_not_what_was_typed():
    """Older runs have trained with the wrong mode, which their configs contain."""
    assert main([*FIT, *config(**callback(monitor="val/acc", patience=9)), "--resume", "run"]) == 0
    last = Path("run/checkpoints/last.ckpt")
    saved = torch.load(last, weights_only=True)
    saved["run"]["config"] = saved["run"]["config"].replace("mode: max", "mode: min")
    torch.save(saved, last)
    assert main(["fit", "--resume", "run", "--trainer.max_epochs", "2"]) == 0
    assert "mode: max" in Path("run/config.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *[("val_loss", "min"), ("valid/top1_accuracy", "max"), ("val-error", "min"), ("lossless", None)],
        *[
            ("score", None),
            ("val/error_rate", "min"),
            ("val/acc_loss", "min"),
            ("val_ece", "min"),
            ("f1/cat", "max"),
            ("val/mAP", "max"),
        ],
    ],
)
def test_the_last_word_of_a_name_suggests_a_mode(name, mode):
    assert likely_mode(name) == mode


def test_the_mode_of_a_metric_of_one_of_several_loaders():
    assert (best_mode("val/acc/1", {}), best_mode("val/loss/night", {})) == ("max", "min")


# Runs that end early.


def run_json():
    return json.loads(Path("run/run.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (callback(monitor="val/acc", patience=1, min_delta=1.0), [], "EarlyStopping: val/acc has not improved on "),
        (callback(monitor="val/acc", stopping_threshold=0.0), [], "val/acc has reached the stopping_threshold 0.0"),
        ({}, ["--trainer.max_time", "00:00:00:01", "--trainer.max_epochs", "999"], "the time of trainer.max_time"),
    ],
    ids=["patience", "threshold", "time"],
)
def test_a_run_that_ends_early_says_why(content, options, said, capsys):
    more = config(**content) if content else []
    assert main([*FIT, "--trainer.max_epochs", "9", *more, *options, "--resume", "run"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "ended early" in line]
    assert said in line
    assert run_json()["state"] == "finished"
    assert run_json()["reason"] in line


def test_a_run_that_ends_as_planned_gives_no_reason(capsys):
    assert main([*FIT, *config(**callback(monitor="val/acc", stopping_threshold=0.0)), "--resume", "run"]) == 0
    assert "ended early" not in capsys.readouterr().out
    assert "reason" not in run_json()
