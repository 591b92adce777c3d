"""Schedules of one's own that go wrong."""

from torch.optim.lr_scheduler import LambdaLR


def Negative(optimizer):
    return LambdaLR(optimizer, lambda step: -1.0 if step == 7 else 1.0)


def NotANumber(optimizer):
    return LambdaLR(optimizer, lambda step: float("nan") if step == 3 else 1.0)
