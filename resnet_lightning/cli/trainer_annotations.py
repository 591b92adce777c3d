"""Numbers of batches stay integers, whatever was imported before Lightning."""

import functools
import inspect
import operator
from typing import get_args

from lightning import Trainer


def order_numbers() -> None:
    """Puts ``int`` before ``float`` in the annotations of the Trainer's arguments.

    ``typing`` caches ``Optional[Union[float, int]]`` and returns it for ``Optional[Union[int, float]]`` as well, since
    the two are equal. If another library, such as rich, is imported first, jsonargparse then tries ``float`` first, and
    ``trainer.limit_train_batches=1``, one batch, becomes 1.0, all batches.
    """
    annotations = inspect.unwrap(Trainer.__init__).__annotations__
    for name, annotation in annotations.items():
        types = get_args(annotation)
        if int in types and float in types and types.index(float) < types.index(int):
            others = [kind for kind in types if kind not in (int, float)]
            annotations[name] = functools.reduce(operator.or_, [int, float, *others])
