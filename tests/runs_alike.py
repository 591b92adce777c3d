"""Runs that are stopped and go on: how tests start them, stop them, and tell that two of them are the same."""

import contextlib
import csv
import io
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import yaml
from lightning import Callback

# Seconds after which a process hangs. A busy machine takes a tenth of that.
TIMEOUT = 150


# What runs do.


class Seen(Callback):
    """Keeps every batch that was trained on, and sends one process a signal at one of them.

    Args:
        folder: for the batches.
        stop_at: ``[epoch, batch]`` to send SIGTERM at, the first time; the batch -1 is the epoch's validation. Of
            several processes the last one gets it, which is not the one that writes checkpoints.
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
    """Stands still at some batches until a test has seen to it, so that a signal comes exactly there.

    Args:
        at: the ``[epoch, batch]`` of each; ``[-1, -1]`` is the beginning of the test.
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
    """The file that says that a process is at a batch of ``Pause``."""
    return Path(f"reached_{epoch}_{batch}_{rank}")


def may_go(epoch: int, batch: int) -> Path:
    """The file that lets them go on."""
    return Path(f"go_{epoch}_{batch}")


class Whereabouts(Callback):
    """Writes down what the run is doing, for those who find it dead.

    Args:
        file: where to; it has to be there.
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
    """The options for more callbacks, those of this module by their names, out of a file that is written for them."""
    entries = []
    for name_of_class, arguments in callbacks.items():
        class_path = f"{__name__}.{name_of_class}" if name_of_class in globals() else name_of_class
        entries.append({"class_path": class_path, "init_args": arguments})
    Path(f"{name}.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": entries}}))
    return ["--config", f"{name}.yaml"]


# How they are started.


class Commands:
    """Starts ``python -m resnet_lightning``, each in a group of its own, as a terminal would; the last one ends all."""

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
        """Exit code, output and errors of a command all of whose processes have ended.

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
    """Starts commands as processes that are forked from one that has imported everything: 6 seconds less for each.

    They are processes like any other, which share nothing and can be killed.
    """

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["resnet_lightning.cli.command_line", __name__])
        self._started: list[BaseProcess] = []

    def start(self, *arguments: str, log: str = "log", room: int | None = None, **environment: str) -> BaseProcess:
        """A command that has begun.

        Args:
            arguments: of the command.
            log: the file for what it prints.
            room: how many bytes a file may have; None for as many as it wants.
            environment: more variables.
        """
        process = self._context.Process(target=_run, args=(arguments, log, room, environment))
        process.start()
        self._started.append(process)
        return process

    def run(self, *arguments: str, log: str = "log", **options) -> tuple[int, str]:
        """Exit code, and what was printed."""
        process = self.start(*arguments, log=log, **options)
        process.join(TIMEOUT)
        assert process.exitcode is not None, f"hangs: {Path(log).read_text()}"
        return process.exitcode, Path(log).read_text()

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.join()


def _run(arguments: tuple[str, ...], log: str, room: int | None, environment: dict[str, str]) -> None:
    from resnet_lightning.cli.main import main

    os.environ.update(environment)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if room is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    sys.exit(main(list(arguments)))


def wait_for(condition: Callable[[], object], process: subprocess.Popen | BaseProcess | None = None) -> None:
    """Waits until something is so, while the process that is to see to it lives."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < TIMEOUT, "waited in vain"
        if process is not None:
            code = process.poll() if isinstance(process, subprocess.Popen) else process.exitcode
            assert code is None, f"ended with {code}"
        time.sleep(0.005)


# What came out.


def take_seen() -> dict[str, tuple]:
    """What was seen since this was last asked, by epoch, batch and process."""
    seen = {}
    for file in Path("seen").glob("*.pt"):
        seen[file.stem] = torch.load(file)
        file.unlink()
    return seen


def assert_equal(found, expected, where="") -> None:
    """That two structures are the same, tensors to the bit."""
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
    """That two runs have come to the same, to the bit."""
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
    """The rows of metrics.csv, but for how fast it went."""
    rows = list(csv.DictReader(io.StringIO(Path(folder, "metrics.csv").read_text())))
    for row in rows:
        row.pop("train/images_per_second")
    return rows
