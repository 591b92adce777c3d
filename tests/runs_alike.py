"""Runs that are stopped and resumed: how tests start them, stop them, and compare two of them."""

import contextlib
import csv
import io
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
import yaml
from lightning import Callback

from repository import CONFIGS

# After so many seconds a process counts as hanging. A sweep of six runs on a busy machine needs half of them.
TIMEOUT = 300

DIGITS = str(CONFIGS / "digits.yaml")
# The smallest of the CIFAR nets, which has no name of its own.
SMALL = ["--model.backbone", "resnet_lightning.models.cifar.cifar_resnet", "--model.backbone_args", "{depth: 8}"]
DDP = ["--config", str(CONFIGS / "overlays" / "ddp.yaml"), "--trainer.accelerator", "cpu"]


# Callbacks that watch and stop runs.


class Seen(Callback):
    """Saves every batch that is trained on, and sends one process a signal at one of them.

    Args:
        folder: for the batches.
        stop_at: the ``[epoch, batch]`` at which to send SIGTERM; the batch -1 is the epoch's validation. Of several
            processes the last one gets it, which is not the one that writes checkpoints.
    """

    def __init__(self, folder: str, stop_at: list[int] | None = None) -> None:
        self.folder = Path(folder)
        self.stop_at = stop_at

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.folder.mkdir(exist_ok=True)
        indices = trainer.datamodule.training_indices(trainer.current_epoch, batch_idx)
        name = f"{trainer.current_epoch}_{batch_idx}_{trainer.global_rank}.pt"
        torch.save((indices, *batch), self.folder / name)
        self._stop_at(trainer, trainer.current_epoch, batch_idx)

    def on_validation_start(self, trainer, pl_module) -> None:
        if not trainer.sanity_checking:
            self._stop_at(trainer, trainer.current_epoch, -1)

    def _stop_at(self, trainer, *here: int) -> None:
        if self.stop_at == list(here) and trainer.global_rank == trainer.world_size - 1:
            os.kill(os.getpid(), signal.SIGTERM)


class Pause(Callback):
    """Waits at some batches until the test lets it continue, so that a signal comes exactly there.

    Args:
        at: the ``[epoch, batch]`` of each; ``[-1, -1]`` is the start of the test.
    """

    def __init__(self, at: list[list[int]]) -> None:
        self.at = at

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self._pause_at(trainer, trainer.current_epoch, batch_idx)

    def on_test_start(self, trainer, pl_module) -> None:
        self._pause_at(trainer, -1, -1)

    def _pause_at(self, trainer, *here: int) -> None:
        if list(here) in self.at:
            reached(*here, trainer.global_rank).touch()
            while not may_go(*here).exists():
                time.sleep(0.01)


def reached(epoch: int, batch: int, rank: int = 0) -> Path:
    """The file that exists once a process waits at a batch of ``Pause``."""
    return Path(f"reached_{epoch}_{batch}_{rank}")


def may_go(epoch: int, batch: int) -> Path:
    """The file that lets the processes continue."""
    return Path(f"go_{epoch}_{batch}")


class Whereabouts(Callback):
    """Writes down what the run is doing, so that a test knows where it was killed.

    Args:
        file: an existing file.
    """

    def __init__(self, file: str) -> None:
        self._file = os.open(file, os.O_WRONLY)

    def _is(self, what: str) -> None:
        os.pwrite(self._file, f"{what:10}".encode(), 0)  # at once, without a buffer that would die with the process

    def on_save_checkpoint(self, trainer, pl_module, checkpoint) -> None:
        self._is("save")

    # The callbacks that save come before this one at the beginning of a batch, and after it at a validation's end.
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self._is("step")

    def on_validation_start(self, trainer, pl_module) -> None:
        self._is("set-up" if trainer.sanity_checking else "validation")

    def on_train_end(self, trainer, pl_module) -> None:
        self._is("test")


def with_callbacks(name: str, **callbacks: dict) -> list[str]:
    """Writes a config with more callbacks, those of this module by their names; returns the options that load it."""
    entries = []
    for name_of_class, arguments in callbacks.items():
        class_path = f"{__name__}.{name_of_class}" if name_of_class in globals() else name_of_class
        entries.append({"class_path": class_path, "init_args": arguments})
    Path(f"{name}.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": entries}}))
    return ["--config", f"{name}.yaml"]


# Starting runs.


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Changes into a folder, for fixtures that outlive a test: afterwards the environment is as before."""
    before = dict(os.environ)
    os.environ.pop("PL_GLOBAL_SEED", None)
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def draw_no_figures(patch: pytest.MonkeyPatch | None = None) -> None:
    """Leaves out the figures that every run draws, which take longer than a training of ten steps.

    Args:
        patch: undoes it; without it, nothing does.
    """
    from resnet_lightning.runs import figures

    patch = patch or pytest.MonkeyPatch()
    save = figures.save
    patch.setattr(figures, "save", lambda figure, path: path if figure is None else save(figure, path))
    for name in "learning_curves", "confusion_matrix", "reliability":
        patch.setattr(figures, name, lambda *arguments, **options: None)


class Commands:
    """Starts ``python -m resnet_lightning``, each in a process group of its own, as a terminal does."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen] = []

    def start(self, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "resnet_lightning", *arguments]
        with Path("stderr").open("w") as file:  # a file, to look into while the process runs
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    @staticmethod
    def end_of(process: subprocess.Popen) -> tuple[int, str, str]:
        """Exit code, output and errors of a command, once all of its processes have ended.

        Each of them holds the pipe open that is read to its end here.
        """
        printed, _ = process.communicate(timeout=TIMEOUT)
        return process.returncode, printed, Path("stderr").read_text()

    def run(self, *arguments: str) -> tuple[int, str, str]:
        return self.end_of(self.start(*arguments))

    def close(self) -> None:
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


class WarmCommands:
    """Starts commands as processes forked from one that has imported everything, which saves each five seconds.

    They are processes like any other: they share nothing, can be killed, and lead a process group of their own.
    """

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["resnet_lightning.cli.command_line", __name__])
        forkserver.ensure_running()  # before the test puts anything into the environment
        self._started: list[BaseProcess] = []

    def start(
        self, *arguments: str, log: str = "log", file_size: int | None = None, figures: bool = False, **environment: str
    ) -> BaseProcess:
        """Starts a command.

        Args:
            arguments: of the command.
            log: the file for what it prints.
            file_size: the largest file that it can write, in bytes; None for no limit.
            figures: whether it draws figures.
            environment: more variables.
        """
        process = self._context.Process(target=_run, args=(arguments, log, file_size, figures, environment))
        process.start()
        self._started.append(process)
        return process

    def start_together(
        self, *arguments: str, nodes: int = 1, processes: int = 2, figures: bool = False
    ) -> list[BaseProcess]:
        """Starts a command in several processes that meet over the network, with the variables that torchrun sets.

        Each prints into ``log_<rank>``.
        """
        if nodes > 1:
            arguments += ("--trainer.num_nodes", str(nodes))
        devices = processes // nodes
        arguments += ("--trainer.devices", str(devices))
        common = {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        common |= {"WORLD_SIZE": str(processes), "GLOO_SOCKET_IFNAME": "lo"}
        return [
            self.start(
                *arguments,
                log=f"log_{rank}",
                figures=figures,
                **common,
                RANK=str(rank),
                LOCAL_RANK=str(rank % devices),
                GROUP_RANK=str(rank // devices),
            )
            for rank in range(processes)
        ]

    def end_of(self, process: BaseProcess, log: str = "log") -> tuple[int, str]:
        """Exit code of a command, and what it printed."""
        process.join(TIMEOUT)
        assert process.exitcode is not None, f"hangs: {Path(log).read_text()}"
        return process.exitcode, Path(log).read_text()

    def run(self, *arguments: str, log: str = "log", **options) -> tuple[int, str]:
        return self.end_of(self.start(*arguments, log=log, **options), log)

    def run_together(self, *arguments: str, code: int = 0, **options) -> str:
        """Waits until all processes of a command have ended with that exit code; returns what they printed."""
        started = self.start_together(*arguments, **options)
        with contextlib.suppress(AssertionError):  # the logs say more
            wait_for(lambda: all(p.exitcode == code for p in started) or {p.exitcode for p in started} - {None, code})
        printed = "".join(Path(f"log_{rank}").read_text() for rank in range(len(started)))
        assert [process.exitcode for process in started] == [code] * len(started), printed
        assert "Traceback" not in printed
        return printed

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.join()


def _run(
    arguments: tuple[str, ...], log: str, file_size: int | None, figures: bool, environment: dict[str, str]
) -> None:
    from lightning.fabric.utilities.rank_zero import _get_rank, rank_zero_only

    from resnet_lightning.cli.main import main

    os.setsid()
    os.environ.update(environment)
    rank_zero_only.rank = _get_rank() or 0  # as where Lightning is imported with these variables
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, resource.RLIM_INFINITY))
    if not figures:
        draw_no_figures()
    sys.exit(main(list(arguments)))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(condition: Callable[[], object], process: subprocess.Popen | BaseProcess | None = None) -> None:
    """Waits until a condition holds, as long as the process that brings it about is alive."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < TIMEOUT, "waited in vain"
        if process is not None:
            code = process.poll() if isinstance(process, subprocess.Popen) else process.exitcode
            assert code is None, f"ended with {code}"
        time.sleep(0.005)


# Comparing runs.


def take_seen() -> dict[str, tuple]:
    """The batches that ``Seen`` has saved since the last call, by epoch, batch and process."""
    seen = {}
    for file in Path("seen").glob("*.pt"):
        seen[file.stem] = torch.load(file)
        file.unlink()
    return seen


def assert_equal(found, expected, where="") -> None:
    """Asserts that two structures are equal, tensors to the bit."""
    assert type(found) is type(expected), where
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_equal(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_equal(one, other, f"{where}[{number}]")
    else:
        assert found == expected, where


STATE = ("epoch", "global_step", "state_dict", "loops", "optimizer_states", "lr_schedulers", "exact_resume")
AVERAGE = ("current_model_state", "averaging_state")


def assert_same_run(folder: str, other: str, checkpoints: Sequence[str] = ("last.ckpt", "best.ckpt")) -> None:
    """Asserts that two runs have the same checkpoints and metrics, to the bit."""
    for name in checkpoints:
        found, expected = (torch.load(Path(run, "checkpoints", name), weights_only=True) for run in (folder, other))
        for key in STATE + AVERAGE:
            assert (key in found) == (key in expected), key
            if key in expected:
                logged = [c[key].get("logged", {}) if isinstance(c[key], dict) else {} for c in (found, expected)]
                for values in logged:
                    values.pop("train/images_per_second", None)
                assert_equal(found[key], expected[key], f"{name}: {key}")
    assert metrics(folder) == metrics(other)


def metrics(folder: str) -> list[dict[str, str]]:
    """The rows of metrics.csv, without the speed."""
    rows = list(csv.DictReader(io.StringIO(Path(folder, "metrics.csv").read_text())))
    for row in rows:
        row.pop("train/images_per_second")
    return rows
