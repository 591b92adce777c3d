"""Shards a model across processes with FSDP2."""

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Splits each parameter across all processes, which gather the parameters one stage at a time.

    A model that is already sharded stays as it is; this occurs when a test follows the training.
    """
    if isinstance(model, FSDPModule):
        return
    mesh = init_device_mesh(mesh.device_type, (mesh.size(),))
    # FSDP2 requires contiguous parameters. The memory format of the feature maps does not change.
    model.to(memory_format=torch.contiguous_format)
    for stage in model.children():
        if any(True for _ in stage.children()) and any(True for _ in stage.parameters()):
            fully_shard(stage, mesh=mesh)
    fully_shard(model, mesh=mesh)


def broadcast_buffers(model: nn.Module) -> None:
    """Copies the buffers of the first process to all processes, as DDP does.

    The running statistics of each process are those of its own images. The checkpoint stores those of the first.
    """
    for buffer in model.buffers():
        torch.distributed.broadcast(buffer, src=0)
