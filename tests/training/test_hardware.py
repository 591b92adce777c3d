"""What is chosen by the hardware and the length of a run: precision, compiling and threads."""

from pathlib import Path

import pytest
import torch
from lightning import Trainer
from torch import nn

from resnet_lightning import create_model
from resnet_lightning.cli.main import main
from resnet_lightning.data import DigitsDataModule
from resnet_lightning.errors import InputError
from resnet_lightning.training.callbacks import FittingThreads
from resnet_lightning.training.classifier import ImageClassifier
from resnet_lightning.training.compiling import operations_of_training, why_not_compiled
from resnet_lightning.training.hardware import bf16_in_words, device_of, has_fast_bf16, precision_for, threads_that_fit


def test_bf16_is_chosen_where_the_cpu_has_units_for_it():
    has_units = "amx_bf16" in Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").is_file() else False
    assert has_fast_bf16("cpu") is has_units
    assert precision_for("cpu") == ("bf16-mixed" if has_units else "32-true")
    assert bf16_in_words("cpu") == f"this CPU has {'' if has_units else 'no '}AMX units for bfloat16"
    assert precision_for("tpu") == "32-true"
    assert device_of("cpu") == "cpu"
    assert device_of("auto") in ("cpu", "cuda", "mps")


@pytest.mark.parametrize(
    ("content", "processes", "expected"),
    [
        ("max 100000", 1, 99),
        ("200000 100000", 1, 2),
        ("250000 100000", 1, 2),
        ("50000 100000", 1, 1),
        ("400000 100000", 2, 2),
    ],
)
def test_threads_follow_the_computing_time_of_a_container(content, processes, expected, tmp_path):
    file = tmp_path / "cpu.max"
    file.write_text(f"{content}\n")
    cores = threads_that_fit(processes, tmp_path / "missing")
    assert threads_that_fit(processes, file) == min(expected, cores)
    assert cores >= 1


def test_the_number_of_threads_is_that_of_the_variable_if_it_is_set(monkeypatch):
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(64)
        monkeypatch.setenv("OMP_NUM_THREADS", "64")
        FittingThreads().setup(trainer, nn.Identity(), "fit")
        assert torch.get_num_threads() == 64
        monkeypatch.delenv("OMP_NUM_THREADS")
        FittingThreads().setup(trainer, nn.Identity(), "fit")
        assert torch.get_num_threads() == min(64, threads_that_fit())
    finally:
        torch.set_num_threads(before)


def test_the_operations_of_a_training_are_three_times_those_of_the_forward_pass():
    net = create_model("resnet20")
    weights = net.conv1.weight
    # 40.6 million multiply-adds for an image of 32x32, as published.
    assert operations_of_training(net, (32, 32), 50_000) == pytest.approx(50_000 * 6 * 40.6e6, rel=0.02)
    assert net.conv1.weight is weights
    assert net.training
    assert operations_of_training(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (32, 32), 10) == 0


def test_compiling_pays_back_in_a_long_run_only():
    assert "would pay back in a run of 100 times the length" in why_not_compiled(1e14, "cuda", "bf16-mixed") or (
        "no compiler" in why_not_compiled(1e14, "cuda", "bf16-mixed")
    )
    assert why_not_compiled(1e14, "cuda", "bf16-mixed", steps=10_000) in ("", "there is no compiler")
    assert why_not_compiled(1e30, "cpu", "32-true") == "gains nothing on this CPU"
    assert why_not_compiled(1e30, "mps", "32-true") == "not tried on 'mps'"
    assert why_not_compiled(0, "cpu", "32-true")


@pytest.mark.slow
@pytest.mark.usefixtures("in_an_empty_folder", "without_figures")
def test_the_overlay_trains_resumes_exactly_and_names_its_choices(capsys):
    short = ["--trainer.limit_train_batches", "3", "--trainer.accelerator", "cpu"]
    command = ["fit", "--config", "digits", "--overlay", "fast", "--trainer.max_epochs", "2", *short]
    assert main([*command, "--resume", "whole"]) == 0
    line = " ".join(capsys.readouterr().out.split())
    assert f"precision: {precision_for('cpu')} ({bf16_in_words('cpu')}); not compiled (" in line
    assert main([*command, "--resume", "parts", "--stop_after", "1"]) == 0
    assert main([*command, "--resume", "parts"]) == 0
    whole, parts = (torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True) for run in ("whole", "parts"))
    assert all(torch.equal(value, parts["state_dict"][name]) for name, value in whole["state_dict"].items())
    assert whole["compiled"] is False
    capsys.readouterr()
    if not has_fast_bf16("cpu"):
        assert main(["fit", "--config", "digits", "--overlay", "bf16", "--trainer.max_epochs", "1", *short]) == 0
        assert "bf16-mixed is slower here than 32-true" in capsys.readouterr().out


@pytest.mark.slow
def test_cuda_graphs_do_not_accumulate_gradients():
    module = ImageClassifier("resnet20", in_chans=1, compile="reduce-overhead")
    options = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", max_epochs=1, accumulate_grad_batches=2, **options)
    with pytest.raises(InputError, match="whose gradients are overwritten by the next batch: set it to true"):
        trainer.fit(module, DigitsDataModule())
    with pytest.raises(InputError, match="'graphs'; give true or false, auto or reduce-overhead"):
        ImageClassifier("resnet20", compile="graphs")


def test_a_run_that_was_compiled_is_compiled_when_it_is_resumed(tmp_path):
    def fit(epochs, **options):
        torch.manual_seed(0)
        backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        module = ImageClassifier(backbone, in_chans=1, scheduler=None, compile="auto")
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = Trainer(accelerator="cpu", max_epochs=epochs, limit_train_batches=1, limit_val_batches=0, **quiet)
        trainer.fit(module, DigitsDataModule(batch_size=8), **options)
        return module, trainer

    module, trainer = fit(1)
    assert not module._fast_step.is_compiled
    trainer.save_checkpoint(tmp_path / "eager.ckpt")
    checkpoint = torch.load(tmp_path / "eager.ckpt", weights_only=True)
    assert checkpoint["compiled"] is False
    torch.save({**checkpoint, "compiled": True}, tmp_path / "compiled.ckpt")
    with torch.compiler.set_stance("force_eager"):  # compiling takes long
        module, _ = fit(2, ckpt_path=tmp_path / "compiled.ckpt")
    assert module._fast_step.is_compiled
