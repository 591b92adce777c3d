"""The parts of ``lightning bench all`` that time training steps and batches."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
import torchvision
from torch import nn

from ..models import create_model
from .alternation import Training, Turns, alternated
from .backbones import HandWrittenResNet20
from .comparison import Comparison
from .data import data_on_the_device
from .rows import Row, compared
from .step import hand_written_steps, now, torchvision_resnet18
from .work import Work

_EIGHT_MS = 0.008


def _torchvision_resnet50() -> nn.Module:
    return torchvision.models.resnet50(num_classes=10)


def resnet18_steps(work: Work) -> Iterator[Row]:
    """Times ResNet-18 with a 3x3 stem, against torchvision's with the usual changes."""
    batch = 512 if work.is_full else 4
    trainings = [Training("resnet18", {"stem": "cifar"}, batch, 32, *mode) for mode in _modes(work)]
    yield from _steps(work, trainings, torchvision_resnet18, "torchvision's")


def resnet20_steps(work: Work) -> Iterator[Row]:
    """Times ResNet-20 in small batches, whose kernels take less time than to start them."""
    batch = 128 if work.is_full else 4
    modes = _modes(work)
    if work.is_full:
        modes.append(("bf16-mixed", "reduce-overhead"))
    trainings = [Training("resnet20", {}, batch, 32, *mode) for mode in modes]
    yield from _steps(work, trainings, HandWrittenResNet20, "a hand-written network")


def resnet50_steps(work: Work) -> Iterator[Row]:
    """Times ResNet-50 on images of ImageNet's size, against torchvision's."""
    batch, side = (128, 224) if work.is_full else (2, 64)
    modes = [mode for mode in _modes(work) if not work.is_full or mode[0] == "bf16-mixed"]
    trainings = [Training("resnet50", {}, batch, side, *mode) for mode in modes]
    yield from _steps(work, trainings, _torchvision_resnet50, "torchvision's")


def _modes(work: Work) -> list[tuple[str, bool | str]]:
    """Lists precisions and whether to compile, the most important first."""
    if not work.is_full:
        return [("32-true", False)]
    return [("bf16-mixed", False), ("bf16-mixed", True), ("32-true", False)]


def _steps(work: Work, trainings: list[Training], make_net: Callable[[], nn.Module], beside: str) -> Iterator[Row]:
    for training in trainings:
        yield work.attempt(training.in_words, partial(_compare, work, training, make_net, beside))


def _compare(work: Work, training: Training, make_net: Callable[[], nn.Module], beside: str) -> Row:
    net = make_net().to(memory_format=torch.channels_last)
    steps = 10 if training.side > 32 else 20  # the images of all steps are in memory
    turns = Turns(steps, 4) if work.is_full else Turns(1, 2)
    return compared(alternated(work.fit, training, net, turns, f"{beside} in a hand-written loop"))


def cost_of_lightning(work: Work) -> Iterator[Row]:
    """Measures what a run adds to a step of eight milliseconds."""
    batch = _batch_of_eight_ms() if work.is_full else 4
    training = Training("resnet20", {}, batch, precision="bf16-mixed" if work.is_full else "32-true")
    yield work.attempt("the cost of a run", lambda: _cost(work, training))


def _batch_of_eight_ms() -> int:
    """Returns the smallest of some batch sizes with which a hand-written step takes eight milliseconds."""
    batch = 64
    while batch < 8192:
        net = create_model("resnet20", num_classes=10).to(memory_format=torch.channels_last)
        train = hand_written_steps(net, batch, 32, "bf16-mixed", False)
        train(5)
        started = now()
        train(20)
        if (now() - started) / 20 >= _EIGHT_MS:
            break
        batch *= 2
    return batch


def _cost(work: Work, training: Training) -> Row:
    net = create_model(training.backbone, num_classes=10).to(memory_format=torch.channels_last)
    turns = Turns(40, 7) if work.is_full else Turns(1, 2)
    return cost_row(alternated(work.fit, training, net, turns, "a loop on the same network"), turns.steps)


def cost_row(comparison: Comparison, steps: int) -> Row:
    """Makes a row of the milliseconds of a step."""
    ours, theirs = (1000 * sorted(times)[len(times) // 2] / steps for times in (comparison.ours, comparison.theirs))
    difference = f"{ours - theirs:+.2f} ms a step, {ours / theirs - 1:+.1%}"
    return Row(f"a step: {comparison.work}", f"{ours:.2f} ms", f"{theirs:.2f} ms", difference)


def ddp_steps(work: Work) -> Iterator[Row]:
    """Times DDP with one process, against a loop without it."""
    yield _distributed(work, "DDP", "--trainer.strategy=ddp")


def fsdp_steps(work: Work) -> Iterator[Row]:
    """Times FSDP2 with one process, against a loop without it."""
    strategy = ("--trainer.strategy=ModelParallelStrategy", "--trainer.strategy.save_distributed_checkpoint=false")
    yield _distributed(work, "FSDP2", *strategy)


def _distributed(work: Work, name: str, *strategy: str) -> Row:
    batch = 512 if work.is_full else 4
    training = Training("resnet18", {"stem": "cifar"}, batch, further=(*strategy, "--trainer.devices=1"))
    row = work.attempt(training.in_words, lambda: _compare_same(work, training))
    return replace(row, work=f"{name}, one device: {row.work}")


def _compare_same(work: Work, training: Training) -> Row:
    net = create_model(training.backbone, num_classes=10, **training.options).to(memory_format=torch.channels_last)
    turns = Turns(10, 3) if work.is_full else Turns(1, 2)
    return compared(alternated(work.fit, training, net, turns, "a loop without it on the same network"))


def resident_data(work: Work) -> Iterator[Row]:
    """Times batches that are made on the device, from images that stay there."""
    options = {"rounds": 3} if work.is_full else {"rounds": 1, "count": 512}
    yield from map(compared, data_on_the_device(**options))
