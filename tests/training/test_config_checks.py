"""Parts of a training that work together, and errors that name those that cannot."""

from pathlib import Path

import pytest
import torch
import yaml

from repository import ROOT
from resnet_lightning.cli.main import main
from runs_alike import DIGITS, SMALL

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")

FIT = ["fit", "--config", DIGITS, "--trainer.limit_train_batches", "5"]
SHORT = [*FIT, "--trainer.limit_val_batches", "1", "--trainer.limit_test_batches", "1", "--trainer.max_epochs", "2"]


PARTS = {
    "ema": {"trainer": {"callbacks+": [{"class_path": "MovingAverage", "init_args": {"decay": 0.5}}]}},
    "clipping": {"trainer": {"gradient_clip_val": 0.5}},
    "accumulation": {"trainer": {"accumulate_grad_batches": 2}},
    "early-stopping": {
        "trainer": {"callbacks+": [{"class_path": "EarlyStopping", "init_args": {"monitor": "val/loss"}}]}
    },
    "frozen": {"model": {"backbone_args": {"frozen_stages": 2}}},
    "half": {"trainer": {"precision": "bf16-mixed"}},
}
# Each two parts are together in one of them, each part is without each other one in another.
COMBINATIONS = [
    ("ema", "clipping", "accumulation", "early-stopping", "frozen", "half"),
    ("ema", "accumulation", "half"),
    ("ema", "frozen"),
    ("clipping", "accumulation", "early-stopping"),
    ("clipping", "frozen"),
    ("early-stopping", "half"),
]


def write(names: tuple[str, ...]) -> list[str]:
    for name in names:
        Path(f"{name}.yaml").write_text(yaml.safe_dump(PARTS[name]))
    return [argument for name in names for argument in ("--config", f"{name}.yaml")]


@pytest.mark.slow
@pytest.mark.parametrize("names", COMBINATIONS, ids="-".join)
def test_any_two_parts_work_together(names):
    """They train, the trained part has changed and the frozen one has not, and the run resumes."""
    options = [*SHORT, *(SMALL if "frozen" not in names else []), *write(names)]
    assert main([*options, "--resume", "run"]) == 0
    saved = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == (6 if "accumulation" in names else 10)
    assert ("averaging_state" in saved) == ("ema" in names)
    assert main([*options, "--trainer.max_epochs", "3", "--resume", "run"]) == 0
    after = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    assert after["global_step"] == 1.5 * saved["global_step"]
    for key, value in after["state_dict"].items():
        frozen = "frozen" in names and key.split(".")[1] in ("conv1", "bn1", "layer1", "layer2")
        if key.endswith("weight"):
            assert torch.equal(saved["state_dict"][key], value) == frozen, key


REFUSED = {
    "fused": (
        "--model.optimizer_args {'fused':true} --trainer.precision bf16-mixed --trainer.gradient_clip_val 1",
        "a fused optimizer cannot clip gradients in bf16-mixed; leave out trainer.gradient_clip_val or fused",
    ),
    "finetuning": (
        "--trainer.callbacks+ BackboneFinetuning",
        "BackboneFinetuning adds weights to the optimizer in the middle of the schedule; freeze stages with",
    ),
    "misspelt": (
        "--trainer.callbacks+ EarlyStopping --trainer.callbacks.monitor val/los",
        "EarlyStopping.monitor is 'val/los', which is not measured; did you mean 'val/loss'",
    ),
    "best-misspelt": ("--checkpoint.monitor acc", "checkpoint.monitor is 'acc', which is not measured; "),
    "no-validation": (
        "--data.val_split 0 --trainer.callbacks+ EarlyStopping --trainer.callbacks.monitor val/loss",
        "EarlyStopping.monitor is val/loss, but this run does not validate; set data.val_split",
    ),
    "no-validation-batches": (
        "--trainer.limit_val_batches 0",
        "checkpoint.monitor is val/loss, but this run does not validate",
    ),
    "machines": (
        "--trainer.num_nodes 2 --trainer.strategy ddp",
        "trainer.num_nodes is 2, but neither torchrun nor SLURM started this process; on a single machine, give",
    ),
    "sync-batchnorm": (
        "--trainer.sync_batchnorm true --trainer.accelerator cpu --trainer.strategy ddp",
        "sync_batchnorm",
    ),
    "pieces": (
        f"--config {ROOT}/configs/overlays/fsdp.yaml --trainer.strategy.save_distributed_checkpoint true",
        "checkpoints must be single files; give save_distributed_checkpoint: false",
    ),
    "fsdp-without-momentum": (
        f"--config {ROOT}/configs/overlays/fsdp.yaml --model.optimizer_args null",
        "FSDP cannot load the checkpoints of SGD without momentum; set momentum in model.optimizer_args",
    ),
    "plateau": (
        "--data.val_split 0 --model.scheduler ReduceLROnPlateau --model.scheduler_args null",
        "ReduceLROnPlateau monitors val/loss, but this run does not validate; set data.val_split",
    ),
}


@pytest.mark.parametrize(("options", "said"), REFUSED.values(), ids=REFUSED)
def test_parts_that_cannot_work_together_are_refused_before_training(options, said, capsys):
    assert main([*FIT, *options.split()]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not Path("runs").exists()
