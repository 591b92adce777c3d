"""Signals outside of the training loop, and outputs that close: one answer, one set of exit codes."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from resnet_lightning.cli.main import main
from resnet_lightning.runs.checkpoint_io import is_whole
from resnet_lightning.signals import Signalled
from resnet_lightning.training.callbacks import RunRecord
from resnet_lightning.training.callbacks.preemption import SignalReceiver
from runs_alike import DIGITS, SMALL, TIMEOUT, wait_for, with_callbacks

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")

FIT = ["fit", "--config", DIGITS, *SMALL, "--trainer.max_epochs", "2", "--trainer.limit_train_batches", "5"]


class WaitIn(Callback):
    """Waits, without end, in one place of a run, and says so with a file."""

    def __init__(self, place: str) -> None:
        self.place = place

    def _wait(self, place: str) -> None:
        if place == self.place:
            Path("waits").touch()
            while True:
                time.sleep(0.01)

    def setup(self, trainer, pl_module, stage) -> None:
        self._wait("setup of fit" if stage == "fit" else "")

    def on_sanity_check_start(self, trainer, pl_module) -> None:
        self._wait("sanity check")

    def on_validation_start(self, trainer, pl_module) -> None:
        if not trainer.sanity_checking:
            self._wait("validation")

    def on_test_start(self, trainer, pl_module) -> None:
        self._wait("test")


def waiting(place: str) -> list[str]:
    return with_callbacks("wait", **{f"{__name__}.WaitIn": {"place": place}})


CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143, signal.SIGHUP: 129}
JOB = {"SLURM_JOB_ID": "123", "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "number"),
    [
        ("setup of fit", signal.SIGINT),
        ("setup of fit", signal.SIGUSR1),
        ("sanity check", signal.SIGTERM),
        ("sanity check", signal.SIGHUP),
        *(("test", number) for number in CODES),
    ],
)
def test_a_signal_around_the_training_ends_the_run_with_its_code_and_one_line(warm, place, number):
    Path("bin").mkdir()
    Path("bin/scontrol").write_text('#!/bin/sh\necho "$@" >> asked\n')
    Path("bin/scontrol").chmod(0o755)
    job = JOB if number == signal.SIGUSR1 else {}
    path = f"{Path('bin').resolve()}:{os.environ['PATH']}"
    process = warm.start(*FIT, *waiting(place), "--resume", "run", PATH=path, **job)
    wait_for(Path("waits").exists, process)
    os.kill(process.pid, number)
    code, printed = warm.end_of(process)
    assert code == CODES[number], printed
    assert "Traceback" not in printed
    assert f"{number.name} ended fit" in printed
    record = Path("run/run.json")
    assert not record.exists() or json.loads(record.read_text())["state"] == "stopped"
    assert ("To resume:" in printed) == (place == "test")
    assert Path("asked").exists() == (number == signal.SIGUSR1)
    if place == "test":
        assert record.exists()
        code, printed = warm.run(*FIT, "--resume", "run")
        assert code == 0, printed
        assert json.loads(record.read_text())["state"] == "finished"


class HideSignal(Callback):
    """Raises an exception of its own where a signal interrupts it, as libraries do."""

    def on_test_start(self, trainer, pl_module) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        except BaseException as error:
            raise RuntimeError("interrupted") from error


@pytest.mark.slow
def test_a_signal_that_a_library_turns_into_an_error_stops_the_run(capsys):
    assert main([*FIT, *with_callbacks("hide", **{f"{__name__}.HideSignal": {}}), "--resume", "run"]) == 143
    assert "SIGTERM ended fit. To resume:" in capsys.readouterr().out
    assert json.loads(Path("run/run.json").read_text())["state"] == "stopped"


class LoseSignal(Callback):
    """Discards the exception of a signal, as libraries written in C do."""

    def setup(self, trainer, pl_module, stage) -> None:
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)


def test_a_signal_whose_exception_gets_lost_stops_the_training(capsys):
    assert main([*FIT, *with_callbacks("lose", **{f"{__name__}.LoseSignal": {}}), "--resume", "run"]) == 143
    assert "SIGTERM stopped the training" in capsys.readouterr().out
    assert json.loads(Path("run/run.json").read_text())["state"] == "stopped"


def test_a_signal_while_the_end_is_recorded_is_recorded_instead(tmp_path):
    record = RunRecord("a", "{}", tmp_path)
    trainer = Trainer(
        callbacks=[record],
        max_epochs=1,
        limit_train_batches=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    trainer.fit(BoringModel())
    (tmp_path / "run.json.part").mkdir()
    with pytest.raises(IsADirectoryError):
        record.finish()
    (tmp_path / "run.json.part").rmdir()
    record.end(Signalled(signal.SIGTERM))
    assert json.loads((tmp_path / "run.json").read_text())["state"] == "stopped"


@pytest.mark.slow
@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_a_signal_in_another_command_has_the_same_code(warm, number, digits_run):
    checkpoint = str(digits_run / "checkpoints" / "best.ckpt")
    process = warm.start("test", *FIT[1:3], *waiting("test"), "--ckpt_path", checkpoint)
    wait_for(Path("waits").exists, process)
    os.kill(process.pid, number)
    code, printed = warm.end_of(process)
    assert code == CODES[number], printed
    assert "Traceback" not in printed
    assert f"{number.name} ended test" in printed


@pytest.mark.parametrize("library", ["torch", "lightning", "jsonargparse"])
def test_a_signal_ends_the_import_of_a_library_that_discards_exceptions(library):
    Path("sitecustomize.py").write_text(f"""
import contextlib, os, signal, sys

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == {library!r}:
            with contextlib.suppress(BaseException):
                os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Interrupt())
""")
    command = [sys.executable, "-m", "resnet_lightning", "fit", "--config", "digits", "--help"]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "SIGTERM ended the program\n")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.5])
def test_a_signal_during_the_imports_has_the_same_code(commands, seconds, number):
    process = commands.start(*FIT)
    time.sleep(seconds)
    os.killpg(process.pid, number)
    code, _, errors = commands.end_of(process)
    assert code == CODES[number], errors
    assert len(errors.splitlines()) <= 1, errors


@pytest.mark.slow
def test_a_closed_pipe_ends_the_run_with_a_checkpoint_and_one_line():
    command = [sys.executable, "-m", "resnet_lightning", *FIT, "--trainer.max_epochs", "400", "--resume", "run"]
    with Path("stderr").open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        try:
            assert process.stdout
            process.stdout.readline()
            process.stdout.close()
            code = process.wait(TIMEOUT)
        finally:
            process.kill()
    printed = Path("stderr").read_text()
    assert code == 141, printed
    assert len(printed.splitlines()) == 1, printed
    assert "SIGPIPE" in printed
    record = Path("run/run.json")
    if record.exists():
        assert json.loads(record.read_text())["state"] == "stopped"


@pytest.mark.slow
def test_a_terminal_that_hangs_up_leaves_a_checkpoint():
    command = [sys.executable, "-m", "resnet_lightning", *FIT, "--trainer.max_epochs", "400", "--resume", "run"]
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, command)
    last = Path("run/checkpoints/last.ckpt")
    os.set_blocking(terminal, False)

    def is_saved() -> bool:
        with contextlib.suppress(BlockingIOError):
            os.read(terminal, 100_000)
        return last.exists()

    wait_for(is_saved)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    assert is_whole(last)
    assert json.loads(Path("run/run.json").read_text())["state"] == "stopped"
    assert torch.load(last, weights_only=True)["global_step"] < 2000


@pytest.mark.slow
def test_the_tools_end_quietly_where_their_pipe_closes(digits_run):
    command = f"{sys.executable} -m resnet_lightning models | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=TIMEOUT, check=True)
    assert done.stdout.strip() == "141"
    assert not done.stderr


class WithoutNumber:
    """Standard error as a notebook has it."""

    def __init__(self) -> None:
        self.text = ""

    def fileno(self) -> int:
        raise OSError("no file number")

    def write(self, text: str) -> int:
        self.text += text
        return len(text)


def test_a_ctrl_c_in_a_notebook_is_answered(monkeypatch):
    stream = WithoutNumber()
    receiver = SignalReceiver()
    before = {number: signal.getsignal(number) for number in CODES}
    receiver.install()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            os.kill(os.getpid(), signal.SIGINT)
        assert receiver.received == signal.SIGINT
        assert "Ctrl-C again ends it now" in stream.text
    finally:
        receiver.uninstall()
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_hang_up_that_nohup_ignores_stays_ignored():
    before = {number: signal.getsignal(number) for number in CODES}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    receiver = SignalReceiver()
    receiver.install()
    try:
        os.kill(os.getpid(), signal.SIGHUP)
        assert receiver.received == 0
    finally:
        receiver.uninstall()
        for number, handler in before.items():
            signal.signal(number, handler)
