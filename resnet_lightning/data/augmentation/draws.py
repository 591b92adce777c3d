"""Random numbers that are a function of (seed, epoch, index) alone.

A generator returns numbers in sequence, so an image's numbers would depend on all images before it. Here each number is
a hash of seed, epoch and index. An image is therefore augmented in the same way in an epoch whatever its place in the
batch, the process and the device, and in a resumed run. The hash is NumPy integer arithmetic on the CPU: it takes
microseconds for so few numbers, and the program never waits for the device.
"""

from functools import cache

import numpy as np
import numpy.typing as npt
from torch import Tensor

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Bits = npt.NDArray[np.uint64]

# The finalizer of splitmix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators").
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_ALL = (1 << 64) - 1


def _mix(x: Bits) -> Bits:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_MIX_1)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_MIX_2)
    return x ^ (x >> np.uint64(31))


def key(*parts: int) -> int:
    """Hashes integers, such as seed and epoch, to an integer of 63 bits, which ``Generator.manual_seed`` accepts."""
    state = 0
    for part in parts:
        state = (state + part + _GOLDEN) & _ALL
        state = ((state ^ (state >> 30)) * _MIX_1) & _ALL
        state = ((state ^ (state >> 27)) * _MIX_2) & _ALL
        state ^= state >> 31
    return state & (_ALL >> 1)


class Draws:
    """The random numbers of some images in one epoch.

    Args:
        indices: (B,) the number of each image in its data set, on the CPU.
        seed: the seed of the run.
        epoch: the epoch, counted from 0.
    """

    def __init__(self, indices: Tensor, seed: int, epoch: int) -> None:
        self.seed = seed
        self.epoch = epoch
        self.indices = indices
        self._spread = indices.numpy().astype(np.uint64) * np.uint64(_GOLDEN)
        self._images = _mix(self._spread + np.uint64(key(seed, epoch)))

    def __len__(self) -> int:
        return len(self._spread)

    def uniform(self, purpose: int, count: int = 1) -> Floats:
        """Returns numbers in [0, 1), different ones for each purpose: (count, B) float32 of 24 random bits."""
        return _uniform(self._images, purpose, count)

    def uniform_of_run(self, purpose: int) -> Floats:
        """Returns numbers in [0, 1) that are the same in every epoch: (B,)."""
        return _uniform(_mix(self._spread + np.uint64(key(self.seed))), purpose, 1)[0]


@cache
def _keys(purpose: int, count: int) -> Bits:
    return np.array([[key(purpose, number)] for number in range(count)], np.uint64)


def _uniform(images: Bits, purpose: int, count: int) -> Floats:
    return (_mix(images + _keys(purpose, count)) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
