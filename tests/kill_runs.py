"""Kills real trainings at random moments, resumes them, and compares them with trainings that nothing stopped.

    python tests/kill_runs.py --kills 100 --seed 0

The trainings take turns: plain SGD, AdamW, an average of the weights, Lightning's StochasticWeightAveraging and
LearningRateFinder, an image folder that worker processes stream, and two processes. Two of three kills are SIGKILL, the
others SIGTERM, SIGINT, SIGUSR1 or SIGHUP; half of them come while a file is being written. They hit the command alone,
its whole process group, or a process that it has started. Each run is resumed until it ends.

It is bad if a command prints a traceback, hangs, ends with a wrong exit code or leaves a process behind, if a kill
leaves a damaged checkpoint or a wrong state, or if the final weights, the metrics and the evaluation are not those of
the uninterrupted run, bit for bit.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parents[1]), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
)
sys.path.insert(0, str(Path(__file__).parents[1]))

from image_files import write_folders
from resnet_lightning.runs.checkpoint_io import is_whole
from resnet_lightning.runs.reader import read_run
from runs_alike import DDP, DIGITS, SMALL, Commands, WarmCommands, assert_same_run, with_callbacks

SHORT = ["--trainer.max_epochs", "3", "--trainer.limit_train_batches", "12", "--data.batch_size", "16"]
FIT = ["fit", "--config", DIGITS, *SMALL, *SHORT, "--trainer.accelerator", "cpu"]
STREAM = ["--data", "ImageFolderDataModule", "--data.root", "images", "--data.resident", "false"]
STREAM += ["--data.num_workers", "1", "--data.augment", "{flip: true, crop: 1, mixup: 0.2}"]
SECONDS = 400  # after which a process counts as hanging
MOST_KILLS = 5  # of one run
SIGNALS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 143, signal.SIGHUP: 129}  # with their exit codes


@dataclass(frozen=True)
class Training:
    """A kind of training.

    Args:
        name: its name.
        options: what it adds to the command line.
        callbacks: the callbacks that it adds, with their arguments.
        processes: how many processes train together.
    """

    name: str
    options: tuple[str, ...] = ()
    callbacks: tuple[tuple[str, dict], ...] = ()
    processes: int = 1

    def command(self, folder: str) -> list[str]:
        callbacks = dict(self.callbacks)
        more = with_callbacks("more", LastCheckpoint={"minutes": 0.002}, Whereabouts={"file": "where"}, **callbacks)
        return [*FIT, *self.options, *more, "--resume", folder]


AUGMENTED = ("--data.augment", "{crop: 1, rotate: 10, mixup: 0.2}")
TRAININGS = [
    Training("plain SGD"),
    Training("AdamW", ("--model.optimizer", "AdamW", "--model.optimizer_args", "{weight_decay: 0.05}", *AUGMENTED)),
    Training("average", AUGMENTED, (("MovingAverage", {"decay": 0.8, "update_starting_at_step": 3}),)),
    Training(
        "StochasticWeightAveraging",
        ("--model.scheduler", "StepLR", "--model.scheduler_args", "{step_size: 1}"),
        (("StochasticWeightAveraging", {"swa_lrs": 0.01, "swa_epoch_start": 1}),),
    ),
    Training("LearningRateFinder", callbacks=(("LearningRateFinder", {"num_training_steps": 8, "max_lr": 0.1}),)),
    Training("streamed images", tuple(STREAM)),
    Training("two processes", (*DDP, *AUGMENTED), processes=2),
]


class Faults:
    """What went wrong so far, each printed at once."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, where: str, what: str) -> None:
        self.count += 1
        print(f"--- {where}: {what}", flush=True)


class Killer:
    """Starts the commands of one kind of training in its own folder, and kills them.

    Args:
        training: the kind.
        folder: where it works.
        draw: draws moments and signals.
        faults: collects what goes wrong.
    """

    def __init__(self, training: Training, folder: Path, draw: random.Random, faults: Faults) -> None:
        self.training, self.draw, self.faults = training, draw, faults
        self.folder = folder
        self.runs = 0
        self.kills: Counter[str] = Counter()
        self._warm, self._cold = WarmCommands(), Commands()
        folder.mkdir()
        os.chdir(folder)
        Path("where").write_text(f"{'start':10}")
        write_folders(Path("images"), ["train", "test"], n=120)
        if training.processes == 1:
            self._warm.run("configs")  # the first one waits for the imports
        started = time.monotonic()
        code, printed = self._end(self._start("whole"))
        self.seconds = time.monotonic() - started
        if code:
            raise SystemExit(f"{training.name}: {printed}")

    def close(self) -> None:
        self._warm.close()
        self._cold.close()

    def kill_one_run(self, most: int) -> int:
        """Starts a run, kills it at most so many times, lets it end, and compares it. Returns the number of kills."""
        os.chdir(self.folder)
        self.runs += 1
        name = f"run_{self.runs}"
        where = f"{self.training.name}, {name}"
        kills = 0
        while kills < min(most, MOST_KILLS):
            Path("where").write_text(f"{'start':10}")
            before = read_run(name).state if Path(name, "config.yaml").exists() else ""
            process = self._start(name, figures=self.draw.random() < 0.25)
            number = self._kill(process, Path(name))
            code, printed = self._end(process)
            if code == 0:
                break
            kills += 1
            self.kills[f"{_place()}, {number.name}"] += 1
            self._check(f"{where}, kill {kills}", Path(name), before, code, number, printed)
        code, printed = self._end(self._start(name))
        if code or "Traceback" in printed or "damaged" in printed:
            self.faults.add(f"{where}, resumed", f"exit code {code}: {printed[-3000:]}")
        else:
            self._compare(where, name)
        return kills

    def _start(self, folder: str, figures: bool = False) -> BaseProcess | subprocess.Popen:
        command = self.training.command(folder)
        if self.training.processes == 1:
            return self._warm.start(*command, figures=figures)
        return self._cold.start(*command)  # Lightning starts the other process by the same command

    def _kill(self, process: BaseProcess | subprocess.Popen, folder: Path) -> signal.Signals:
        number = self.draw.choice([*SIGNALS]) if self.draw.random() < 0.33 else signal.SIGKILL
        if self.draw.random() < 0.6:  # the set-up is longer than so short a training
            while _is_alive(process) and _place() in ("start", "set-up"):
                time.sleep(0.002)
            until = time.monotonic() + self.draw.uniform(0, 0.3 * self.seconds)
        else:
            until = time.monotonic() + self.draw.uniform(0, self.seconds)
        while _is_alive(process) and time.monotonic() < until:
            time.sleep(0.005)
        if self.draw.random() < 0.5:  # while something is written
            until = time.monotonic() + self.seconds
            while _is_alive(process) and time.monotonic() < until and not any(folder.rglob("*.part")):
                time.sleep(0.0005)
            time.sleep(self.draw.uniform(0, 0.002))
        if _is_alive(process) and process.pid:
            for victim in self.draw.choice(_victims(process.pid)):
                _send(victim, number)
        return number

    def _end(self, process: BaseProcess | subprocess.Popen) -> tuple[int | None, str]:
        """Waits for the end of a command and of all of its processes."""
        until = time.monotonic() + SECONDS
        while _is_alive(process) or _group(process.pid):
            if time.monotonic() > until:
                left = _group(process.pid)
                self.faults.add(self.training.name, f"hangs: {left}: {Path('log').read_text()[-2000:]}")
                for pid in left:
                    _send(pid, signal.SIGKILL)
                break
            time.sleep(0.02)
        if isinstance(process, subprocess.Popen):
            code, printed, errors = self._cold.end_of(process)
            return code, printed + errors
        process.join()
        return process.exitcode, Path("log").read_text()

    def _check(
        self, where: str, run: Path, before: str, code: int | None, number: signal.Signals, printed: str
    ) -> None:
        """Checks what a kill has left of a run that was in the state ``before``."""
        expected = {SIGNALS.get(number, -number)}
        if self.training.processes > 1 and number == signal.SIGKILL:
            expected |= {1, 2}  # if only the other process is killed, this one ends with an error
        if code not in expected or "Traceback" in printed:
            self.faults.add(where, f"{number.name}: exit code {code}: {printed[-3000:]}")
        for checkpoint in run.rglob("*.ckpt"):
            if not is_whole(checkpoint):
                self.faults.add(where, f"{checkpoint} is damaged")
        if (run / "run.json").exists():
            json.loads((run / "run.json").read_text())
            state = read_run(run).state
            allowed = {before, "stopped", *(["killed", "failed"] if number == signal.SIGKILL else [])}
            if (run / "evaluation.json").exists():
                allowed.add("finished")  # the signal came after the run had ended, before its process had
            # Before a run is resumed, its state stays what it was.
            if state not in allowed:
                self.faults.add(where, f"{number.name} left the state {state!r}")

    def _compare(self, where: str, name: str) -> None:
        try:
            assert_same_run(name, "whole")
            found, expected = (json.loads(Path(run, "evaluation.json").read_text()) for run in (name, "whole"))
            assert found == expected, "evaluation.json"
            assert read_run(name).state == "finished"
        except (AssertionError, OSError, ValueError) as error:
            self.faults.add(where, f"is not the uninterrupted run: {type(error).__name__}: {error!s:.1000}")


def _place() -> str:
    """Returns what the run is doing, or was."""
    return Path("where").read_text().strip()


def _is_alive(process: BaseProcess | subprocess.Popen) -> bool:
    return process.is_alive() if isinstance(process, BaseProcess) else process.poll() is None


def _group(leader: int | None) -> list[int]:
    """Returns the processes of a group that have not ended."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = status.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):  # it has just ended
            continue
        if int(group) == leader and state not in "ZX":
            found.append(int(status.parent.name))
    return found


def _victims(leader: int) -> list[list[int]]:
    """Whom to kill: the command alone, all of its processes, or one that it started."""
    group = _group(leader)
    others = [pid for pid in group if pid != leader and _parent(pid) == leader and _trains(pid)]
    return [[leader], group, *[[pid] for pid in others[:1]]]


def _trains(pid: int) -> bool:
    try:
        return b"resnet_lightning" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="the name of a single kind of training", choices=[t.name for t in TRAININGS])
    options = parser.parse_args(arguments)
    faults, draw = Faults(), random.Random(options.seed)
    kinds = [training for training in TRAININGS if options.only in (None, training.name)]
    with tempfile.TemporaryDirectory() as folder:
        killers: list[Killer] = []
        try:
            for training in kinds:
                killers.append(Killer(training, Path(folder, training.name.replace(" ", "_")), draw, faults))
                print(f"{training.name}: {killers[-1].seconds:.0f} s without a kill", flush=True)
            # Those whose processes import everything anew are slow: they come once where the others come twice.
            fastest = min(killer.seconds for killer in killers)
            turns = killers + [killer for killer in killers if killer.seconds < 4 * fastest]
            left, turn = options.kills, 0
            while left > 0:
                killer = turns[turn % len(turns)]
                left -= killer.kill_one_run(left)
                turn += 1
                print(f"{options.kills - left} kills, {turn} runs, {faults.count} faults", flush=True)
        finally:
            os.chdir("/")
            for killer in killers:
                killer.close()
    for killer in killers:
        kills = ", ".join(f"{place} {count}" for place, count in sorted(killer.kills.items()))
        print(f"{killer.training.name}: {killer.runs} runs, {killer.kills.total()} kills ({kills})")
    print(f"{faults.count} faults in {options.kills} kills of {sum(killer.runs for killer in killers)} runs")
    return 1 if faults.count else 0


if __name__ == "__main__":
    sys.exit(main())
