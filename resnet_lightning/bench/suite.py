"""Runs everything that is to be measured on a GPU, in the order of its worth and within a budget of time."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from . import run_parts, step_parts, waits
from .markdown_table import MarkdownTable
from .rows import Row, row_of_line
from .work import Work


@dataclass(frozen=True)
class Part:
    """A part of the suite.

    Args:
        measure: yields its rows.
        share: the largest share of the budget that it may take.
    """

    measure: Callable[[Work], Iterator[Row]]
    share: float


PARTS = {
    "resnet18_steps": Part(step_parts.resnet18_steps, 0.2),
    "resnet20_steps": Part(step_parts.resnet20_steps, 0.2),
    "resident_data": Part(step_parts.resident_data, 0.12),
    "time_to_accuracy": Part(run_parts.time_to_accuracy, 0.3),
    "resnet50_steps": Part(step_parts.resnet50_steps, 0.25),
    "waits": Part(waits.waits, 0.1),
    "cost_of_lightning": Part(step_parts.cost_of_lightning, 0.1),
    "ddp": Part(step_parts.ddp_steps, 0.1),
    "fsdp2": Part(step_parts.fsdp_steps, 0.1),
    "same_bits": Part(run_parts.same_bits, 0.2),
    "largest_batch": Part(run_parts.largest_batch, 0.2),
    "exported": Part(run_parts.exported, 0.2),
}
"""The parts, the most important first. What one leaves of its time is there for those after it."""


def suite(names: Sequence[str], minutes: float, output: Path | None, root: Path, module: str) -> None:
    """Runs parts one after the other, each in a process of its own.

    A part that fails, or takes longer than its share, has one row with the reason. Rows it has finished stay.

    Args:
        names: of parts.
        minutes: the budget of time for all of them.
        output: the file for the table; None to print it only.
        root: the folder of the data sets.
        module: the module that runs one part, as a program: its arguments are the name of the part and ``root``.
    """
    table = MarkdownTable(output)
    started = time.monotonic()
    for name in names:
        left = minutes * 60 - (time.monotonic() - started)
        if left <= 0:
            table.add(name, Row("", result=f"not run: the budget of {minutes:g} minutes is used up"))
            continue
        limit = min(PARTS[name].share * minutes * 60, left)
        with tempfile.TemporaryFile("w+b") as log:
            command = [sys.executable, "-m", module, name, str(root)]
            for row in rows_of_process(command, limit, log):
                table.add(name, row)


def rows_of_process(command: Sequence[str], limit: float, log: IO[bytes]) -> Iterator[Row]:
    """Runs a process that prints rows, and yields each at once; the last one has the reason if it fails.

    The process and all that it has started are killed in the end.

    Args:
        command: the words of the command.
        limit: the seconds after which it is ended.
        log: a file for its other output.
    """
    deadline = time.monotonic() + limit
    with subprocess.Popen(command, stdin=-3, stdout=-1, stderr=log, text=True, start_new_session=True) as process:
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_forward, args=(process.stdout, lines), daemon=True).start()
        try:
            while (line := lines.get(timeout=max(deadline - time.monotonic(), 0))) is not None:
                if row := row_of_line(line):
                    yield row
            if code := process.wait(timeout=max(deadline - time.monotonic(), 1)):
                yield Row("", result=f"failed: {_last_line(log) or f'exit code {code}'}"[:300])
        except (queue.Empty, subprocess.TimeoutExpired):
            yield Row("", result=f"ended after {limit:.0f} s, its share of the budget")
        finally:
            _kill(process)


def _forward(stream: IO[str], lines: "queue.Queue[str | None]") -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _kill(process: "subprocess.Popen[str]") -> None:
    with contextlib.suppress(ProcessLookupError):  # all of them have ended
        os.killpg(process.pid, signal.SIGKILL)


def _last_line(log: IO[bytes]) -> str:
    log.seek(0)
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return next((line for line in lines[::-1] if not line.startswith(("warnings.warn", "WARNING"))), "")


def run_part(name: str, work: Work) -> None:
    """Runs a part in this process, and prints its rows for the process that started it."""
    for row in PARTS[name].measure(work):
        print(row.to_line(), flush=True)
