"""Draws settings at random, from lists of values and from ranges."""

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .trials import canonical

_MOST_REPEATS = 1000  # draws in a row that bring nothing new


@dataclass(frozen=True)
class Range:
    """The numbers between two ends, both included.

    Args:
        low: the smaller end.
        high: the greater end.
        is_log: whether the logarithm is uniform, and not the number.
        is_int: whether only whole numbers are drawn.
    """

    low: float
    high: float
    is_log: bool = False
    is_int: bool = False

    def draw(self, generator: random.Random) -> str:
        """Returns a number as on the command line, with four digits."""
        if self.is_int and not self.is_log:
            return str(generator.randint(int(self.low), int(self.high)))
        low, high = (math.log(self.low), math.log(self.high)) if self.is_log else (self.low, self.high)
        number = generator.uniform(low, high)
        return self.as_option(math.exp(number) if self.is_log else number)

    def as_option(self, number: float) -> str:
        """Returns a number of the range as on the command line."""
        if self.is_int:
            return str(round(number))
        rounded = f"{number:.4g}"
        return rounded if self.low <= float(rounded) <= self.high else str(min(max(number, self.low), self.high))


def draws(axes: Mapping[str, Sequence[str] | Range], seed: int) -> Iterator[dict[str, str]]:
    """Yields different settings at random, until it finds no more.

    The settings depend on the seed alone: more draws later continue the same sequence.

    Args:
        axes: for each option, its values or their range.
        seed: of the draws.
    """
    seen: set[tuple[str, ...]] = set()
    repeats = 0
    for number in itertools.count():
        generator = random.Random(f"{seed} {number}")
        drawn = {
            key: values.draw(generator) if isinstance(values, Range) else generator.choice(values)
            for key, values in axes.items()
        }
        code = tuple(map(canonical, drawn.values()))
        if code not in seen:
            seen.add(code)
            repeats = 0
            yield drawn
            continue
        repeats += 1
        if repeats > _MOST_REPEATS:
            return
