"""Counts the operations of training steps that make the host wait for the device."""

import inspect
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning import Callback, LightningModule, Trainer
from torch.utils._python_dispatch import TorchDispatchMode

from .alternation import Training, fit_quietly
from .rows import Row
from .work import Work

_WARM_UP = 3

# Those whose result is a Python value, or whose shape depends on the values of tensors.
_WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal", "aten::unique_dim"}
_WAITING |= {"aten::_unique2", "aten::masked_select", "aten::repeat_interleave.Tensor"}

_PACKAGES = ("resnet_lightning", "lightning")


class WaitingOperations(TorchDispatchMode):
    """Counts operations whose result the host has to wait for, whatever the device.

    Attributes:
        counts: how often each was called, by its name and the file of this package that it was called from.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name()
        if name in _WAITING or (name.startswith("aten::index") and _has_mask(args)):
            self.counts[f"{name} in {_caller()}"] += 1
        return func(*args, **kwargs or {})


def _caller() -> str:
    """Returns the innermost file of this package, or of Lightning, that is being executed."""
    frame = inspect.currentframe()
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        for package in _PACKAGES:
            if package in path.parts and path != Path(__file__):
                return "/".join(path.parts[-1 - path.parts[::-1].index(package) :])
        frame = frame.f_back
    return "another package"


def _has_mask(args: Any) -> bool:
    """Whether a tensor is indexed by a mask, whose number of true values the host must know."""
    indices = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
    return any(isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8) for index in indices)


class CountWaits(Callback):
    """Counts what waits in the steps of a training after the first ones.

    On a GPU, CUDA itself reports each call that waits; elsewhere, ``WaitingOperations`` counts. The command line makes
    this callback, so its results are attributes of the class.

    Attributes:
        counts: how often each kind of call waited.
        steps: the number of steps in which they were counted.
    """

    counts: ClassVar[Counter[str]] = Counter()
    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        self._stack = ExitStack()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 == _WARM_UP:
            CountWaits.steps = 0
            self.counts.clear()
            self._count(pl_module.device)
        elif batch_idx + 1 > _WARM_UP:
            CountWaits.steps += 1
            if trainer.is_last_batch:
                self._stack.close()

    def _count(self, device: torch.device) -> None:
        if device.type != "cuda":
            operations = self._stack.enter_context(WaitingOperations())
            self._stack.callback(lambda: self.counts.update(operations.counts))
            return
        caught = self._stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        self._stack.callback(lambda: self.counts.update(_places(caught)))
        self._stack.callback(torch.cuda.set_sync_debug_mode, "default")


def _places(caught: list[warnings.WarningMessage]) -> Iterator[str]:
    """Names the line of each call that CUDA reported."""
    for each in caught:
        if "synchroniz" in str(each.message):
            yield f"{'/'.join(each.filename.split('/')[-2:])}:{each.lineno}"


def waits(work: Work) -> Iterator[Row]:
    """Counts what waits for the device in the steps of ``lightning fit``, all of its callbacks included."""
    training = Training(
        "resnet20", {}, 64 if work.is_full else 4, precision="bf16-mixed" if work.is_full else "32-true"
    )
    yield work.attempt("calls that wait for the device", lambda: _waits(work, training))


def _waits(work: Work, training: Training) -> Row:
    further = "--trainer.callbacks+=resnet_lightning.bench.waits.CountWaits"
    with tempfile.TemporaryDirectory() as folder:
        fit_quietly(work.fit, [*training.arguments(23 if work.is_full else 8, folder), further])
    found = ", ".join(f"{count} at {place}" for place, count in CountWaits.counts.most_common(8))
    what = f"calls that wait for the device in {CountWaits.steps} steps: {training.in_words}"
    return Row(what, str(CountWaits.counts.total()), "", found or "none")
