"""Compares how long threads wait for each other: as chosen for ``lightning fit``, and as torch does by default.

Both train the same small network in processes of their own, alone and beside a process that computes all the time.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import torch
from torch.nn import functional as F

from ..models import create_model
from ..threads import VARIABLE, chosen_wait
from .comparison import Comparison, interleaved

_BATCH = 64
_STEPS = 10


def threads(*, rounds: int) -> Iterator[Comparison]:
    """Times a few training steps per round."""
    user = dict(os.environ)
    try:
        os.environ.pop(VARIABLE, None)  # that of this process
        for beside, neighbour in ("", contextlib.nullcontext()), (" beside a busy process", _busy_process()):
            with neighbour, _training(chosen_wait()) as ours, _training({}) as theirs:
                work = f"resnet20, 8x8 pixels, {_threads()} threads{beside}, against torch's default"
                yield interleaved(work, _BATCH * _STEPS, ours, theirs, rounds=rounds)
    finally:
        os.environ.update(user)


def _threads() -> int:
    return torch.get_num_threads()


@contextlib.contextmanager
def _busy_process() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.2)  # until it is busy
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _training(variables: Mapping[str, str]) -> Iterator[Callable[[], float]]:
    """Starts a process that trains when it is asked to; yields what asks it and returns the seconds it took."""
    command = [sys.executable, "-m", __name__]
    environment = {**os.environ, **variables}
    with subprocess.Popen(command, env=environment, stdin=-1, stdout=-1, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def train() -> float:
            stdin.write(f"{_STEPS}\n")
            return float(stdout.readline())

        try:
            yield train
        finally:
            stdin.close()  # ends it


def _train_when_asked() -> None:
    net = create_model("resnet20", num_classes=10, in_chans=1).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    images = torch.randn(_BATCH, 1, 8, 8).contiguous(memory_format=torch.channels_last)
    targets = torch.arange(_BATCH) % 10
    for steps in sys.stdin:
        started = time.perf_counter()
        for _ in range(int(steps)):
            loss = F.cross_entropy(net(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    _train_when_asked()
