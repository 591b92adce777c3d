"""The stages of a network, with gradient checkpointing."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Stage(nn.Sequential):
    """The blocks of a stage: (B, C, H, W) -> (B, C', H / stride, W / stride).

    With ``checkpointing``, the n blocks form about sqrt(n) segments, and only the input of each segment is kept. The
    backward pass recomputes one segment at a time (Chen et al. 2016, *Training Deep Nets with Sublinear Memory
    Cost*). Gradients and running statistics stay the same.
    """

    checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        if not (self.checkpointing and torch.is_grad_enabled()):
            return super().forward(x)
        blocks = list(self)
        length = round(math.sqrt(len(blocks)))
        for start in range(0, len(blocks), length):
            x = _run_segment(nn.Sequential(*blocks[start : start + length]), x)
        return x


def _run_segment(blocks: nn.Sequential, x: Tensor) -> Tensor:
    """Runs some blocks and keeps only their input for the backward pass."""
    # A compiled graph updates the running statistics only once, and does not support `context_fn`.
    if torch.compiler.is_compiling():
        return checkpoint(blocks, x, use_reentrant=False)

    def contexts() -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
        return contextlib.nullcontext(), _running_statistics_kept(blocks)

    return checkpoint(blocks, x, use_reentrant=False, context_fn=contexts)


@contextlib.contextmanager
def _running_statistics_kept(blocks: nn.Module) -> Iterator[None]:
    """Keeps norms from updating their running statistics, which already include the batch that is recomputed."""
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
