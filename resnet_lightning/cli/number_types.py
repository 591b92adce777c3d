"""The order in which the types of an option are tried, where it takes integers and other numbers."""

import collections.abc
import functools
import operator
from types import UnionType
from typing import Any, Union, get_args, get_origin


def integers_first(annotation: Any) -> Any:
    """Returns the annotation with ``int`` before ``float`` in each of its unions, so that 8 is not read as 8.0.

    One batch and the share 1.0 of all batches are different things. A union in the source is not a reliable order:
    Python caches ``Optional[X]``, and ``Union[int, float]`` equals ``Union[float, int]``, so that an annotation may be
    that of another library, depending on which of the two was imported first.
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    is_union = origin in (Union, UnionType)
    # The arguments of a Literal are values, and those of a Callable begin with a list.
    if not (is_union or isinstance(origin, type)) or origin is collections.abc.Callable:
        return annotation
    changed = [integers_first(part) for part in parts]
    if is_union and {int, float} <= set(changed) and changed.index(float) < changed.index(int):
        changed.remove(int)
        changed.insert(changed.index(float), int)
    if all(new is old for new, old in zip(changed, parts, strict=True)):
        return annotation
    return functools.reduce(operator.or_, changed) if is_union else origin[tuple(changed)]
