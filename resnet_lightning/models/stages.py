"""The stages of a network: how their blocks are made, and gradient checkpointing."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import InputError
from .shortcuts import NoShortcut

# Networks of more blocks start with other running variances.
_DEEP = 100
_MOST_BLOCKS = 10_000


class Stage(nn.Sequential):
    """The blocks of a stage: (B, C, H, W) -> (B, C', H / stride, W / stride).

    With ``checkpointing``, the n blocks form about sqrt(n) segments, and only the input of each segment is kept. The
    backward pass recomputes one segment at a time (Chen et al. 2016, *Training Deep Nets with Sublinear Memory
    Cost*). Gradients and running statistics stay the same.
    """

    checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        traced = isinstance(x, torch.fx.Proxy) or torch.jit.is_tracing()  # a graph of calls cannot recompute
        if not self.checkpointing or not torch.is_grad_enabled() or traced:
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


def make_stages(
    make_block: Callable[..., Any],
    depths: Sequence[int],
    planes: Sequence[int],
    strides: Sequence[int],
    channels: int,
    reduction: int,
    output_stride: int | None,
    drop_path_rates: Sequence[float],
) -> Iterator[tuple[list[nn.Module], int, int]]:
    """Makes the blocks of each stage; also yields the channels and the reduction of its feature map."""
    rates = iter(drop_path_rates)
    dilation = 1
    for k, (depth, width, stride) in enumerate(zip(depths, planes, strides, strict=True)):
        first_dilation = dilation
        if output_stride is not None and reduction * stride > output_stride:
            stride, dilation = 1, dilation * stride  # noqa: PLW2901
        reduction *= stride
        blocks: list[nn.Module] = []
        for i in range(depth):
            first = i == 0
            made = make_block(
                channels,
                width,
                stride if first else 1,
                dilation=dilation,
                first_dilation=first_dilation if first else dilation,
                pre_activation="branch" if not first else "both" if k else "none",
                drop_path=next(rates),
            )
            channels = made.out_planes
            blocks.append(made)
        yield blocks, channels, reduction


def set_initial_variances(stages: Sequence[nn.Sequential]) -> None:
    """Sets the running variances with which a very deep network is evaluated before its training.

    In training, a block adds a branch of variance 1 to its shortcut, so that the k-th block of a stage gets variance k
    (De & Smith 2020, *Batch Normalization Biases Residual Blocks Towards the Identity Function in Deep Networks*,
    section 3). In evaluation with running variances of 1, each block doubles the variance instead, and after 250
    blocks the maps exceed float32. The first norm of the k-th block of a stage therefore starts with k. Training
    does not use running statistics and replaces them. Networks with up to 100 blocks and blocks without a shortcut are
    left as they are.
    """
    if sum(map(len, stages)) <= _DEEP:
        return
    for stage in stages:
        for k, block in enumerate(stage, start=1):
            if isinstance(getattr(block, "downsample", None), NoShortcut):
                continue
            variances = (getattr(module, "running_var", None) for module in block.modules())
            if (variance := next((found for found in variances if found is not None), None)) is not None:
                variance.fill_(k)


def check_stages(depths: Sequence[int], planes: Sequence[int], strides: Sequence[int]) -> None:
    """Checks the number of blocks, the planes and the first stride of each stage.

    Raises:
        InputError: if there is no stage, if one of the three is missing for a stage, or if a value is less than 1.
    """
    if not depths or min(depths) < 1:
        raise InputError(f"depths is {tuple(depths)}; give at least one stage, with at least one block each")
    if sum(depths) > _MOST_BLOCKS:
        raise InputError(f"depths is {tuple(depths)}; give at most {_MOST_BLOCKS:,} blocks in all")
    if not len(depths) == len(planes) == len(strides):
        raise InputError(
            f"{len(depths)} depths, {len(planes)} planes and {len(strides)} strides; give one of each per stage"
        )
    if min(strides) < 1:
        raise InputError(f"strides is {tuple(strides)}; a stride is at least 1")


def total_stride(module: nn.Module) -> int:
    """Returns the total stride of all layers in a module."""
    strides: list[Any] = [m.stride for m in module.modules() if hasattr(m, "stride")]
    return math.prod(stride if isinstance(stride, int) else stride[0] for stride in strides)


def check_output_stride(output_stride: int | None, stem_stride: int, strides: Sequence[int]) -> None:
    """Checks that the strides of the last stages can be replaced to give this output stride.

    Raises:
        InputError: if not; the message names the possible ones.
    """
    possible = sorted({stem_stride * math.prod(strides[:k]) for k in range(len(strides) + 1)})
    if output_stride is not None and output_stride not in possible:
        raise InputError(f"output_stride is {output_stride}; this net can have {', '.join(map(str, possible))}")
