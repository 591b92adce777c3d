"""Several machines, and nets in pieces: two "machines" are two programs on this one that meet over its network."""

import math
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning import Callback

from repository import ROOT
from resnet_lightning import ImageClassifier
from resnet_lightning.cli.main import main
from runs_alike import TIMEOUT, assert_same_run, may_go, metrics, reached, wait_for, with_callbacks

DIGITS = str(ROOT / "configs" / "digits.yaml")
SMALL = ["--model.backbone", "resnet_lightning.models.cifar.cifar_resnet", "--model.backbone_args", "{depth: 8}"]

# A net whose training depends on nothing but the sum of the gradients, so that runs can be compared to the digit. Norms
# see one image at a time, and SiLU has no kink: where rounding puts an activation of ReLU on the other side of zero,
# its gradient is another one, and after 40 steps weights are 3e-3 apart that rounding alone leaves 1e-6 apart.
SMOOTH = [*SMALL, "--model.backbone_args.norm_layer", "group", "--model.backbone_args.act_layer", "silu"]
# With a decay and a limit on gradients that can be seen in the result.
CAREFUL = ["--model.optimizer_args.weight_decay", "0.02", "--trainer.gradient_clip_val", "0.5"]
FIT = ["fit", "--config", DIGITS, *SMOOTH, *CAREFUL, "--trainer.max_epochs", "3", "--trainer.accelerator", "cpu"]
ONE = ["--data.batch_size", "64"]
TWO = {
    name: ["--config", str(ROOT / "configs" / "overlays" / f"{name}.yaml"), "--data.batch_size", "32"]
    for name in ("ddp", "fsdp")
}
ON_TWO_MACHINES = ["--trainer.num_nodes", "2", "--trainer.devices", "1"]
ALONE = ["--trainer.strategy", "auto", "--trainer.devices", "1", "--trainer.num_nodes", "1"]


class Numbers(Callback):
    """Writes down the process's number, to end it by."""

    def on_train_start(self, trainer, pl_module) -> None:
        Path(f"process_{trainer.global_rank}").write_text(str(os.getpid()))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Programs:
    """Starts programs that have to end before the test does."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen] = []

    def start(self, log: str, *command: str, **environment: str) -> subprocess.Popen:
        with Path(log).open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )
        self._started.append(process)
        return process

    def torchrun(self, *arguments: str) -> list[subprocess.Popen]:
        """Starts a command on two machines."""
        port = str(free_port())
        meeting = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", port]
        return [
            self.start(
                f"log_{node}",
                *("torch.distributed.run", *meeting, "--node-rank", str(node), "-m", "resnet_lightning", *arguments),
                GLOO_SOCKET_IFNAME="lo",
            )
            for node in (0, 1)
        ]

    def close(self) -> None:
        for process in self._started:
            process.terminate()  # torchrun ends its processes then
        for process in self._started:
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def programs():
    started = Programs()
    yield started
    started.close()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def run_here(*arguments: str) -> None:
    """Runs a command as people do on a single machine: it starts its second process itself."""
    programs = Programs()
    try:
        process = programs.start("log", "resnet_lightning", *arguments)
        assert process.wait(TIMEOUT) == 0, Path("log").read_text()
    finally:
        programs.close()


def all_end(processes: list[subprocess.Popen]) -> None:
    """Waits for programs to end well, one of which says so."""
    for process in processes:
        process.wait(TIMEOUT)
    printed = [Path(f"log_{number}").read_text() for number in range(len(processes))]
    assert [process.returncode for process in processes] == [0] * len(processes), printed
    assert "".join(printed).count("test accuracy") == 1
    assert "Traceback" not in "".join(printed)


@pytest.fixture(scope="module")
def ddp(tmp_path_factory):
    """The run of two processes on one machine."""
    folder = tmp_path_factory.mktemp("ddp")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_here(*FIT, *TWO["ddp"], "--resume", "run")
    return folder / "run"


@pytest.fixture(scope="module")
def fsdp(tmp_path_factory):
    """The run of two machines, each of which has half of the net."""
    folder = tmp_path_factory.mktemp("fsdp")
    programs = Programs()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        try:
            all_end(programs.torchrun(*FIT, *TWO["fsdp"], *ON_TWO_MACHINES, "--resume", "run"))
        finally:
            programs.close()
    return folder / "run"


def column(folder: str | Path, name: str) -> list[float]:
    return [float(row[name]) for row in metrics(str(folder)) if row[name]]


def assert_close_runs(folder: str | Path, other: str | Path) -> None:
    """That two runs come to the same but for rounding, which 60 steps make 1e-6 of, at losses and weights about 1."""
    for name in "train/loss", "val/loss", "test/loss":
        assert column(folder, name) == pytest.approx(column(other, name), abs=2e-5)
    for name in "train/acc", "val/acc", "test/acc":
        assert column(folder, name) == pytest.approx(column(other, name), abs=1e-7)
    found, expected = (
        torch.load(Path(run, "checkpoints", "last.ckpt"), weights_only=True)["state_dict"] for run in (folder, other)
    )
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=2e-5, rtol=0)


# Two processes.


@pytest.mark.slow
def test_two_processes_follow_the_losses_of_one(ddp):
    """Over a whole training, its schedule included. Not with SyncBatchNorm, which torch has for GPUs alone."""
    assert main([*FIT, *ONE, "--resume", "alone"]) == 0
    losses = column("alone", "train/loss")
    assert len(losses) == 3
    assert losses[0] > 2
    assert losses[-1] < 1.5
    assert_close_runs(ddp, "alone")


# Nets in pieces.


@pytest.mark.slow
def test_fsdp_on_two_machines_learns_what_ddp_learns(fsdp, ddp):
    """Decay that fell on other weights, or gradients limited piece by piece, would make another net."""
    assert_close_runs(fsdp, ddp)


@pytest.mark.slow
def test_what_fsdp_began_one_process_ends(fsdp):
    before = str(fsdp / "checkpoints" / "previous.ckpt")
    assert torch.load(before, weights_only=True)["global_step"] == 2 * (1299 // 64)
    assert main(["fit", "--ckpt_path", before, *ALONE, *ONE]) == 0
    (folder,) = Path("runs/digits").iterdir()
    assert_close_runs(folder, fsdp)


@pytest.mark.slow
def test_a_checkpoint_of_fsdp_is_a_whole_one(capsys):
    """With running statistics, which each process gathers for itself."""
    options = ["--trainer.max_epochs", "2", "--trainer.accelerator", "cpu", "--resume", "run"]
    run_here("fit", "--config", DIGITS, *SMALL, *TWO["fsdp"], *options)
    first, second = column("run", "train/loss")
    assert math.isfinite(first)
    assert second < first - 0.3
    checkpoints = Path("run", "checkpoints")
    model = ImageClassifier.load_from_checkpoint(checkpoints / "best.ckpt", weights_only=True)
    assert model.backbone.layer1[0].conv1.weight.shape == (16, 16, 3, 3)
    assert main(["test", "--ckpt_path", str(checkpoints / "best.ckpt"), *ALONE]) == 0
    assert f"{column('run', 'test/acc')[0]:.4f}" in capsys.readouterr().out
    assert main(["validate", "--ckpt_path", str(checkpoints / "last.ckpt"), *ALONE]) == 0
    assert f"{column('run', 'val/loss')[-1]:.4f}" in capsys.readouterr().out


@pytest.mark.slow
def test_fsdp_refuses_the_checkpoint_of_another_training(ddp, capsys):
    """It would read weights with their channels innermost as if they were outermost."""
    other = str(ddp / "checkpoints" / "best.ckpt")
    for command in ["test"], ["fit", "--trainer.max_epochs", "4"]:
        assert main([*command, "--ckpt_path", other, "--config", DIGITS, *TWO["fsdp"], *SMOOTH]) == 2
        assert "was written without FSDP" in capsys.readouterr().err


# Two machines.


@pytest.mark.slow
def test_two_machines_do_what_two_processes_of_one_do(ddp, programs):
    all_end(programs.torchrun(*FIT, *TWO["ddp"], *ON_TWO_MACHINES, "--resume", "run"))
    assert_same_run("run", str(ddp))


@pytest.mark.slow
def test_slurm_starts_the_same_run_which_finds_a_folder_by_itself(ddp, programs):
    slurm = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "train", "SLURM_NODELIST": "127.0.0.1", "SLURM_NNODES": "2"}
    slurm |= {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_LOCALID": "0", "MASTER_PORT": str(free_port())}
    slurm |= {"GLOO_SOCKET_IFNAME": "lo"}
    command = ["resnet_lightning", *FIT, *TWO["ddp"], *ON_TWO_MACHINES]
    all_end(
        [
            programs.start(f"log_{node}", *command, **slurm, SLURM_PROCID=str(node), SLURM_NODEID=str(node))
            for node in (0, 1)
        ]
    )
    (folder,) = Path("runs/digits").iterdir()
    assert_same_run(str(folder), str(ddp))


@pytest.mark.slow
def test_a_machine_dies_and_both_go_on_with_the_same_command(ddp, programs):
    """The one that does not save: the other notices, ends, and leaves the checkpoint of the epoch before."""
    pause = (1, 7)
    callbacks = with_callbacks("more", Pause={"at": [list(pause)]}, **{f"{__name__}.Numbers": {}})
    command = [*FIT, *TWO["ddp"], *callbacks, *ON_TWO_MACHINES, "--resume", "run"]
    machines = programs.torchrun(*command)
    for rank in 0, 1:
        wait_for(reached(*pause, rank).exists, machines[rank])
    for process in machines[1].pid, int(Path("process_1").read_text()):
        os.kill(process, signal.SIGKILL)
    may_go(*pause).touch()
    assert machines[0].wait(TIMEOUT) > 0, Path("log_0").read_text()
    steps = torch.load("run/checkpoints/last.ckpt", weights_only=True)["global_step"]
    assert steps == 1299 // 64
    all_end(programs.torchrun(*command))
    assert_same_run("run", str(ddp))
