"""Measures how a folder of images is streamed from disk: the time to list it, the speed of reading, and memory."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich import box
from rich.table import Table

from ..data import Augmentation, ImageFolderDataModule
from ..errors import InputError

_CLASSES = 100
_REPORTS = 10


def write_folder(root: Path, count: int, side: int = 64) -> None:
    """Writes different JPEG images of noise, evenly to ``root/train/<class>/*``, and one per class to ``root/test``."""
    generator = np.random.default_rng(0)
    for part, number in ("train", count), ("test", _CLASSES):
        for label in range(_CLASSES):
            (root / part / f"class_{label:03}").mkdir(parents=True)
        for image in range(number):
            noise = Image.fromarray(generator.integers(0, 256, (4, 4, 3), np.uint8)).resize((side, side))
            noise.save(root / part / f"class_{image % _CLASSES:03}" / f"{image:07}.jpg", quality=75)


def stream(*, count: int, workers: int) -> Iterator[tuple[str, str, str]]:
    """Generates a folder of ``count`` images, lists it and reads it once; yields the work, its speed and the memory.

    Memory is the sum over this process and its workers; pages that several of them share are counted once.

    Raises:
        InputError: if the system does not provide the memory of processes in ``/proc``.
    """
    if not Path("/proc/self/smaps_rollup").exists():
        raise InputError("memory is read from /proc/PID/smaps_rollup, which this system does not have; use Linux")
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        write_folder(Path(folder), count)
        yield "written", _speed(count, started), ""
        yield from _read(Path(folder), workers)


def _read(root: Path, workers: int) -> Iterator[tuple[str, str, str]]:
    module = ImageFolderDataModule(
        root,
        image_size=56,
        shorter_side=64,
        batch_size=256,
        val_split=0.0,
        augment=Augmentation(resized_crop=0.08, flip=True),
        resident=False,
        num_workers=workers,
    )
    started = time.perf_counter()
    images = len(module.split("train"))
    yield "listed", _speed(images, started), f"{_memory():,.0f} MB"
    module.statistics()
    loader = module.device_loader("train", torch.device("cpu"))
    report = max(len(loader) // _REPORTS, 1)
    started = time.perf_counter()
    for number, _ in enumerate(loader, 1):
        if number % report == 0:
            yield f"read {number * 256:,}", _speed(number * 256, started), f"{_memory():,.0f} MB"


def _speed(images: int, started: float) -> str:
    seconds = time.perf_counter() - started
    return f"{seconds:,.1f} s, {images / seconds:,.0f} images/s"


def _memory() -> float:
    """Returns the megabytes of this process and its child processes (proportional set size)."""
    me = os.getpid()
    children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
    total = 0
    for process in [str(me), *children]:
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1000


def as_table(rows: Iterator[tuple[str, str, str]]) -> Table:
    """Makes a table with a row for each stage."""
    table = Table("images", "took", "memory", box=box.SIMPLE)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    return table
