"""The cost of a network."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def multiply_adds(model: nn.Module, image_size: int) -> int:
    """Counts the multiply-adds of the convolutions and linear layers for one image.

    Papers and torchvision call them FLOPs.
    """
    device = next(model.parameters()).device
    training = model.training
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.empty(1, getattr(model, "in_chans", 3), image_size, image_size, device=device))
    model.train(training)
    return counter.get_total_flops() // 2  # the counter counts a multiply-add as two operations
