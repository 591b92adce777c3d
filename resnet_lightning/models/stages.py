"""The stages of a net, whose activations can be computed again in the backward pass to save memory."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Stage(nn.Sequential):
    """The blocks of a stage: (B, C, H, W) -> (B, C', H / stride, W / stride).

    With ``checkpointing``, only the inputs of about sqrt(n) segments of the n blocks are kept for the backward pass,
    which computes one segment at a time again (Chen et al. 2016, *Training Deep Nets with Sublinear Memory Cost*).
    Gradients and batch statistics stay the same.
    """

    checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        if not (self.checkpointing and torch.is_grad_enabled()):
            return super().forward(x)
        blocks = list(self)
        length = round(math.sqrt(len(blocks)))
        for start in range(0, len(blocks), length):
            x = _segment(nn.Sequential(*blocks[start : start + length]), x)
        return x


def _segment(blocks: nn.Sequential, x: Tensor) -> Tensor:
    if torch.compiler.is_compiling():  # a compiled graph changes the statistics once, and takes no contexts
        return checkpoint(blocks, x, use_reentrant=False)

    def contexts() -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
        return contextlib.nullcontext(), _without_statistics(blocks)

    return checkpoint(blocks, x, use_reentrant=False, context_fn=contexts)


@contextlib.contextmanager
def _without_statistics(blocks: nn.Module) -> Iterator[None]:
    """Norms that leave their running statistics alone: those of this batch are in already."""
    norms: list[Any] = [
        module for module in blocks.modules() if getattr(module, "track_running_stats", False) and module.training
    ]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
