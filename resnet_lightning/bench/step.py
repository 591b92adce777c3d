"""Compares the training steps of ``lightning fit`` with those of hand-written loops.

The steps of ``lightning fit`` include loading, augmentation, logging and the progress bar. The hand-written loops only
train: their batches are ready in memory, and they neither log nor show anything.
"""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torchvision
from lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.nn import functional as F

from ..models import create_model
from .backbones import HandWrittenResNet20
from .comparison import Comparison, interleaved

WARM_UP = 2
"""Steps that are not counted: memory is allocated and kernels are selected."""


class StepClock(Callback):
    """Measures the time from the end of the warm-up steps to the end of the last training step.

    Attributes:
        seconds: the seconds of the last run in this process.
    """

    seconds = 0.0

    def __init__(self) -> None:
        self._started = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == WARM_UP - 1:
            self._started = now()
        StepClock.seconds = now() - self._started


def now() -> float:
    """Returns the time in seconds, after the GPU has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def torchvision_resnet18() -> nn.Module:
    """Makes torchvision's ResNet-18 with the usual changes for 32x32 images: a 3x3 stem and no pool."""
    net = torchvision.models.resnet18(num_classes=10)
    net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    net.maxpool = nn.Identity()
    return net


def step(*, rounds: int, fit: Callable[[list[str]], int]) -> Iterator[Comparison]:
    """Times a few steps per round, in one process and in two.

    Args:
        rounds: number of rounds.
        fit: runs a command line and returns its exit code.
    """
    cases: tuple[tuple[str, str, dict[str, Any], Callable[[], nn.Module], int, int], ...] = (
        ("resnet20", "resnet20", {}, HandWrittenResNet20, 128, 16),
        ("resnet18, 3x3 stem", "resnet18", {"stem": "cifar"}, torchvision_resnet18, 128, 2),
    )
    for name, backbone, options, plain, batch, steps in cases:
        for precision, compiled in _modes():
            how = f"{', bf16' if precision == 'bf16-mixed' else ''}{', compiled' if compiled else ''}"
            work = f"{name}, {batch} images{how}, against a hand-written loop on"
            ours = _lightning_fit(fit, backbone, options, batch, steps, precision, compiled)
            same = create_model(backbone, num_classes=10, **options).to(memory_format=torch.channels_last)
            theirs = _loop(same, batch, steps, precision, compiled)
            yield interleaved(f"{work} the same network", batch * steps, ours, theirs, rounds=rounds)
            if not (compiled or precision == "bf16-mixed"):
                theirs = _loop(plain(), batch, steps, precision, compiled)
                other = "torchvision's, NCHW" if plain is torchvision_resnet18 else "a hand-written network, NCHW"
                yield interleaved(f"{work} {other}", batch * steps, ours, theirs, rounds=rounds)
    from .processes import processes  # imported here, since it uses the clock of this file

    yield from processes(rounds=rounds)


def _modes() -> list[tuple[str, bool]]:
    """Lists precisions, and whether to compile. On CPUs without bf16 units, neither bf16 nor compiling is faster."""
    if not torch.cuda.is_available():
        return [("32-true", False)]
    return [("32-true", False), ("bf16-mixed", False), ("bf16-mixed", True)]


def _lightning_fit(
    fit: Callable[[list[str]], int],
    backbone: str,
    options: dict[str, Any],
    batch: int,
    steps: int,
    precision: str,
    compiled: bool,
) -> Callable[[], float]:
    count = batch * (steps + WARM_UP)
    arguments = [
        *("fit", "--data", "resnet_lightning.bench.data.RandomImagesDataModule", f"--data.count={count}"),
        *(f"--data.batch_size={batch}", "--data.val_split=0", "--data.augment.crop=4", "--data.augment.flip=true"),
        *(f"--model.backbone={backbone}", f"--model.backbone_args={options}", f"--model.compile={compiled}"),
        *("--model.optimizer_args={momentum: 0.9, weight_decay: 5.0e-4}", f"--trainer.precision={precision}"),
        *("--trainer.max_epochs=1", "--trainer.limit_test_batches=0", "--trainer.num_sanity_val_steps=0"),
        "--trainer.callbacks+=resnet_lightning.bench.step.StepClock",
    ]

    def run() -> float:
        StepClock.seconds = 0.0
        output = io.StringIO()
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
        ):
            code = fit([*arguments, f"--trainer.default_root_dir={folder}"])
        if code or not StepClock.seconds:
            raise RuntimeError(f"the run failed: {output.getvalue()}")
        return StepClock.seconds

    return run


def _loop(net: nn.Module, batch: int, steps: int, precision: str, compiled: bool) -> Callable[[], float]:
    train = hand_written_steps(net, batch, 32, precision, compiled)

    def run() -> float:
        train(WARM_UP)
        started = now()
        train(steps)
        return now() - started

    return run


def hand_written_steps(
    net: nn.Module, batch: int, side: int, precision: str, compiled: bool | str
) -> Callable[[int], None]:
    """Returns a function that trains a network for some steps, always on the same batch.

    Args:
        net: the network, in the memory format that it is to be trained in.
        batch: the number of images.
        side: their height and width.
        precision: ``bf16-mixed`` or ``32-true``.
        compiled: whether to compile the network, or the mode of ``torch.compile``.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = net.to(device).train()
    layout = torch.channels_last if next(net.parameters()).is_contiguous(memory_format=torch.channels_last) else None
    if compiled:
        net.compile(mode=compiled if isinstance(compiled, str) else None)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=1_000_000)
    images = torch.randn(batch, 3, side, side, device=device)
    images = images.contiguous(memory_format=layout) if layout else images
    targets = torch.arange(batch, device=device) % 10

    def train(steps: int) -> None:
        for _ in range(steps):
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
                loss = F.cross_entropy(net(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()

    return train
