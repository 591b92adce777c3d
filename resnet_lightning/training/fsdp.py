"""Sharding a model among processes with FSDP2."""

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Splits each parameter among all processes. They are gathered again one stage at a time.

    A model that is already sharded is left as it is, as when a test follows the training.
    """
    if isinstance(model, FSDPModule):
        return
    mesh = init_device_mesh(mesh.device_type, (mesh.size(),))
    # FSDP2 requires contiguous parameters. The feature maps keep their memory format.
    model.to(memory_format=torch.contiguous_format)
    for stage in model.children():
        if any(True for _ in stage.children()) and any(True for _ in stage.parameters()):
            fully_shard(stage, mesh=mesh)
    fully_shard(model, mesh=mesh)


def broadcast_buffers(model: nn.Module) -> None:
    """Gives all processes the buffers of the first, as DDP does.

    Each process has the running statistics of its own images. Those of the first are the ones in the checkpoint.
    """
    for buffer in model.buffers():
        torch.distributed.broadcast(buffer, src=0)
