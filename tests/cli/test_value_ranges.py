"""Values of the right type that would train nothing or nonsense are refused before the run has a folder."""

import inspect
import math
import re
from typing import Union

import pytest
import torch
from lightning import Trainer
from torch import nn

from resnet_lightning import Augmentation, DigitsDataModule, ImageClassifier, InputError, create_model
from resnet_lightning.cli.command_line import run
from resnet_lightning.cli.parser import Parser
from resnet_lightning.training.processes import check_devices
from resnet_lightning.training.value_ranges import check_callback_options, check_trainer_options

CONFIG = """
model: {backbone: resnet20}
data: DigitsDataModule
trainer: {max_epochs: 1, limit_train_batches: 1, limit_val_batches: 1, limit_test_batches: 1}
"""

REFUSED = {
    "--resume=": "--resume is empty; give the folder of a run, or auto",
    "--trainer.default_root_dir=": "trainer.default_root_dir is empty; give a value, or leave it out",
    "--data.root=": "data.root is empty",
    "--data.predict_folder=": "data.predict_folder is empty",
    "--checkpoint.dirpath=": "checkpoint.dirpath is empty",
    "--trainer.max_epochs 0": "trainer.max_epochs is 0; give at least 1, or -1 for no limit",
    "--trainer.gradient_clip_val -1": "trainer.gradient_clip_val is -1; give a number of at least 0",
    "--trainer.accumulate_grad_batches 0": "trainer.accumulate_grad_batches is 0; give a number of at least 1",
    "--data.augment.cutout 100": "augment.cutout is 100; give at most the image's side of 8 pixels",
    "--data.mean [128]": "data.mean is [128.0]; give it for pixels in [0, 1]: 0.5 for 127.5",
    "--data.std [2]": "data.std is [2.0]; give it for pixels in [0, 1]",
    "--trainer.devices 99": "trainer.devices is 99; on a CPU, each is a process: give 1 to ",
    "--trainer.val_check_interval 00:00:00:00": "trainer.val_check_interval is 00:00:00:00; give more than no time",
    "--model.lr 1e308": "model.lr is 1e+308; give a number larger than 0 and at most 1e+30",
    "--model.optimizer_args {weight_decay:\\ .nan}": "model.optimizer_args.weight_decay is nan; give a number",
    "--trainer.callbacks+=EarlyStopping --trainer.callbacks.monitor val/loss --trainer.callbacks.patience -3": (
        "EarlyStopping.patience is -3; give a number of at least 0"
    ),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.items())
def test_a_run_of_nonsense_gets_no_folder(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(CONFIG)
    arguments = [word.replace("\0", " ") for word in options.replace("\\ ", "\0").split()]
    with pytest.raises(InputError) as caught:
        run(["fit", "--config", "mine.yaml", *arguments])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


# What only the data or the network show: the folder is there already, and is removed.
FOUND_LATE = {
    "--model.backbone_args {stem:\\ imagenet} --model.backbone resnet18": "an image of 8x8 is too small for this net",
    "--model.unfreeze {5:\\ layer3} --trainer.max_epochs 9 --trainer.max_steps 3": "model.unfreeze has the epoch 5",
    "--trainer.limit_test_batches 1e-9": "trainer.limit_test_batches is 1e-09, less than one of 3 batches",
}


@pytest.mark.parametrize("options", FOUND_LATE)
def test_a_run_that_cannot_begin_to_train_leaves_no_folder(tmp_path, monkeypatch, options):
    test_a_run_of_nonsense_gets_no_folder(tmp_path, monkeypatch, options, FOUND_LATE[options])


def test_files_of_others_stay_in_the_folder_of_a_run_that_cannot_begin(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(CONFIG)
    (tmp_path / "run").mkdir()
    too_deep = ["--model.backbone", "resnet18", "--model.backbone_args", "{stem: imagenet}"]
    (tmp_path / "run/notes.txt").write_text("mine")
    with pytest.raises(InputError, match="too small"):
        run(["fit", "--config", "mine.yaml", "--resume", "run", *too_deep])
    assert (tmp_path / "run/notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("accelerator", "devices"),
    [("cpu", 0), ("cpu", -1), ("cpu", "99"), ("cpu", [0, 1]), ("auto", 10**9), ("CPUAccelerator", 99), ("cpu", True)],
)
def test_a_cpu_gets_no_more_processes_than_it_has_cores(monkeypatch, accelerator, devices):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"^trainer\.devices is .*; on a CPU, each is a process: give 1 to \d+, since"):
        check_devices(accelerator, devices)
    for few in (1, "2", "auto"):
        check_devices(accelerator, few)
    check_devices("cuda", 99)  # Lightning compares with the devices that there are


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("max_epochs", value) for value in (0, -2)),
        *(("max_steps", value) for value in (0, -2)),
        *((name, -1) for name in ("min_epochs", "min_steps", "log_every_n_steps", "gradient_clip_val")),
        *(("gradient_clip_val", value) for value in (math.nan, math.inf)),
        *((name, 0) for name in ("accumulate_grad_batches", "check_val_every_n_epoch")),
        *((name, 0) for name in ("val_check_interval", "num_nodes")),
        *(("limit_train_batches", value) for value in (0, -1, 1.5, math.nan)),
        *((f"limit_{stage}_batches", value) for stage in ("val", "test", "predict") for value in (-1, -0.5, 1.01)),
        ("overfit_batches", -1),
        ("num_sanity_val_steps", -2),
        ("val_check_interval", 1.5),
        ("min_epochs", 11),
        *((name, 10**24) for name in ("max_epochs", "max_steps", "min_steps", "log_every_n_steps", "fast_dev_run")),
        *((f"limit_{stage}_batches", 10**24) for stage in ("train", "val", "test")),
        ("fast_dev_run", -1),
        *(
            (name, value)
            for name in ("max_time", "val_check_interval")
            for value in ("00:00:00:00", "x", "1:30", "99999999999:00:00:00", {}, {"seconds": -1}, {"days": "x"})
        ),
    ],
)  # fmt: skip
def test_the_trainers_numbers_have_ranges(option, value):
    shown = rf"'?{re.escape(str(value))}'?"
    with pytest.raises(InputError, match=rf"^trainer\.{option} is {shown}[;,]"):
        check_trainer_options({"max_epochs": 10, option: value}, training=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, -1) for name in ("patience", "annealing_epochs", "update_every_n_steps", "every_n_epochs")),
        *((name, 0) for name in ("steps_per_trial", "init_val", "max_trials", "num_training_steps")),
        *((name, value) for name in ("swa_lrs", "min_lr", "max_lr") for value in (-1, 0, math.nan, 1e31)),
        *(("decay", value) for value in (-0.5, 2, math.nan)),
        *((name, math.nan) for name in ("min_delta", "stopping_threshold", "anything")),
        *(("duration", value) for value in ("00:00:00:00", "x", {"days": -1}, "99999999999:00:00:00")),
        ("amount", 1.5),
        ("save_top_k", -2),
    ],
)
def test_the_numbers_of_callbacks_have_ranges(name, value):
    with pytest.raises(InputError, match=rf"^Timer\.{name} is "):
        check_callback_options("Timer", {name: value})


def test_usual_numbers_of_callbacks_are_accepted():
    usual = {"patience": 0, "decay": 0.999, "duration": "00:01:00:00", "amount": 0.5, "swa_lrs": [0.1, 0.2]}
    check_callback_options(
        "Timer", {**usual, "min_lr": 1e-8, "max_lr": 1.0, "min_delta": -0.1, "update_every_n_steps": 0}
    )
    with pytest.raises(InputError, match=r"min_lr is 1, and max_lr is 0\.5; give a larger max_lr"):
        check_callback_options("LearningRateFinder", {"min_lr": 1, "max_lr": 0.5})


def test_the_shortest_training_is_no_longer_than_the_longest():
    for unit in "epochs", "steps":
        with pytest.raises(InputError, match=rf"trainer\.min_{unit} is 9, but trainer\.max_{unit} is 8"):
            check_trainer_options({f"min_{unit}": 9, f"max_{unit}": 8}, training=True)


def test_usual_numbers_of_the_trainer_are_accepted():
    check_trainer_options({}, training=True)
    for option, values in {
        "max_epochs": (1, -1, None, 10**6),
        "max_steps": (1, -1),
        "gradient_clip_val": (None, 0, 0.5, 100),
        "limit_train_batches": (1, 1.0, 0.1, 10**9, None),
        "limit_val_batches": (0, 0.0, 1.0),
        "val_check_interval": (0.25, 1.0, 500, "00:01:00:00"),
        "check_val_every_n_epoch": (None, 1),
        "num_sanity_val_steps": (-1, 0),
        "log_every_n_steps": (0, 50),
        "max_time": (None, "00:00:10:00", "30:00:00:00", {"hours": 2}),
        "fast_dev_run": (True, False, 0, 3),
        "min_steps": (None, 10),
    }.items():
        for value in values:
            check_trainer_options({option: value}, training=True)
    check_trainer_options({"limit_train_batches": 0}, training=False)


def classifier(**options):
    return ImageClassifier("resnet20", in_chans=1, **options)


@pytest.mark.parametrize(
    ("optimizer", "name", "value"),
    [
        *(("SGD", "momentum", value) for value in (1, 1.5, math.nan, math.inf)),
        *(("SGD", "weight_decay", value) for value in (11, math.nan)),
        ("SGD", "dampening", 2),
        ("RMSprop", "alpha", 1.5),
    ],
)
def test_the_numbers_of_an_optimizer_have_ranges(optimizer, name, value):
    with pytest.raises(InputError) as caught:
        classifier(optimizer=optimizer, optimizer_args={name: value})
    assert f"model.optimizer_args.{name} is {value}; give a number of at least 0" in str(caught.value)


@pytest.mark.parametrize(
    ("scheduler", "options", "message"),
    [
        ("ExponentialLR", {"gamma": -0.5}, "gamma is -0.5; give a number larger than 0"),
        ("ExponentialLR", {"gamma": 10}, r"the learning rate becomes 1e\+31 in step 32"),
        ("StepLR", {"step_size": 10_000, "gamma": -1}, "gamma is -1"),
        ("StepLR", {"step_size": 0}, "step_size is 0; give a number of at least 1"),
        ("StepLR", {"step_size": 2.5}, "step_size is 2.5; give a whole number of steps"),
        ("StepLR", {"step_size": 1e30}, "step_size is 1e\\+30; give a number of at least 1 and at most"),
        ("StepLR", {"step_size": 3, "last_epoch": 5}, "last_epoch is 5; give -1, or leave it out"),
        (
            "MultiStepLR",
            {"milestones": [2, 3.5]},
            r"milestones is \[2, 3.5\]; give whole numbers of steps, or fractions",
        ),
        ("MultiStepLR", {"milestones": [True]}, r"milestones is \[True\]; give whole numbers"),
        ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 1.5}, "T_mult is 1.5; give a whole number"),
        ("CyclicLR", {"base_lr": 0.2, "max_lr": 0.1}, "base_lr is 0.2, larger than max_lr 0.1; give less"),
        ("ReduceLROnPlateau", {"patience": 0.5}, "patience is 0.5; give a whole number"),
        ("ReduceLROnPlateau", {"eps": 1}, "eps is 1; give a number of at least 0 and at most 0.1"),
        ("PolynomialLR", {"power": 1e30}, "power is 1e\\+30; give a number"),
        ("MultiStepLR", {"milestones": [-3]}, r"milestones is \[-3\]; give a number of at least 0"),
        ("CosineAnnealingLR", {"eta_min": -1}, "eta_min is -1"),
        ("CosineAnnealingLR", {"eta_min": 5}, "eta_min is 5; give a number of at least 0 and at most 0.1"),
        ("CosineAnnealingLR", {"T_max": 0}, "T_max is 0"),
        ("CosineAnnealingLR", {"T_max": -3}, "T_max is -3"),
        ("OneCycleLR", {"div_factor": -10}, "div_factor is -10"),
        ("OneCycleLR", {"final_div_factor": -10}, "final_div_factor is -10"),
        ("OneCycleLR", {"max_lr": -1}, "max_lr is -1"),
        ("PolynomialLR", {"power": -3}, "power is -3"),
        ("PolynomialLR", {"total_iters": -3}, "total_iters is -3"),
        ("ReduceLROnPlateau", {"factor": -0.5}, "factor is -0.5"),
        ("ReduceLROnPlateau", {"patience": -5}, "patience is -5"),
        ("ReduceLROnPlateau", {"min_lr": 0.2}, "min_lr is 0.2; give a number of at least 0 and at most 0.1"),
        ("CyclicLR", {"base_lr": -1}, "base_lr is -1"),
        ("value_range_schedules.Negative", {}, "the learning rate becomes -0.1 in step 7"),
        ("value_range_schedules.NotANumber", {}, "the learning rate becomes nan in step 3"),
    ],
)
def test_a_schedule_keeps_the_learning_rate_in_range(scheduler, options, message):
    with pytest.raises(InputError, match=message):
        classifier(scheduler=scheduler, scheduler_args=options)


def test_usual_schedules_are_accepted():
    for scheduler, options in (
        ("OneCycleLR", {"pct_start": 0.001}),
        ("OneCycleLR", {"total_steps": 500}),
        ("CosineAnnealingLR", {"eta_min": 1e-5}),
        ("CosineAnnealingWarmRestarts", {"T_0": 10}),
        ("MultiStepLR", {"milestones": [0.5, 0.75], "gamma": 0.1}),
        ("MultiStepLR", {"milestones": [1e3, 2e3]}),
        ("StepLR", {"step_size": 1e3}),
        ("StepLR", {"step_size": 30}),
        ("ExponentialLR", {"gamma": 1.005}),  # as in a range test of the learning rate
        ("PolynomialLR", {"power": 2}),
        ("ConstantLR", {}),
        ("CyclicLR", {"base_lr": 0.001, "max_lr": 0.1}),
        ("ReduceLROnPlateau", {"patience": 0, "factor": 0.5}),
    ):
        assert classifier(scheduler=scheduler, scheduler_args=options).hparams["scheduler"] == scheduler


# Truth values.


@pytest.mark.parametrize("value", ["no", "false", "", 2, 0.5, None, [True]])
def test_only_true_and_false_are_truth_values(value):
    with pytest.raises(InputError, match=r"zero_init_residual of model 'resnet20' is .*; give true or false"):
        create_model("resnet20", zero_init_residual=value)
    for name in ("channels_last", "compile"):
        with pytest.raises(InputError, match=rf"model\.{name} is .*; give true or false"):
            classifier(**{name: value})


def test_truth_values_of_other_libraries_are_checked_too():
    with pytest.raises(InputError, match=r"zero_init_residual of backbone 'torchvision\.models\.resnet18' is 'no'"):
        ImageClassifier("torchvision.models.resnet18", backbone_args={"zero_init_residual": "no"})
    with pytest.raises(InputError, match="'nesterov': 'no'"):
        classifier(optimizer_args={"nesterov": "no", "momentum": 0.9})
    assert isinstance(create_model("resnet20", zero_init_residual=True), nn.Module)


# Data.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mean", [128]), ("mean", [-0.1]), ("mean", [math.nan]), ("mean", [1.01]),
        ("std", [0]), ("std", [2]), ("std", [-1]), ("std", [math.inf]), ("std", [255]),
        ("batch_size", 0), ("batch_size", -1), ("val_split", 1), ("val_split", -0.1), ("val_split", math.nan),
        ("train_fraction", 0), ("train_fraction", math.nan), ("num_folds", 1), ("fold", 1),
    ],
)  # fmt: skip
def test_the_numbers_of_a_data_set_have_ranges(name, value):
    with pytest.raises(InputError, match=rf"data\.{name} is "):
        DigitsDataModule(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("brightness", "contrast", "saturation") for value in (-0.1, 11, math.nan)),
        *((name, value) for name in ("mixup", "cutmix") for value in (-1, 1e6, math.nan, math.inf)),
        *(("rotate", value) for value in (-1, 181, math.nan)),
        *((name, value) for name in ("translate", "erase", "resized_crop") for value in (-0.1, 1.1, math.nan)),
        *(("scale", value) for value in (-0.1, 1, math.nan)),
        *(("hue", value) for value in (-0.1, 0.6)),
        *((name, -1) for name in ("crop", "cutout")),
        ("flip", "no"),
    ],
)  # fmt: skip
def test_the_numbers_of_an_augmentation_have_ranges(name, value):
    with pytest.raises(InputError, match=rf"augment\.{name} is "):
        Augmentation(**{name: value})


def test_a_square_that_hides_the_image_is_refused_at_once():
    with pytest.raises(InputError, match=r"augment\.cutout is 9; give at most the image's side of 8 pixels"):
        DigitsDataModule(augment=Augmentation(cutout=9))
    data = DigitsDataModule(augment=Augmentation(cutout=8), batch_size=2)
    assert torch.isfinite(next(iter(data.train_dataloader()))[0]).all()


def test_a_number_of_batches_stays_an_integer_if_another_library_cached_the_annotation(monkeypatch):
    annotations = inspect.unwrap(Trainer.__init__).__annotations__
    monkeypatch.setitem(annotations, "limit_train_batches", Union[float, int, None])  # noqa: UP007 (the cached kind)
    parser = Parser()
    parser.add_lightning_class_args(Trainer, "trainer")
    for text, kind in ("1", int), ("1.0", float), ("8", int), ("null", type(None)):
        assert type(parser.parse_args([f"--trainer.limit_train_batches={text}"]).trainer.limit_train_batches) is kind
