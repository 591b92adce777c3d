"""The parts of ``lightning bench all`` that are whole runs: time to accuracy, and what runs promise on a GPU."""

import io
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..checkpoint_file import read_checkpoint
from ..experiments.processes import command, last_error
from ..experiments.studies.data_sets import study_data
from ..inference.export import export
from .alternation import Training, fit_quietly
from .rows import Row
from .work import Work

_DIGITS = ("fit", "--config", "digits", "--trainer.deterministic=true")


@dataclass(frozen=True)
class Finished:
    """A run that has finished.

    Args:
        folder: its folder.
        seconds: the wall-clock time of its command.
    """

    folder: Path
    seconds: float

    @property
    def test_accuracy(self) -> float:
        return float(json.loads((self.folder / "evaluation.json").read_text())["metrics"]["test/acc"])

    @property
    def training_seconds(self) -> float:
        return float(json.loads((self.folder / "run.json").read_text())["training_seconds"])

    @property
    def last(self) -> Path:
        return self.folder / "checkpoints" / "last.ckpt"


def run(arguments: Sequence[str], root: Path) -> Finished:
    """Runs a command line in a process of its own.

    Args:
        arguments: the words after ``lightning``.
        root: a new folder, in which the run makes its own.

    Raises:
        RuntimeError: with the last error it printed, if it fails.
    """
    root.mkdir(parents=True, exist_ok=True)
    log = root / "log.txt"
    started = time.perf_counter()
    with log.open("wb") as output:
        words = command([*arguments, f"--trainer.default_root_dir={root}"])
        code = subprocess.run(words, stdin=-3, stdout=output, stderr=output, check=False).returncode
    seconds = time.perf_counter() - started
    if code:
        raise RuntimeError(last_error(log) or f"exit code {code}")
    return Finished(next(root.glob("*/*/run.json")).parent, seconds)


def time_to_accuracy(work: Work) -> Iterator[Row]:
    """Trains the configs of short trainings, from the start of the command to the test of its end."""
    mnist, cifar10 = (study_data(name, work.root) for name in ("mnist", "cifar10"))
    resnet9 = ["--model.backbone=resnet9", "--model.backbone_args={}"]
    tasks: list[tuple[str, str, list[str]]] = [
        ("speed/cifar10_94", cifar10.label, []),
        ("speed/cifar10_94 with ResNet-9", cifar10.label, resnet9),
        ("speed/cifar10", cifar10.label, []),
        ("speed/mnist", mnist.label, []),
    ]
    for name, label, further in tasks:
        data = mnist if label == mnist.label else cifar10
        chosen = [f"--{key}={value}" for key, value in data.settings.items() if key != "data.augment"]
        short = [] if work.is_full else ["--trainer.max_steps=2", "--trainer.limit_test_batches=2"]
        if not work.is_full:
            chosen = ["--data=resnet_lightning.bench.data.RandomImagesDataModule", "--data.count=256"]
            chosen += ["--data.batch_size=32"]
        words = ["fit", "--config", name.split()[0], "--overlay", "fast", *chosen, *further, *short]
        yield work.attempt(f"{name}, {label}", partial(_timed_run, f"{name}, {label}", words))


def _timed_run(name: str, words: list[str]) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        done = run(words, Path(folder))
        figures = f"{done.test_accuracy:.2%} of the test images"
        return Row(name, f"{done.seconds:.1f} s", "", f"{figures}; {done.training_seconds:.1f} s of it is training")


def same_bits(work: Work) -> Iterator[Row]:
    """Trains the digits twice, and once with a stop and a resumed end: all three must be bitwise equal."""
    epochs = 4 if work.is_full else 2
    words = [*_DIGITS, f"--trainer.max_epochs={epochs}"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands = [words, words, [*words, f"--stop_after={epochs // 2}"]]
        with ThreadPoolExecutor() as pool:  # nothing is timed
            runs = list(pool.map(run, commands, [folder / "first", folder / "second", folder / "stopped"]))
        first, second, stopped = runs
        what = f"digits, {epochs} epochs, deterministic"
        yield work.attempt(f"{what}: two runs", lambda: _equal(f"{what}: two runs", first, second))
        what = f"{what}: stopped after {epochs // 2} and resumed, beside an uninterrupted run"

        def resumed() -> Row:
            return _equal(what, first, run([*words, f"--resume={stopped.folder}"], folder / "stopped"))

        yield work.attempt(what, resumed)


def _equal(what: str, first: Finished, second: Finished) -> Row:
    ours, theirs = (read_checkpoint(each.last) for each in (first, second))
    kinds = ("state_dict", "optimizer_states")
    values, others = ([_tensors(checkpoint[kind]) for kind in kinds] for checkpoint in (ours, theirs))
    found = sum(
        not torch.equal(a, b)
        for mine, other in zip(values, others, strict=True)
        for a, b in zip(mine, other, strict=True)
    )
    count = sum(map(len, values))
    return Row(what, result=f"{found} of {count} tensors differ" if found else f"all {count} tensors are equal")


def _tensors(value: Any) -> list[torch.Tensor]:
    """Returns the tensors in nested dictionaries and lists, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for each in inner for tensor in _tensors(each)]


def largest_batch(work: Work) -> Iterator[Row]:
    """Finds the largest batch of a large network, which on a GPU ends with a real lack of memory."""
    images, side, backbone = (4096, 224, "resnet152") if work.is_full else (32, 32, "resnet20")
    training = Training(backbone, {}, 2, side, further=("--find=batch_size", "--trainer.max_steps=100"))
    what = f"--find batch_size: {backbone}, {side}x{side}, fp32, {images} training images"

    def find() -> Row:
        with tempfile.TemporaryDirectory() as folder:
            printed = fit_quietly(work.fit, training.arguments(images // 2, folder))
        found = re.search(r"largest batch that fits has (\d+) images", " ".join(printed.split()))
        if found is None:
            raise RuntimeError(f"no batch size in {printed[-200:]!r}")
        size = int(found[1])
        if not torch.cuda.is_available():
            return Row(what, f"{size} images", result="ended by the number of images (no GPU)")
        peak = torch.cuda.max_memory_allocated() / 2**30
        end = "by the number of images" if size * 2 > images else "by a lack of memory"
        return Row(what, f"{size} images", result=f"ended {end}; at most {peak:.1f} GiB were allocated")

    yield work.attempt(what, find)


def exported(work: Work) -> Iterator[Row]:
    """Trains on the device and exports the checkpoint."""
    with tempfile.TemporaryDirectory() as name:
        done = run([*_DIGITS, "--trainer.max_epochs=1"], Path(name))
        checkpoint = done.folder / "checkpoints" / "best.ckpt"
        for kind in "torch_export", "onnx", "safetensors":
            yield work.attempt(f"export to {kind}", partial(_export, checkpoint, kind))


def _export(checkpoint: Path, kind: str) -> Row:
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        found = export(checkpoint, kind, None, None)
    agreement = f"probabilities differ by at most {found.difference:.1e}, {found.images} images"
    return Row(f"export to {kind}", f"{found.path.stat().st_size / 1e6:.1f} MB", result=agreement)
