"""Whatever ends a run (signals, kill, a full disk, a damaged file), the same command resumes it, bit for bit.

Real processes on the digits. Most are forked from one that has imported everything; one that gets Ctrl-C is started as
people start them. A run is killed 12 times; to have it killed 50 times:

    RESNET_LIGHTNING_KILLS=50 make test-slow ARGS="-k killed_again_and_again"
"""

import errno
import fcntl
import hashlib
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import time
from collections import Counter
from itertools import count, cycle
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
import yaml

from resnet_lightning.checkpoint_file import append_checksum
from resnet_lightning.cli.main import main
from resnet_lightning.errors import InputError
from resnet_lightning.runs.checkpoint_io import WholeCheckpoints, is_whole
from resnet_lightning.runs.lock import Lock
from runs_alike import (
    DIGITS,
    assert_same_run,
    may_go,
    metrics,
    reached,
    wait_for,
    with_callbacks,
    working_in,
)

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")

STEPS = 20  # an epoch
EPOCHS = 2
KILLS = int(os.environ.get("RESNET_LIGHTNING_KILLS", "12"))


# A training that draws random numbers wherever it can.
SMALL = {
    "data": {"class_path": "DigitsDataModule", "init_args": {"augment": {"crop": 1, "rotate": 10, "mixup": 0.2}}},
    "model": {
        "backbone": "resnet_lightning.models.cifar.cifar_resnet",
        "backbone_args": {"depth": 8, "drop_path_rate": 0.2},
    },
    "trainer": {"max_epochs": EPOCHS, "limit_train_batches": STEPS},
}
AVERAGE = {"decay": 0.8, "update_starting_at_step": 3}


def fit(*more: str) -> list[str]:
    small = Path("small.yaml").resolve()
    small.write_text(yaml.safe_dump(SMALL))
    return ["fit", "--config", DIGITS, "--config", str(small), *more]


def steps_of(checkpoint: Path) -> int:
    return torch.load(checkpoint, weights_only=True)["global_step"]


def contents(folder: Path) -> dict[str, str]:
    """The digests of all files in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def the_line(text: str) -> str:
    """The one line of an error."""
    (line,) = text.splitlines()
    assert line.startswith("error: ")
    return line


# Signals.


@pytest.mark.slow
def test_signals_stop_a_run_that_resumes_with_the_same_command(commands, warm):
    moments = {signal.SIGTERM: (0, 3), signal.SIGUSR1: (0, 12), signal.SIGINT: (1, 6)}
    pauses = with_callbacks("pauses", Pause={"at": [list(moment) for moment in moments.values()]})
    command = fit(*pauses, "--resume", "stopped")
    for number, (epoch, batch) in moments.items():
        is_cold = number == signal.SIGINT
        process = commands.start(*command) if is_cold else warm.start(*command)
        wait_for(reached(epoch, batch).exists, process)
        if is_cold:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            os.kill(process.pid, number)
        may_go(epoch, batch).touch()
        code, *texts = commands.end_of(process) if is_cold else warm.end_of(process)
        printed = "".join(texts)
        step = epoch * STEPS + batch + 1
        assert code == (130 if number == signal.SIGINT else 143), printed
        assert f"{number.name} stopped the training after step {step}. To resume:" in printed
        assert "fit --resume stopped" in printed
        assert "Traceback" not in printed
        assert ("Ctrl-C again ends it now" in printed) == (number == signal.SIGINT)
        assert is_whole(Path("stopped/checkpoints/last.ckpt"))
        assert steps_of(Path("stopped/checkpoints/last.ckpt")) == step
    code, printed = warm.run(*command)
    assert code == 0, printed
    assert f"Resumes from step {STEPS + 7} of stopped/checkpoints/last.ckpt" in printed
    code, printed = warm.run(*command[:-1], "whole")
    assert code == 0, printed
    assert_same_run("stopped", "whole")


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(warm):
    """Nothing lets this run continue: it waits in the middle of a step."""
    process = warm.start(*fit(*with_callbacks("pauses", Pause={"at": [[0, 3]]}), "--resume", "run"))
    wait_for(reached(0, 3).exists, process)
    os.killpg(process.pid, signal.SIGINT)
    wait_for(lambda: "Ctrl-C again ends it now" in Path("log").read_text(), process)
    os.killpg(process.pid, signal.SIGINT)
    code, printed = warm.end_of(process)
    assert code == 130
    assert "Traceback" not in printed
    assert "test accuracy" not in printed
    assert not list(Path().rglob("*.ckpt"))


# There is no SLURM here. It sets these variables, it sends the signal that `sbatch --signal` names, and
# `scontrol requeue` starts a job again.
JOB = {"SLURM_JOB_ID": "123", "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
ARRAY = {"SLURM_ARRAY_JOB_ID": "120", "SLURM_ARRAY_TASK_ID": "3"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signals", "variables", "expected"),
    [
        ([signal.SIGUSR1], JOB, "requeue 123"),
        ([signal.SIGUSR1, signal.SIGTERM], JOB | ARRAY, "requeue 120_3"),  # it ends the job before the step is over
        ([signal.SIGTERM], JOB, None),
    ],
    ids=["job", "array", "SIGTERM"],
)
def test_a_job_that_slurm_warned_is_queued_again(warm, signals, variables, expected):
    Path("bin").mkdir()
    Path("bin/scontrol").write_text('#!/bin/sh\ntest -s run/checkpoints/last.ckpt && echo "$@" >> asked\n')
    Path("bin/scontrol").chmod(0o755)
    path = f"{Path('bin').resolve()}:{os.environ['PATH']}"
    pauses = with_callbacks("pauses", Pause={"at": [[0, 3]]})
    process = warm.start(*fit(*pauses, "--resume", "run"), PATH=path, **variables)
    wait_for(reached(0, 3).exists, process)
    for number in signals:
        os.kill(process.pid, number)
        time.sleep(0.1)  # two that wait are taken in the order of their numbers
    may_go(0, 3).touch()
    process.join(60)
    assert process.exitcode == 143, Path("log").read_text()
    assert f"{signals[0].name} stopped the training after step 4" in Path("log").read_text()
    assert steps_of(Path("run/checkpoints/last.ckpt")) == 4
    assert (Path("asked").read_text() if Path("asked").exists() else None) == (expected and f"{expected}\n")


@pytest.mark.slow
def test_a_warning_of_slurm_after_the_training_leaves_nothing_to_other_runs(warm):
    """Lightning would leave ``hpc_ckpt_1.ckpt`` beside the runs, and every new run of a SLURM job begin from it."""
    pauses = with_callbacks("pauses", Pause={"at": [[-1, -1]]})
    process = warm.start(*fit(*pauses, "--resume", "run", "--trainer.default_root_dir", "."), **JOB)
    wait_for(reached(-1, -1).exists, process)
    os.kill(process.pid, signal.SIGUSR1)
    process.join(60)
    assert process.exitcode == 143
    assert not list(Path().rglob("*hpc*"))
    assert {path.name for path in Path().rglob("*.ckpt")} == {"last.ckpt", "previous.ckpt", "best.ckpt"}


# Killed.


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_is_the_run_that_never_was(warm, capsys):
    """The kills take turns at the moments of a run; every step saves, so that many come during a save."""
    Path("where").touch()
    callbacks = {"LastCheckpoint": {"minutes": 0}, "MovingAverage": AVERAGE, "Whereabouts": {"file": "where"}}
    more = with_callbacks("saving", **callbacks, LearningRateMonitor={"logging_interval": "step"})
    command = fit(*more, "--data.batch_size", "16", "--trainer.max_epochs", "8", "--resume")
    code, printed = warm.run(*command, "whole")
    assert code == 0, printed
    draw = random.Random(0)
    places: Counter[str] = Counter()
    unfinished = 0
    # Saves, validations and steps are so short that too few random kills would come there.
    aims = cycle(["save", "step", "validation", "save", "training", "set-up"])
    for number in count():  # a run ends after some kills, and the next one begins
        folder = Path(f"killed_{number}")
        while places.total() < KILLS:
            Path("where").write_text(f"{'set-up':10}")
            parts = dates(folder, "*.part")
            process = warm.start(*command, str(folder))
            aim = next(aims)
            if aim != "set-up":
                wait_until_it_saves(folder, process)
            if aim in ("save", "step", "validation"):
                wait_for(lambda process=process, aim=aim: where() == aim or process.exitcode is not None)
            process.join(draw.uniform(0, {"save": 0.005, "step": 0, "validation": 0.05}.get(aim, 0.6)))
            process.kill()
            process.join()
            assert process.exitcode in (0, -signal.SIGKILL), Path("log").read_text()
            if process.exitcode == 0:
                break
            places[where()] += 1
            unfinished += bool(dates(folder, "*.part").items() - parts.items())
            for checkpoint in folder.rglob("*.ckpt"):
                assert is_whole(checkpoint), f"{checkpoint} after {places.total()} kills"
        code, printed = warm.run(*command, str(folder))
        assert code == 0, printed
        assert "damaged" not in printed
        assert_same_run(str(folder), "whole")
        if places.total() >= KILLS:
            break
    with capsys.disabled():
        print(f"\nkilled during {dict(places)}; {unfinished} unfinished files, {number + 1} runs")
    assert places.total() == KILLS
    assert len({"set-up", "step", "save", "validation"} & places.keys()) >= 3  # a step may have just ended
    assert unfinished >= KILLS // 10


def where() -> str:
    return Path("where").read_text().strip()


def wait_until_it_saves(folder: Path, process: BaseProcess) -> None:
    """Without this, a run on a slow machine would never end."""
    before = dates(folder, "last.ckpt")
    wait_for(lambda: dates(folder, "last.ckpt") != before or process.exitcode is not None)


def dates(folder: Path, pattern: str) -> dict[str, tuple[int, int]]:
    """The inode and the time of each file, which change when it is written."""
    found = {}
    for path in folder.rglob(pattern):
        try:
            found[str(path)] = path.stat().st_ino, path.stat().st_mtime_ns
        except FileNotFoundError:  # renamed meanwhile
            continue
    return found


# Damaged.


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A folder with a run that was stopped in its second epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    with working_in(folder):
        stop = with_callbacks("stop", Seen={"folder": "seen", "stop_at": [1, 5]})
        assert main(fit(*stop, "--resume", "run")) == 143
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of the same run as it would have ended."""
    folder = tmp_path_factory.mktemp("whole")
    with working_in(folder):
        assert main(fit("--resume", "run")) == 0
    return str(folder / "run")


def test_no_damage_to_a_checkpoint_goes_unnoticed(stopped):
    whole = Path(stopped, "run/checkpoints/last.ckpt").read_bytes()
    draw = random.Random(0)
    copy = Path("copy.ckpt")
    for length in [0, 1, 70, 71, 72, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(150))]:
        copy.write_bytes(whole[:length])
        assert not is_whole(copy), f"cut to {length} bytes"
    # The beginning holds names and numbers of the archive, the end its directory and the checksum.
    ends = [*range(0, 200, 7), *range(len(whole) - 300, len(whole), 7)]
    for place in [*ends, *(draw.randrange(len(whole)) for _ in range(300))]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draw.randrange(8)
        copy.write_bytes(damaged)
        assert not is_whole(copy), f"bit of byte {place} of {len(whole)}"
    for more in b"\0", b"\n", whole:
        copy.write_bytes(whole + more)
        assert not is_whole(copy)
    copy.write_bytes(whole)
    assert is_whole(copy)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4  # inside a tensor, where torch would notice nothing
    path.write_bytes(content)


def empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [cut, flip])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(stopped, whole, warm, damage):
    shutil.copytree(stopped / "run", "run")
    damage(Path("run/checkpoints/last.ckpt"))
    was = Path("run/checkpoints/last.ckpt").read_bytes()
    code, printed = warm.run(*fit("--resume", "run"))
    assert code == 0, printed
    assert "run/checkpoints/last.ckpt is damaged: renamed to last.ckpt.damaged" in printed.splitlines()
    assert f"Resumes from step {STEPS} of run/checkpoints/previous.ckpt" in printed
    assert Path("run/checkpoints/last.ckpt.damaged").read_bytes() == was
    assert_same_run("run", whole)


@pytest.mark.slow
def test_a_run_whose_checkpoints_are_all_damaged_begins_anew(stopped, whole, warm):
    shutil.copytree(stopped / "run", "run")
    names = "last.ckpt", "previous.ckpt", "best.ckpt"
    for name, damage in zip(names, (empty, flip, cut), strict=True):
        damage(Path("run/checkpoints", name))
    code, printed = warm.run(*fit("--resume", "run"))
    assert code == 0, printed
    for name in names:
        assert f"run/checkpoints/{name} is damaged: renamed to {name}.damaged" in printed.splitlines()
        assert Path("run/checkpoints", f"{name}.damaged").exists()
    assert "Resumes from" not in printed
    assert_same_run("run", whole)


class Code:
    """A pickle of this runs a command where it is loaded."""

    def __reduce__(self):
        return os.system, ("touch it_ran",)


@pytest.mark.parametrize("how", ["--ckpt_path", "--resume"])
@pytest.mark.parametrize("kind", ["pickle", "archive"])
def test_a_checkpoint_that_carries_code_is_refused(how, kind, capfd):
    """Even one with the right checksum, which anybody can write."""
    path = Path("run/checkpoints/last.ckpt")
    path.parent.mkdir(parents=True)
    if kind == "archive":
        with open(path, "w+b") as file:
            torch.save({"state_dict": {}, "run": Code()}, file)
            append_checksum(file)
    else:
        path.write_bytes(pickle.dumps({"state_dict": Code()}))
    at = path if how == "--ckpt_path" or kind == "archive" else path.with_name("last.ckpt.damaged")
    # A pickle that `--resume` finds has no checksum: it is moved aside, and there is no config for a new run.
    code = main(["fit", how, str(path if how == "--ckpt_path" else "run")])
    assert code == 2
    assert at.exists()
    line = the_line(capfd.readouterr().err)
    if how == "--ckpt_path" or kind == "archive":
        assert line == f"error: {str(path)!r} is not a checkpoint, is damaged or carries code"
    else:
        assert line == "error: there is no checkpoint in 'run' to resume from; to start a run, give a --config"
    assert not Path("it_ran").exists()


@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_cut_checkpoint_is_named_in_a_line(stopped, command, capfd):
    shutil.copy(stopped / "run/checkpoints/last.ckpt", "cut.ckpt")
    cut(Path("cut.ckpt"))
    assert main([command, *fit("--ckpt_path", "cut.ckpt")[1:]]) == 2
    line = the_line(capfd.readouterr().err)
    assert line == "error: 'cut.ckpt' is not a checkpoint, is damaged or carries code"
    assert not Path("runs").exists()


# A full disk.


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before_it(tmp_path):
    """Wherever in the file the room ends: before, in or after the archive, or inside the checksum."""
    path = tmp_path / "checkpoints" / "last.ckpt"
    io = WholeCheckpoints()
    io.save_checkpoint({"weights": torch.arange(50_000)}, path)
    before = path.read_bytes()
    size = len(before)
    draw = random.Random(0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in [0, 1, 100, size - 72, size - 71, size - 70, size - 1, *(draw.randrange(size) for _ in range(30))]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        try:
            with pytest.raises(InputError) as caught:
                io.save_checkpoint({"weights": torch.arange(50_000)}, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert str(caught.value) == (
            f"the checkpoint {str(path)!r} cannot be written: File too large; the previous one was kept"
        )
        assert path.read_bytes() == before
        assert os.listdir(path.parent) == ["last.ckpt"]
    io.save_checkpoint({"weights": torch.arange(50_000)}, path)
    assert is_whole(path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full, as Linux has one")
def test_a_full_disk_is_named(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    path.parent.mkdir()
    path.with_name("last.ckpt.part").symlink_to("/dev/full")
    with pytest.raises(InputError) as caught:
        WholeCheckpoints().save_checkpoint({"weights": torch.arange(50_000)}, path)
    assert str(caught.value) == f"the checkpoint {str(path)!r} cannot be written: No space left on device"
    assert not os.listdir(path.parent)


@pytest.mark.slow
def test_a_run_that_found_no_room_resumes_where_there_is_some(stopped, whole, warm):
    shutil.copytree(stopped / "run", "run")
    last = Path("run/checkpoints/last.ckpt")
    before = last.read_bytes()
    code, printed = warm.run(*fit("--resume", "run"), file_size=len(before) // 2)
    assert code == 2, printed
    line = the_line("\n".join(text for text in printed.splitlines() if "error" in text))
    assert "the checkpoint 'run/checkpoints/" in line
    assert "cannot be written: File too large" in line
    assert "Traceback" not in printed
    assert last.read_bytes() == before
    assert not list(Path("run").rglob("*.part"))
    code, printed = warm.run(*fit("--resume", "run"))
    assert code == 0, printed
    assert f"Resumes from step {STEPS + 6} of {last}" in printed
    assert_same_run("run", whole)


@pytest.fixture
def small_disk(tmp_path, stopped):
    """A separate disk with too little room for a third checkpoint."""
    size = sum(path.stat().st_size for path in Path(stopped, "run").rglob("*") if path.is_file())
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size + 200_000}", "none", str(disk)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except FileNotFoundError:
        pytest.skip("needs `mount`, to make a small disk")
    if done.returncode:
        pytest.skip(f"needs the right to mount a small disk: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], timeout=10, check=True)


@pytest.mark.slow
def test_a_disk_that_is_full_does_no_harm(stopped, whole, warm, small_disk):
    shutil.copytree(stopped / "run", small_disk / "run")
    room = shutil.disk_usage(small_disk).free
    Path(small_disk, "other").write_bytes(bytes(max(0, room - 100_000)))
    folder = str(small_disk / "run")
    code, printed = warm.run(*fit("--resume", folder))
    assert code == 2, printed
    assert "cannot be written: No space left on device" in printed
    assert "Traceback" not in printed
    assert is_whole(Path(folder, "checkpoints", "last.ckpt"))
    assert not list(Path(folder).rglob("*.part"))
    os.unlink(small_disk / "other")
    assert subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], timeout=10, check=False).returncode == 0
    code, printed = warm.run(*fit("--resume", folder))
    assert code == 0, printed
    assert_same_run(folder, whole)


# Several runs.


@pytest.mark.slow
def test_two_processes_do_not_write_to_one_run(warm, capfd, monkeypatch):
    """And ``--resume auto`` finds the newest run with this config that nobody is writing to."""
    pauses = with_callbacks("pauses", Pause={"at": [[0, 3], [0, 5]]})
    config = str(Path("pauses.yaml").resolve())
    runs = Path("runs").resolve()
    command = fit("--config", config, "--trainer.default_root_dir", str(runs), "--resume")
    assert pauses == ["--config", "pauses.yaml"]

    Path("there").mkdir()
    monkeypatch.chdir("there")
    may_go(0, 5).touch()
    first = warm.start(*command, "auto")
    wait_for(reached(0, 3).exists, first)
    assert (
        f"There is no run with this config in {runs / 'digits'} to resume: a new one starts." in Path("log").read_text()
    )
    (folder,) = (runs / "digits").iterdir()
    before = contents(folder)
    capfd.readouterr()
    assert main([*command, str(folder)]) == 2
    line = the_line(capfd.readouterr().err)
    assert line == f"error: another process is writing to the run {str(folder)!r}; wait for it, or end it"
    assert contents(folder) == before

    monkeypatch.chdir("..")
    may_go(0, 3).touch()
    process = warm.start(*command, "auto")
    wait_for(reached(0, 5).exists, process)
    assert "a new one starts" in Path("log").read_text()
    (second,) = {*(runs / "digits").iterdir()} - {folder}
    os.kill(process.pid, signal.SIGTERM)
    may_go(0, 5).touch()
    process.join(60)
    assert process.exitcode == 143
    code, printed = warm.run(*command, "auto")
    assert code == 0, printed
    assert f"Resumes from step 6 of {second}/checkpoints/last.ckpt" in printed
    assert contents(folder) == before
    assert first.exitcode is None
    Path("there/go_0_3").touch()
    first.join(60)
    assert first.exitcode == 0, Path("there/log").read_text()
    assert_same_run(str(second), str(folder))

    finished = contents(folder), contents(second / "checkpoints"), metrics(str(second))
    code, printed = warm.run(*command, "auto")
    assert code == 0, printed
    assert "There was nothing left to train" in printed
    assert "is finished and left alone" in printed
    assert (contents(folder), contents(second / "checkpoints"), metrics(str(second))) == finished

    others = ["--data.batch_size", "32"], ["--model.lr", "0.05"], ["--seed_everything", "1"]
    for number, other in enumerate(others, start=2):
        assert len(list((runs / "digits").iterdir())) == number
        code, printed = warm.run(*command, "auto", *other, "--trainer.max_epochs", "1")
        assert code == 0, printed
        assert "a new one starts" in printed, other
    assert (contents(folder), contents(second / "checkpoints"), metrics(str(second))) == finished


def test_a_lock_that_its_owner_just_removed_is_none(tmp_path, monkeypatch):
    """Between opening the file and locking it another process may have ended, and removed what was opened."""
    lockf = fcntl.lockf
    removed = []

    def after_a_removal(file, how):
        if not removed:
            removed.append((tmp_path / ".lock").stat().st_ino)
            (tmp_path / ".lock").unlink()
        lockf(file, how)

    monkeypatch.setattr(fcntl, "lockf", after_a_removal)
    lock = Lock(tmp_path)
    assert removed
    assert os.path.samestat(os.fstat(lock._file.fileno()), (tmp_path / ".lock").stat())
    lock.release()
    assert not list(tmp_path.glob(".lock"))


def test_a_file_system_without_locks_is_no_reason_not_to_train(tmp_path, monkeypatch):
    def without(*arguments):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "lockf", without)
    Lock(tmp_path).release()


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / ".lock").mkdir()  # root may write to any folder, but open none as a file
    with pytest.raises(InputError, match=f"^cannot write to the run's folder {str(tmp_path)!r}: Is a directory$"):
        Lock(tmp_path)
