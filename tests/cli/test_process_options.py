"""Which processes are one run: decided by the variables that start them and by what the options ask for."""

import os
from pathlib import Path

import pytest
from lightning.fabric.utilities.rank_zero import rank_zero_only

from commands import error_line
from resnet_lightning.cli.main import forget_unreadable_ranks
from resnet_lightning.cli.process_options import settle_processes
from resnet_lightning.errors import InputError
from resnet_lightning.runs.reader import find_runs
from runs_alike import DDP, DIGITS, SMALL

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")

SLURM = {
    "SLURM_JOB_ID": "11",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "2",
    "SLURM_JOB_NAME": "train",
}
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "MASTER_ADDR": "127.0.0.1",
}
BY_HAND = {"LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "NODE_RANK": "0"}
SECOND_MACHINE = {"MASTER_ADDR": "other", "NODE_RANK": "1"}


@pytest.fixture(autouse=True)
def rank_of_its_own(monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 3)


def is_first(variables: dict[str, str], *options: tuple[str, str]) -> bool:
    os.environ.update(variables)
    settle_processes("fit", [("trainer.accelerator", "cpu"), *options])
    return rank_zero_only.rank == 0


@pytest.mark.parametrize(
    ("variables", "devices", "expected"),
    [
        (SLURM, "1", True),  # srun -n 4 of four seeds
        (SLURM, "4", False),
        (SLURM | {"SLURM_NTASKS": "1"}, "2", True),  # Lightning starts the other one
        (TORCHRUN, "4", False),
        (BY_HAND, "2", False),
        (BY_HAND, "1", True),
        ({"RANK": "1"}, "2", True),
        ({"RANK": "1", "LOCAL_RANK": "1"}, "1", True),
        ({"RANK": "1", "MASTER_ADDR": "127.0.0.1"}, "2", True),
        ({"NODE_RANK": "1"}, "2", True),
    ],
)
def test_a_process_is_the_first_of_a_run_unless_others_were_started_with_it(variables, devices, expected):
    assert is_first(variables, ("trainer.devices", devices)) == expected


def test_the_second_machine_of_a_run_that_was_started_by_hand_is_not_the_first():
    assert not is_first(SECOND_MACHINE, ("trainer.num_nodes", "2"))


def test_the_last_config_and_the_command_line_decide():
    Path("two.yaml").write_text("trainer: {devices: 4}\n")
    Path("one.yaml").write_text("trainer: {devices: 1}\n")
    assert not is_first(SLURM, ("config", "two.yaml"))
    rank_zero_only.rank = 2
    assert is_first(SLURM, ("config", "two.yaml"), ("config", "one.yaml"))
    rank_zero_only.rank = 2
    assert is_first(SLURM, ("config", "two.yaml"), ("trainer.devices", "1"))


def test_a_resumed_run_asks_for_the_processes_of_its_config():
    Path("run").mkdir()
    Path("run/config.yaml").write_text("trainer: {devices: 4}\n")
    assert not is_first(SLURM, ("resume", "run"))


@pytest.mark.parametrize(("variables", "devices"), [(SLURM, "2"), (TORCHRUN, "1"), (TORCHRUN, "2")])
def test_another_number_of_processes_than_were_started_is_refused(variables, devices):
    os.environ.update(variables)
    with pytest.raises(InputError, match=f"has started 4 processes, but .* is {devices}; give .* product is 4"):
        settle_processes("fit", [("trainer.accelerator", "cpu"), ("trainer.devices", devices)])


def test_that_is_one_line_of_the_program(capsys):
    os.environ.update(SLURM)
    assert "SLURM has started 4 processes" in error_line(capsys, "fit", "--config", DIGITS, *DDP)


def test_a_rank_that_is_no_number_is_none(monkeypatch):
    monkeypatch.setenv("RANK", "first")
    monkeypatch.setenv("SLURM_PROCID", "")
    monkeypatch.setenv("LOCAL_RANK", "0")
    forget_unreadable_ranks()
    assert {"RANK", "SLURM_PROCID", "LOCAL_RANK"} & os.environ.keys() == {"LOCAL_RANK"}


@pytest.mark.slow
def test_four_seeds_under_srun_are_four_runs(warm):
    short = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--trainer.accelerator", "cpu"]
    tasks = [
        warm.start(
            *("fit", "--config", DIGITS, *SMALL, *short, "--seed_everything", str(task)),
            log=f"log_{task}",
            **SLURM | {"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)},
        )
        for task in range(4)
    ]
    for task, process in enumerate(tasks):
        code, printed = warm.end_of(process, f"log_{task}")
        assert code == 0, printed
        assert "test accuracy" in printed
    runs = find_runs("runs")
    assert {run.config["seed_everything"] for run in runs} == {0, 1, 2, 3}
    assert {run.state for run in runs} == {"finished"}
