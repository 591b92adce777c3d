"""Checks that the states in a checkpoint are those of this run's callbacks and optimizers.

A checkpoint of ours carries a checksum; these checks are for those that were written or changed by other programs. A
state of another kind would fail hours later, or train on with wrong numbers.
"""

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning import Callback
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from ..errors import InputError

_LARGEST = 1e15  # of images, steps and seconds
_PACKAGES = {"lightning", "resnet_lightning"}

# Exceptions of code that restores a state of another kind or shape.
_OF_OTHER_KIND = (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RuntimeError, AssertionError)


@contextlib.contextmanager
def restoring(what: str) -> Iterator[None]:
    """Turns the exceptions of code that restores a part of a checkpoint into one line.

    Args:
        what: the part, for the message.

    Raises:
        InputError: in place of the exception.
    """
    try:
        yield
    except InputError:
        raise
    except _OF_OTHER_KIND as error:
        raise malformed(what) from error


def malformed(what: str, reason: str = "") -> InputError:
    """Returns the error for a part of a checkpoint that is not what a run saves."""
    return InputError(
        f"the checkpoint does not fit this run, or is malformed: its {what}{reason}; resume from another one"
    )


def check_callback_states(checkpoint: Mapping[str, Any], callbacks: list[Callback]) -> None:
    """Checks that the states of callbacks of Lightning and of this package are of the kind that these save.

    Args:
        checkpoint: the content of a checkpoint.
        callbacks: those of this run.

    Raises:
        InputError: naming the first that is not.
    """
    states = checkpoint.get("callbacks", {})
    for callback in callbacks:
        if callback.state_key not in states or type(callback).__module__.partition(".")[0] not in _PACKAGES:
            continue
        state, name = states[callback.state_key], type(callback).__name__
        if not isinstance(state, dict):
            raise malformed(f"state of {name}")
        expected: dict[str, Any] = {}
        with contextlib.suppress(*_OF_OTHER_KIND):  # a callback may have no state before the training
            expected = callback.state_dict()
        if place := _other_kind(state, expected, ""):
            raise malformed(f"state of {name}", f" has {place}")


def _other_kind(value: Any, like: Any, place: str) -> str:
    """Returns where a value is not of the kind of another one, and what it is; empty if nowhere.

    None stands for any kind, and an empty mapping for any mapping.
    """
    if isinstance(like, dict):
        if not isinstance(value, dict):
            return f"{place}as {_shown(value)}"
        found = (_other_kind(value[name], like[name], f"{place}{name} ") for name in like if name in value)
        return next(filter(None, found), "")
    if like is None:
        return ""
    if isinstance(like, str):
        is_alike = isinstance(value, str | None)
    elif isinstance(like, Tensor):
        is_alike = isinstance(value, Tensor) and value.shape == like.shape and not bool(value.isnan().any())
    elif isinstance(like, bool):
        is_alike = isinstance(value, bool)
    elif isinstance(like, int | float):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_alike = is_number and min(like, 0) <= value <= _LARGEST
    else:
        is_alike = isinstance(value, type(like))
    return "" if is_alike else f"{place}as {_shown(value)}"


def _shown(value: Any) -> str:
    text = f"a {type(value).__name__}" if isinstance(value, dict | list | Tensor) else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def check_progress(checkpoint: Mapping[str, Any]) -> None:
    """Checks that the number of steps is the same in both places where a checkpoint has it.

    Raises:
        InputError: if not, or if a number is none.
    """
    what = "record of the training's progress"
    with restoring(what):
        epochs = checkpoint["loops"]["fit_loop"]["epoch_loop.automatic_optimization.optim_progress"]
        automatic = epochs["optimizer"]["step"]["total"]["completed"]
        manual = checkpoint["loops"]["fit_loop"]["epoch_loop.manual_optimization.optim_step_progress"]
        steps = automatic + manual["total"]["completed"]
        if steps != checkpoint["global_step"]:
            raise malformed(what, f" has {checkpoint['global_step']} or {steps} steps")


def check_optimizer_state(optimizer: Optimizer, steps: int) -> None:
    """Checks the restored state of an optimizer, as far as the class is one of torch's.

    Args:
        optimizer: the optimizer of the resumed run.
        steps: how many steps it has made.

    Raises:
        InputError: if it has no state, or one that does not fit its parameters.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if any(isinstance(parameter, DTensor) for parameter in parameters):
        return  # its state is sharded
    expected = _fresh_state(optimizer)
    states = [(parameter, optimizer.state[parameter]) for parameter in parameters if parameter in optimizer.state]
    if steps and expected and not any(states):
        raise malformed("state of the optimizer", " is empty")
    for parameter, state in states:
        if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
            raise malformed("state of the optimizer")
        if expected and not state:
            raise malformed("state of the optimizer", " lacks a parameter")
        for name, fresh in expected.items():
            value = state.get(name)
            if not isinstance(fresh, Tensor) or value is None:
                continue
            shape = parameter.shape if fresh.shape == (1,) else fresh.shape
            if not isinstance(value, Tensor) or value.shape != shape or bool(value.isnan().any()):
                raise malformed("state of the optimizer", f" has a {name} that is {_shown(value)}")


def _fresh_state(optimizer: Optimizer) -> dict[str, Any]:
    """Returns the state that an optimizer of this class and its options has for a parameter after one step."""
    kind = type(optimizer)
    if not kind.__module__.startswith("torch.optim."):
        return {}
    with contextlib.suppress(*_OF_OTHER_KIND):  # one that takes a closure, or matrices only
        parameter = nn.Parameter(torch.zeros(1))
        parameter.grad = torch.zeros(1)
        taken = inspect.signature(kind).parameters.keys() - {"params"}
        group = {name: value for name, value in optimizer.param_groups[0].items() if name in taken}
        fresh = kind([parameter], **group)
        fresh.step()
        return dict(fresh.state[parameter])
    return {}
