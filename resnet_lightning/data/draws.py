"""Random numbers that are a function of (seed, epoch, index), and of nothing else.

A generator hands out its numbers in turn, so that an image's number would depend on every image before it. Here each
number is a hash of its own coordinates: the same image of the same epoch is augmented alike whatever its place in the
batch, and whichever process, device or resumed run it passes through.
"""

import torch
from torch import Tensor


def _signed(value: int) -> int:
    """The same 64 bits as the signed integer that torch and its int64 take."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


# The finaliser of splitmix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators").
_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)  # torch's shift copies the sign bit


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    return x ^ _shift_right(x, 31)


def key(*parts: int) -> int:
    """One 63-bit integer out of several, such as ``key(seed, epoch)``; fit for ``Generator.manual_seed`` as well."""
    state = torch.zeros((), dtype=torch.int64)
    for part in parts:
        state = _mix(state + _signed(part) + _GOLDEN)
    return int(state) & ((1 << 63) - 1)


def uniform(indices: Tensor, *parts: int) -> Tensor:
    """One float32 in [0, 1) for each index: (B,) -> (B,), a function of the index and of ``parts`` alone.

    Its 24 bits are exact in float32, on any device.
    """
    bits = _mix(_mix(indices * _GOLDEN + key(*parts)))
    return _shift_right(bits, 40).to(torch.float32) * 2.0**-24
