"""What the processes of a training agree on in each step."""

from collections.abc import Callable
from typing import Any

import torch
from lightning import Trainer
from torch import Tensor


class Agreement:
    """The maximum of a few numbers over all processes of a training, computed while it goes on.

    A step has one small collective, which nothing waits for before the next step: asking twice in each step, and
    waiting for the answers, would cost a training of short steps much of its time.

    Attributes:
        votes: returns further numbers that this process adds to the collective; every process adds as many.
        count: the number of collectives so far.
    """

    def __init__(self) -> None:
        self.votes: Callable[[], list[float]] = list
        self.count = 0
        self._values: Tensor | None = None
        self._work: Any = None
        self._arrived: torch.cuda.Event | None = None

    def start(self, trainer: Trainer, vote: Tensor) -> None:
        """Starts the collective of a step with one number, which stays on its device, and those of ``votes``."""
        self.count += 1
        numbers = self.votes()
        values = vote.float().reshape(1)
        if numbers:
            values = torch.cat([values, torch.tensor(numbers).to(vote.device, non_blocking=True)])
        self._work = torch.distributed.all_reduce(values, torch.distributed.ReduceOp.MAX, async_op=True)
        self._values, self._arrived = values, None
        if values.device.type == "cuda":
            self._work.wait()  # only the device waits
            self._values = torch.empty_like(values, device="cpu", pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def result(self) -> list[float]:
        """Returns the numbers of the newest collective; empty if there was none yet."""
        if self._values is None:
            return []
        if self._arrived:
            self._arrived.synchronize()
        elif self._work:
            self._work.wait()
            self._work = None
        return self._values.tolist()
