"""Compares the training steps of one run of ``lightning fit`` with hand-written steps that take turns with them.

Unlike ``bench step``, which starts a run for every round, this compiles each network once.
"""

import contextlib
import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from lightning import Callback, LightningModule, Trainer
from torch import nn

from .comparison import Comparison
from .step import hand_written_steps, now

_WARM_UP = 5


@dataclass(frozen=True)
class Turns:
    """How long and how often each of two trainings takes its turn.

    Args:
        steps: number of steps of a turn.
        rounds: number of turns of each.
    """

    steps: int
    rounds: int

    @property
    def all_steps(self) -> int:
        return _WARM_UP + self.steps * self.rounds


class TakeTurns(Callback):
    """Runs hand-written steps after every few steps of a training, and times both.

    The command line makes this callback, so its settings and results are attributes of the class.

    Attributes:
        turns: when to change.
        train: runs some hand-written steps.
        ours: the seconds of the training's turns.
        theirs: the seconds of the hand-written turns.
    """

    turns: ClassVar[Turns] = Turns(1, 1)
    train: ClassVar[Callable[[int], None] | None] = None
    ours: ClassVar[list[float]] = []
    theirs: ClassVar[list[float]] = []

    def __init__(self) -> None:
        self._started = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert TakeTurns.train is not None
        counted = batch_idx + 1 - _WARM_UP
        if counted < 0 or counted % self.turns.steps:
            return
        if counted == 0:
            TakeTurns.train(_WARM_UP)
        else:
            self.ours.append(now() - self._started)
            started = now()
            TakeTurns.train(self.turns.steps)
            self.theirs.append(now() - started)
        self._started = now()


@dataclass(frozen=True)
class Training:
    """A network and how it is trained.

    Args:
        backbone: its name in ``create_model``.
        options: the arguments of the backbone.
        batch: the number of images of a step.
        side: their height and width.
        precision: ``bf16-mixed`` or ``32-true``.
        compiled: whether to compile the network, or the mode of ``torch.compile``.
        further: further words of the command line.
    """

    backbone: str
    options: dict[str, Any]
    batch: int
    side: int = 32
    precision: str = "32-true"
    compiled: bool | str = False
    further: tuple[str, ...] = ()

    @property
    def in_words(self) -> str:
        how = {"bf16-mixed": "bf16"}.get(self.precision, "fp32")
        compiled = (
            f", compiled{f' ({self.compiled})' if isinstance(self.compiled, str) else ''}" if self.compiled else ""
        )
        return f"{self.backbone}, {self.batch} images of {self.side}x{self.side}, {how}{compiled}"

    def arguments(self, steps: int, folder: str) -> list[str]:
        """Returns a command line that trains for so many steps."""
        return [
            *("fit", "--data", "resnet_lightning.bench.data.RandomImagesDataModule"),
            *(f"--data.count={self.batch * steps}", f"--data.side={self.side}", f"--data.batch_size={self.batch}"),
            *("--data.val_split=0", "--data.augment.crop=4", "--data.augment.flip=true"),
            *(f"--model.backbone={self.backbone}", f"--model.backbone_args={self.options}"),
            *(f"--model.compile={self.compiled}", f"--trainer.precision={self.precision}"),
            *("--model.optimizer=SGD", "--model.optimizer_args={momentum: 0.9, weight_decay: 5.0e-4}"),
            *("--trainer.max_epochs=1", "--trainer.limit_test_batches=0", "--trainer.num_sanity_val_steps=0"),
            *(f"--trainer.default_root_dir={folder}", *self.further),
        ]


def fit_quietly(fit: Callable[[list[str]], int], arguments: list[str]) -> str:
    """Runs a command line, and returns what it prints.

    Raises:
        RuntimeError: if its exit code is not 0; the message ends in its last line.
    """
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = fit(arguments)
    printed = output.getvalue()
    if code:
        lines = [line for line in printed.splitlines() if line.strip()]
        raise RuntimeError(f"the run failed: {lines[-1] if lines else f'exit code {code}'}")
    return printed


def alternated(
    fit: Callable[[list[str]], int], training: Training, net: nn.Module, turns: Turns, beside: str
) -> Comparison:
    """Times a run's steps and those of a hand-written loop, in the same precision and memory format.

    Args:
        fit: runs a command line and returns its exit code.
        training: the run.
        net: the network of the hand-written loop, in the memory format that it is to be trained in.
        turns: when they take turns.
        beside: what the network of the loop is, in words.
    """
    TakeTurns.train = hand_written_steps(net, training.batch, training.side, training.precision, training.compiled)
    TakeTurns.turns, TakeTurns.ours, TakeTurns.theirs = turns, [], []
    further = "--trainer.callbacks+=resnet_lightning.bench.alternation.TakeTurns"
    try:
        with tempfile.TemporaryDirectory() as folder:
            fit_quietly(fit, [*training.arguments(turns.all_steps, folder), further])
        ours, theirs = TakeTurns.ours, TakeTurns.theirs
    finally:
        TakeTurns.train = None  # frees the network
    if not ours:
        raise RuntimeError("the run ended before its first turn")
    return Comparison(f"{training.in_words}, beside {beside}", training.batch * turns.steps, ours, theirs)
