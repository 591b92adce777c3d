"""Several machines, and sharded models: two "machines" are two programs on this one that meet over its network.

One test starts them with torchrun itself; in the others they are forked, with the variables that torchrun or SLURM set.
"""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning import Callback

from repository import CONFIGS
from resnet_lightning import ImageClassifier
from resnet_lightning.cli.main import main
from runs_alike import (
    DIGITS,
    SMALL,
    TIMEOUT,
    WarmCommands,
    assert_same_run,
    free_port,
    may_go,
    metrics,
    reached,
    wait_for,
    with_callbacks,
    working_in,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_an_empty_folder", "without_figures")]

# The training of this net depends on nothing but the sum of the gradients, so that runs can be compared to the digit.
# Its norms see one image at a time. SiLU has no kink: where rounding moves an activation of ReLU across zero, its
# gradient changes, and after 40 steps weights differ by 3e-3 instead of 1e-6.
SMOOTH = [*SMALL, "--model.backbone_args.norm_layer", "group", "--model.backbone_args.act_layer", "silu"]
# Weight decay and gradient clipping strong enough to show in the result.
CAREFUL = ["--model.optimizer_args.weight_decay", "0.02", "--trainer.gradient_clip_val", "0.5"]
FIT = ["fit", "--config", DIGITS, *SMOOTH, *CAREFUL, "--trainer.max_epochs", "3", "--trainer.accelerator", "cpu"]
ONE = ["--data.batch_size", "64"]
TWO = {
    name: ["--config", str(CONFIGS / "overlays" / f"{name}.yaml"), "--data.batch_size", "32"]
    for name in ("ddp", "fsdp")
}
ALONE = ["--trainer.strategy", "auto", "--trainer.devices", "1", "--trainer.num_nodes", "1"]


class Numbers(Callback):
    """Writes down the id of the process, so that a test can kill it."""

    def on_train_start(self, trainer, pl_module) -> None:
        Path(f"process_{trainer.global_rank}").write_text(str(os.getpid()))


@pytest.fixture
def torchrun():
    """Starts a command on two machines with torchrun, each printing into ``log_<node>``."""
    started: list[subprocess.Popen] = []

    def start(*arguments: str) -> list[subprocess.Popen]:
        port = str(free_port())
        machines = []
        for node in "0", "1":
            command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
            command += ["--master-addr", "127.0.0.1", "--master-port", port, "--node-rank", node]
            with Path(f"log_{node}").open("w") as file:
                machines.append(
                    subprocess.Popen(
                        [*command, "-m", "resnet_lightning", *arguments],
                        stdin=subprocess.DEVNULL,
                        stdout=file,
                        stderr=subprocess.STDOUT,
                        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
                    )
                )
        started.extend(machines)
        return machines

    yield start
    for process in started:
        process.terminate()  # torchrun ends its processes then
    for process in started:
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_of_two(folder: Path, *arguments: str, **options) -> Path:
    """The folder of a run in two processes, for fixtures that outlive a test."""
    with working_in(folder):
        warm = WarmCommands()
        try:
            assert warm.run_together(*FIT, *arguments, "--resume", "run", **options).count("test accuracy") == 1
        finally:
            warm.close()
    return folder / "run"


@pytest.fixture(scope="module")
def ddp(tmp_path_factory):
    """The run of two processes on one machine."""
    return run_of_two(tmp_path_factory.mktemp("ddp"), *TWO["ddp"])


@pytest.fixture(scope="module")
def fsdp(tmp_path_factory):
    """The run of two machines, each of which holds half of the model."""
    return run_of_two(tmp_path_factory.mktemp("fsdp"), *TWO["fsdp"], nodes=2)


def column(folder: str | Path, name: str) -> list[float]:
    return [float(row[name]) for row in metrics(str(folder)) if row[name]]


def assert_close_runs(folder: str | Path, other: str | Path) -> None:
    """Asserts that two runs differ by rounding alone: 1e-6 after 60 steps, for losses and weights of about 1."""
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


def test_two_processes_follow_the_losses_of_one(ddp):
    """Over a whole training, its schedule included. Without SyncBatchNorm, which torch supports on GPUs only."""
    assert main([*FIT, *ONE, "--resume", "alone"]) == 0
    losses = column("alone", "train/loss")
    assert len(losses) == 3
    assert losses[0] > 2
    assert losses[-1] < 1.5
    assert_close_runs(ddp, "alone")


# Sharded models.


def test_fsdp_on_two_machines_learns_what_ddp_learns(fsdp, ddp):
    """Decay of other weights, or gradients clipped shard by shard, would lead to other weights."""
    assert_close_runs(fsdp, ddp)


def test_one_process_resumes_a_run_of_fsdp(fsdp):
    before = str(fsdp / "checkpoints" / "previous.ckpt")
    assert torch.load(before, weights_only=True)["global_step"] == 2 * (1299 // 64)
    assert main(["fit", "--ckpt_path", before, *ALONE, *ONE]) == 0
    (folder,) = Path("runs/digits").iterdir()
    assert_close_runs(folder, fsdp)


def test_a_checkpoint_of_fsdp_holds_the_whole_model(warm, capsys):
    """And the running statistics, which each process gathers for itself."""
    options = ["--trainer.max_epochs", "2", "--trainer.accelerator", "cpu", "--resume", "run"]
    warm.run_together("fit", "--config", DIGITS, *SMALL, *TWO["fsdp"], *options)
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


def test_fsdp_refuses_the_checkpoint_of_another_training(ddp, capsys):
    """It would read weights in channels_last layout as if they were contiguous."""
    other = str(ddp / "checkpoints" / "best.ckpt")
    for command in ["test"], ["fit", "--trainer.max_epochs", "4"]:
        assert main([*command, "--ckpt_path", other, "--config", DIGITS, *TWO["fsdp"], *SMOOTH]) == 2
        assert "was written without FSDP" in capsys.readouterr().err


# Two machines.


def test_slurm_starts_the_same_run_which_finds_a_folder_by_itself(ddp, warm):
    slurm = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "train", "SLURM_NODELIST": "127.0.0.1", "SLURM_NNODES": "2"}
    slurm |= {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_LOCALID": "0", "MASTER_PORT": str(free_port())}
    slurm |= {"GLOO_SOCKET_IFNAME": "lo"}
    command = [*FIT, *TWO["ddp"], "--trainer.num_nodes", "2", "--trainer.devices", "1"]
    processes = [
        warm.start(*command, log=f"log_{node}", **slurm, SLURM_PROCID=str(node), SLURM_NODEID=str(node))
        for node in (0, 1)
    ]
    for node, process in enumerate(processes):
        code, printed = warm.end_of(process, f"log_{node}")
        assert code == 0, printed
    (folder,) = Path("runs/digits").iterdir()
    assert_same_run(str(folder), str(ddp))


def test_two_machines_do_what_two_processes_do_even_if_one_machine_dies(ddp, torchrun):
    """The one that does not save dies: the other notices, ends, and leaves the checkpoint of the epoch before.

    The same command then resumes the run on both.
    """
    pause = (1, 7)
    callbacks = with_callbacks("more", Pause={"at": [list(pause)]}, **{f"{__name__}.Numbers": {}})
    command = [*FIT, *TWO["ddp"], *callbacks, "--trainer.num_nodes", "2", "--trainer.devices", "1", "--resume", "run"]
    machines = torchrun(*command)
    for rank in 0, 1:
        wait_for(reached(*pause, rank).exists, machines[rank])
    for process in machines[1].pid, int(Path("process_1").read_text()):
        os.kill(process, signal.SIGKILL)
    may_go(*pause).touch()
    assert machines[0].wait(TIMEOUT) > 0, Path("log_0").read_text()
    steps = torch.load("run/checkpoints/last.ckpt", weights_only=True)["global_step"]
    assert steps == 1299 // 64
    machines = torchrun(*command)
    codes = [process.wait(TIMEOUT) for process in machines]
    printed = "".join(Path(f"log_{node}").read_text() for node in (0, 1))
    assert codes == [0, 0], printed
    assert printed.count("test accuracy") == 1
    assert "Traceback" not in printed
    assert_same_run("run", str(ddp))
