"""Collects values of all processes of a run."""

from typing import Any

import torch
from lightning import Trainer


def gather(trainer: Trainer, own: Any) -> list[Any]:
    """Returns a value of each process, by rank. All processes have to call it.

    Args:
        trainer: the trainer.
        own: the value of this process, which is pickled.
    """
    if trainer.world_size == 1:
        return [own]
    values: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(values, own)
    return values
